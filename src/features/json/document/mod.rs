//! A JSON document in memory, which keeps every digit and the order of members.
//!
//! `serde_json::Value` rounds numbers to 64 bits and sorts names, and the Cargo features that change either change it
//! for the whole binary. A [`Node`] stores a number as its text and members in their order. Short texts need no
//! allocation.

mod number;
mod parse;
mod pointer;

use compact_str::CompactString;

pub(super) use number::{Number, compare, number_length};
pub(super) use parse::{Fault, MAX_DEPTH, ParseError, unescape};
pub(super) use pointer::{Pointer, index, position};

/// A JSON value.
#[derive(Clone, Debug)]
pub(super) enum Node {
    Null,
    Bool(bool),
    Number(Number),
    String(CompactString),
    Array(Vec<Node>),
    Object(Members),
}

/// The members of an object, in the order in which they were written. Names are unique.
pub(super) type Members = Vec<(CompactString, Node)>;

/// The location of a value: its position in each array or object from the root down. The root's location is empty.
pub(super) type Location = Vec<usize>;

impl Node {
    /// The type of the value as `RedisJSON` names it. A number is an `integer` if 64 bits, signed or unsigned, hold it
    /// exactly.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "boolean",
            Self::Number(number) if number.as_integer().is_some() => "integer",
            Self::Number(_) => "number",
            Self::String(_) => "string",
            Self::Array(_) => "array",
            Self::Object(_) => "object",
        }
    }

    /// The child of an array or object at a position.
    pub(super) fn child(&self, at: usize) -> Option<&Self> {
        match self {
            Self::Array(items) => items.get(at),
            Self::Object(members) => members.get(at).map(|(_, value)| value),
            _ => None,
        }
    }

    pub(super) fn child_mut(&mut self, at: usize) -> Option<&mut Self> {
        match self {
            Self::Array(items) => items.get_mut(at),
            Self::Object(members) => members.get_mut(at).map(|(_, value)| value),
            _ => None,
        }
    }

    pub(super) fn at_mut(&mut self, location: &[usize]) -> Option<&mut Self> {
        location.iter().try_fold(self, |node, at| node.child_mut(*at))
    }

    /// The position of a member by its name.
    pub(super) fn position_of(&self, name: &str) -> Option<usize> {
        match self {
            Self::Object(members) => members.iter().position(|(known, _)| known == name),
            _ => None,
        }
    }

    pub(super) fn member(&self, name: &str) -> Option<&Self> {
        self.child(self.position_of(name)?)
    }

    pub(super) fn member_mut(&mut self, name: &str) -> Option<&mut Self> {
        self.child_mut(self.position_of(name)?)
    }

    /// Appends the value's text, without white space.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Null => out.extend_from_slice(b"null"),
            Self::Bool(true) => out.extend_from_slice(b"true"),
            Self::Bool(false) => out.extend_from_slice(b"false"),
            Self::Number(number) => out.extend_from_slice(number.as_str().as_bytes()),
            Self::String(text) => write_string(text, out),
            Self::Array(items) => write_separated([b'[', b']'], items, out, Self::write),
            Self::Object(members) => write_separated([b'{', b'}'], members, out, |(name, value), out| {
                write_string(name, out);
                out.push(b':');
                value.write(out);
            }),
        }
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        self.write(&mut out);
        out
    }

    #[cfg(test)]
    pub(super) fn to_text(&self) -> String {
        String::from_utf8(self.to_bytes()).expect("UTF-8")
    }

    /// The number of items or members; 0 for other values.
    pub(super) fn child_count(&self) -> usize {
        match self {
            Self::Array(items) => items.len(),
            Self::Object(members) => members.len(),
            _ => 0,
        }
    }

    /// A number value.
    pub(super) fn count(number: usize) -> Self {
        Self::Number(Number::integer(i128::try_from(number).unwrap_or(i128::MAX)))
    }
}

/// Appends the items between brackets, separated by commas.
pub(super) fn write_separated<T>(
    [open, close]: [u8; 2],
    items: impl IntoIterator<Item = T>,
    out: &mut Vec<u8>,
    write: impl Fn(T, &mut Vec<u8>),
) {
    out.push(open);
    for (at, item) in items.into_iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write(item, out);
    }
    out.push(close);
}

