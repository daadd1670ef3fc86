//! Changes of strings and booleans.

use super::selected_values::{ValueChange, change_each};
use super::{ChangeError, Changed, SizeLimit};
use crate::features::json::document::Node;
use crate::features::json::path::Path;

/// Appends to strings. The results are the new lengths in bytes of UTF-8.
pub(super) fn append(document: Node, path: &Path, suffix: &str, limit: SizeLimit) -> Result<Changed, ChangeError> {
    let mut copies = 0;
    change_each(document, path, "a string", |node| {
        let Node::String(text) = node else { return Ok(ValueChange::WrongType) };
        copies += 1;
        limit.check_added(copies, suffix.len())?;
        text.push_str(suffix);
        let length = Node::count(text.len());
        Ok(if suffix.is_empty() { ValueChange::Same(length) } else { ValueChange::Changed(length) })
    })
}

/// Inverts booleans. The results are the new values.
pub(super) fn toggle(document: Node, path: &Path) -> Result<Changed, ChangeError> {
    change_each(document, path, "a boolean", |node| {
        let Node::Bool(value) = node else { return Ok(ValueChange::WrongType) };
        *value = !*value;
        Ok(ValueChange::Changed(Node::Bool(*value)))
    })
}
