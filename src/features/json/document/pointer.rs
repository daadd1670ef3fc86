//! JSON Pointer (RFC 6901).

use compact_str::CompactString;

use super::Node;

/// The member names and array indexes from the root to a value. The pointer to the whole document is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Pointer(Vec<CompactString>);

impl Pointer {
    /// # Errors
    /// The rule that the text breaks.
    pub(in super::super) fn parse(text: &str) -> Result<Self, &'static str> {
        let mut parts = text.split('/');
        if parts.next() != Some("") {
            return Err("must be a JSON pointer: empty, or starting with `/`");
        }
        let names: Option<_> = parts.map(unescape).collect();
        names.map(Self).ok_or("must be a JSON pointer, in which `~` is written `~0` and `/` is written `~1`")
    }

    pub(in super::super) fn levels(&self) -> usize {
        self.0.len()
    }

    /// Whether the value at `other` is inside the one at `self`.
    pub(in super::super) fn contains(&self, other: &Self) -> bool {
        other.0.len() > self.0.len() && other.0.starts_with(&self.0)
    }

    /// The array or object that holds the value, and the value's name in it. `None` for the pointer to the whole
    /// document, and if the parent does not exist.
    pub(in super::super) fn parent<'d>(&self, document: &'d mut Node) -> Option<(&'d mut Node, &str)> {
        let (last, before) = self.0.split_last()?;
        Some((follow(before, document)?, last))
    }

    pub(in super::super) fn find_mut<'d>(&self, document: &'d mut Node) -> Option<&'d mut Node> {
        follow(&self.0, document)
    }

    pub(in super::super) fn find<'d>(&self, document: &'d Node) -> Option<&'d Node> {
        self.0.iter().try_fold(document, |node, name| node.child(position(node, name)?))
    }
}

fn follow<'d>(names: &[CompactString], document: &'d mut Node) -> Option<&'d mut Node> {
    names.iter().try_fold(document, |node, name| node.child_mut(position(node, name)?))
}

/// The position of the child that one part of a pointer names.
pub(in super::super) fn position(node: &Node, name: &str) -> Option<usize> {
    match node {
        Node::Object(_) => node.position_of(name),
        Node::Array(_) => index(name),
        _ => None,
    }
}

/// An array index, written without a sign and without leading zeros.
pub(in super::super) fn index(name: &str) -> Option<usize> {
    let is_plain = name.bytes().all(|byte| byte.is_ascii_digit()) && (name == "0" || !name.starts_with('0'));
    if is_plain { name.parse().ok() } else { None }
}

fn unescape(part: &str) -> Option<CompactString> {
    let mut pieces = part.split('~');
    let mut text = CompactString::new(pieces.next().unwrap_or_default());
    for piece in pieces {
        let mut letters = piece.chars();
        text.push(match letters.next()? {
            '0' => '~',
            '1' => '/',
            _ => return None,
        });
        text.push_str(letters.as_str());
    }
    Some(text)
}