/// Appends `text` in quotes and escapes only the characters that need it.
pub(super) fn write_string(text: &str, out: &mut Vec<u8>) {
    // Writing a string to a vector cannot fail.
    let _infallible = serde_json::to_writer(out, text);
}

/// The length of the value's compact text, bytes. Escapes are not counted, so it can be up to six times too small.
pub(super) fn text_length(node: &Node) -> usize {
    match node {
        Node::Null => 4,
        Node::Bool(_) => 5,
        Node::Number(number) => number.as_str().len(),
        Node::String(text) => text.len() + 2,
        Node::Array(items) => items.iter().map(|item| text_length(item) + 1).sum::<usize>() + 2,
        Node::Object(members) => {
            members.iter().map(|(name, value)| name.len() + 4 + text_length(value)).sum::<usize>() + 2
        }
    }
}

/// The levels of arrays and objects: 0 for a scalar, 1 for an array of scalars.
pub(super) fn depth(node: &Node) -> usize {
    match node {
        Node::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Node::Object(members) => 1 + members.iter().map(|(_, value)| depth(value)).max().unwrap_or(0),
        _ => 0,
    }
}

/// The position of an item. A negative index counts from the end and stops at the first item.
pub(super) fn nearest(index: i64, length: usize) -> usize {
    usize::try_from(index).unwrap_or_else(|_| length.saturating_sub(distance(index)))
}

/// The distance of an index from 0.
pub(super) fn distance(index: i64) -> usize {
    usize::try_from(index.unsigned_abs()).unwrap_or(usize::MAX)
}

/// Structural equality: numbers compare by value, and the order of members does not matter.
impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Bool(one), Self::Bool(two)) => one == two,
            (Self::Number(one), Self::Number(two)) => compare(one, two).is_eq(),
            (Self::String(one), Self::String(two)) => one == two,
            (Self::Array(one), Self::Array(two)) => one == two,
            (Self::Object(one), Self::Object(two)) => same_members(one, two),
            _ => false,
        }
    }
}

fn same_members(one: &Members, two: &Members) -> bool {
    if one.len() != two.len() {
        return false;
    }
    // Usually both have the same order.
    if one.iter().zip(two).all(|(left, right)| left.0 == right.0) {
        return one.iter().zip(two).all(|(left, right)| left.1 == right.1);
    }
    let by_name: std::collections::HashMap<&str, &Node> =
        two.iter().map(|(name, value)| (name.as_str(), value)).collect();
    one.iter().all(|(name, value)| by_name.get(name.as_str()).is_some_and(|found| *found == value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(text: &str) -> Node {
        Node::parse(text.as_bytes()).expect("JSON")
    }

    #[test]
    fn types_have_the_names_that_redis_json_uses() {
        for (text, name) in [
            ("null", "null"),
            ("true", "boolean"),
            ("18446744073709551615", "integer"),
            ("-9223372036854775808", "integer"),
            ("18446744073709551616", "number"),
            ("-0", "number"),
            ("1.0", "number"),
            ("1e2", "number"),
            ("\"a\"", "string"),
            ("[]", "array"),
            ("{}", "object"),
        ] {
            assert_eq!(node(text).type_name(), name, "{text}");
        }
    }

    #[test]
    fn values_compare_by_content() {
        let wide = |order: &mut dyn Iterator<Item = u32>| {
            let members: Vec<String> = order.map(|n| format!("\"k{n}\":{n}")).collect();
            node(&format!("{{{}}}", members.join(",")))
        };
        assert_eq!(wide(&mut (0..100)), wide(&mut (0..100).rev()));
        assert_eq!(node("{\"a\":1,\"b\":[1.0,2]}"), node("{\"b\":[1,2.00],\"a\":1e0}"));
        for (one, two) in [("1", "\"1\""), ("[1,2]", "[2,1]"), ("{\"a\":1}", "{\"a\":1,\"b\":1}"), ("null", "false")] {
            assert_ne!(node(one), node(two));
        }
    }
}
