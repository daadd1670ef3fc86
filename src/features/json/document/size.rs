//! The size and depth of a value, so that a change can be rejected before it is made.

use super::Node;

/// The length of the value's compact text, bytes. Escapes are not counted, so it can be up to six times too small.
pub(in super::super) fn text_length(node: &Node) -> usize {
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
pub(in super::super) fn depth(node: &Node) -> usize {
    match node {
        Node::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Node::Object(members) => 1 + members.iter().map(|(_, value)| depth(value)).max().unwrap_or(0),
        _ => 0,
    }
}
