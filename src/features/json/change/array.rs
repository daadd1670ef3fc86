//! Changes of arrays.

use super::selected_values::{ValueChange, change_each};
use super::{ChangeError, Changed, SizeLimit};
use crate::features::json::document::{Node, text_length};
use crate::features::json::path::Path;

const ARRAY: &str = "an array";

/// Appends values to each selected array. The results are the new lengths.
pub(super) fn append(document: Node, path: &Path, values: &[Node], limit: SizeLimit) -> Result<Changed, ChangeError> {
    let length = values.iter().map(text_length).sum();
    let mut copies = 0;
    change_each(document, path, ARRAY, |node| {
        let Node::Array(items) = node else { return Ok(ValueChange::WrongType) };
        copies += 1;
        limit.check_added(copies, length)?;
        items.extend(values.iter().cloned());
        Ok(ValueChange::Changed(Node::count(items.len())))
    })
}

/// Inserts values before the item at `index`, or at the end if `index` is the length. The results are the new lengths.
pub(super) fn insert(
    document: Node,
    path: &Path,
    index: i64,
    values: &[Node],
    limit: SizeLimit,
) -> Result<Changed, ChangeError> {
    let length = values.iter().map(text_length).sum();
    let mut copies = 0;
    change_each(document, path, ARRAY, |node| {
        let Node::Array(items) = node else { return Ok(ValueChange::WrongType) };
        let at = usize::try_from(index).ok().or_else(|| items.len().checked_sub(distance(index)));
        let out_of_bounds = ChangeError::OutOfBounds { index, length: items.len() };
        let at = at.filter(|at| *at <= items.len()).ok_or(out_of_bounds)?;
        copies += 1;
        limit.check_added(copies, length)?;
        items.splice(at..at, values.iter().cloned());
        Ok(ValueChange::Changed(Node::count(items.len())))
    })
}

/// Removes the item at `index`, or the nearest one. The results are `{"value": item}`, or null for empty arrays.
pub(super) fn pop(document: Node, path: &Path, index: i64) -> Result<Changed, ChangeError> {
    change_each(document, path, ARRAY, |node| {
        let Node::Array(items) = node else { return Ok(ValueChange::WrongType) };
        let Some(last) = items.len().checked_sub(1) else { return Ok(ValueChange::Same(Node::Null)) };
        let item = items.remove(nearest(index, items.len()).min(last));
        Ok(ValueChange::Changed(Node::Object(vec![("value".into(), item)])))
    })
}

/// Keeps the items from `start` to `stop`, both included. The results are the new lengths.
pub(super) fn trim(document: Node, path: &Path, start: i64, stop: i64) -> Result<Changed, ChangeError> {
    change_each(document, path, ARRAY, |node| {
        let Node::Array(items) = node else { return Ok(ValueChange::WrongType) };
        let before = items.len();
        let from = nearest(start, before).min(before);
        let to = nearest(stop, before).saturating_add(1).min(before);
        items.truncate(to.max(from));
        items.drain(..from);
        let length = Node::count(items.len());
        Ok(if items.len() == before { ValueChange::Same(length) } else { ValueChange::Changed(length) })
    })
}

/// The position of an index. A negative index counts from the end and stops at the first item.
fn nearest(index: i64, length: usize) -> usize {
    usize::try_from(index).unwrap_or_else(|_| length.saturating_sub(distance(index)))
}

fn distance(index: i64) -> usize {
    usize::try_from(index.unsigned_abs()).unwrap_or(usize::MAX)
}
