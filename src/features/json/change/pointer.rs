//! JSON Pointer (RFC 6901).

use compact_str::CompactString;

use crate::features::json::document::Node;

/// The names and indexes on the way to a value; none for the whole document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pointer(Vec<CompactString>);

impl Pointer {
    /// # Errors
    /// The rule that the text breaks.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        let mut parts = text.split('/');
        if parts.next() != Some("") {
            return Err("is no JSON pointer: it must be empty or begin with `/`");
        }
        parts
            .map(unescape)
            .collect::<Option<_>>()
            .map(Self)
            .ok_or("is no JSON pointer: `~` is written `~0`, `/` is `~1`")
    }

    pub(super) fn levels(&self) -> usize {
        self.0.len()
    }

    /// Whether the value at `other` is inside the one at `self`.
    pub(super) fn contains(&self, other: &Self) -> bool {
        other.0.len() > self.0.len() && other.0.starts_with(&self.0)
    }

    /// The last name or index, and the value that it belongs to; `None` for the whole document or when there is none.
    pub(super) fn parent<'d>(&self, document: &'d mut Node) -> Option<(&'d mut Node, &str)> {
        let (last, before) = self.0.split_last()?;
        let parent = before.iter().try_fold(document, |node, name| {
            let at = position(node, name)?;
            node.child_mut(at)
        })?;
        Some((parent, last))
    }

    pub(super) fn find<'d>(&self, document: &'d Node) -> Option<&'d Node> {
        self.0.iter().try_fold(document, |node, name| node.child(position(node, name)?))
    }
}

/// The position of the child that a pointer's part names.
pub(super) fn position(node: &Node, name: &str) -> Option<usize> {
    match node {
        Node::Object(_) => node.position_of(name),
        Node::Array(_) => index(name),
        _ => None,
    }
}

/// An index without a sign and without leading zeros.
pub(super) fn index(name: &str) -> Option<usize> {
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
