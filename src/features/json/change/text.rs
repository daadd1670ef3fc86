//! Changes of strings and booleans.

use super::each::{Touched, each};
use super::{Bounds, ChangeError, Changed};
use crate::features::json::document::Node;
use crate::features::json::path::Path;

/// Appends to strings; the results are the new lengths in bytes of UTF-8.
pub(super) fn append(document: Node, path: &Path, suffix: &str, bounds: Bounds) -> Result<Changed, ChangeError> {
    let mut copies = 0;
    each(document, path, bounds, "a string", |node| {
        let Node::String(text) = node else { return Ok(Touched::WrongType) };
        copies += 1;
        bounds.allow(copies, suffix.len())?;
        text.push_str(suffix);
        let length = Node::count(text.len());
        Ok(if suffix.is_empty() { Touched::Same(length) } else { Touched::Changed(length) })
    })
}

/// Turns booleans over; the results are the new values.
pub(super) fn toggle(document: Node, path: &Path, bounds: Bounds) -> Result<Changed, ChangeError> {
    each(document, path, bounds, "a boolean", |node| {
        let Node::Bool(value) = node else { return Ok(Touched::WrongType) };
        *value = !*value;
        Ok(Touched::Changed(Node::Bool(*value)))
    })
}
