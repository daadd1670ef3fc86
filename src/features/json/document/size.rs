//! How large and how deep a value is, so that a change can be refused before it is made.

use super::Node;

/// The length of its compact text in bytes, up to six times too small where strings need escapes.
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

/// Levels of arrays and objects: none for a scalar, one for an array of scalars.
pub(in super::super) fn depth(node: &Node) -> usize {
    match node {
        Node::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Node::Object(members) => 1 + members.iter().map(|(_, value)| depth(value)).max().unwrap_or(0),
        _ => 0,
    }
}
