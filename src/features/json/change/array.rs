//! Changes of arrays.

use super::each::{Touched, each};
use super::{Bounds, ChangeError, Changed};
use crate::features::json::document::{Node, text_length};
use crate::features::json::path::Path;

const ARRAY: &str = "an array";

/// Adds values at the end; the results are the new lengths.
pub(super) fn append(document: Node, path: &Path, values: &[Node], bounds: Bounds) -> Result<Changed, ChangeError> {
    let mut copies = Copies::of(values, bounds);
    each(document, path, bounds, ARRAY, |node| {
        let Node::Array(items) = node else { return Ok(Touched::WrongType) };
        items.extend(copies.next()?.iter().cloned());
        Ok(Touched::Changed(Node::count(items.len())))
    })
}

/// Adds values before the item at `index`, which may be the length; the results are the new lengths.
pub(super) fn insert(
    document: Node,
    path: &Path,
    index: i64,
    values: &[Node],
    bounds: Bounds,
) -> Result<Changed, ChangeError> {
    let mut copies = Copies::of(values, bounds);
    each(document, path, bounds, ARRAY, |node| {
        let Node::Array(items) = node else { return Ok(Touched::WrongType) };
        let length = items.len();
        let at = match usize::try_from(index) {
            Ok(at) => Some(at),
            Err(_) => length.checked_sub(distance(index)),
        };
        let at = at.filter(|at| *at <= length).ok_or(ChangeError::OutOfBounds { index, length })?;
        items.splice(at..at, copies.next()?.iter().cloned());
        Ok(Touched::Changed(Node::count(items.len())))
    })
}

/// Takes out the item at `index`, or the nearest one; the results are `{"value": item}`, or null from empty arrays.
pub(super) fn pop(document: Node, path: &Path, index: i64, bounds: Bounds) -> Result<Changed, ChangeError> {
    each(document, path, bounds, ARRAY, |node| {
        let Node::Array(items) = node else { return Ok(Touched::WrongType) };
        let Some(last) = items.len().checked_sub(1) else { return Ok(Touched::Same(Node::Null)) };
        let item = items.remove(nearest(index, items.len()).min(last));
        Ok(Touched::Changed(Node::Object(vec![("value".into(), item)])))
    })
}

/// Keeps the items from `start` to `stop`, both included; the results are the new lengths.
pub(super) fn trim(document: Node, path: &Path, start: i64, stop: i64, bounds: Bounds) -> Result<Changed, ChangeError> {
    each(document, path, bounds, ARRAY, |node| {
        let Node::Array(items) = node else { return Ok(Touched::WrongType) };
        let before = items.len();
        let from = nearest(start, before).min(before);
        let to = nearest(stop, before).saturating_add(1).min(before);
        items.truncate(to.max(from));
        items.drain(..from);
        let length = Node::count(items.len());
        Ok(if items.len() == before { Touched::Same(length) } else { Touched::Changed(length) })
    })
}

/// The position of an index that counts from the end when it is negative, and stops at the first item.
fn nearest(index: i64, length: usize) -> usize {
    usize::try_from(index).unwrap_or_else(|_| length.saturating_sub(distance(index)))
}

fn distance(index: i64) -> usize {
    usize::try_from(index.unsigned_abs()).unwrap_or(usize::MAX)
}

/// Values of which every selected array gets a copy.
struct Copies<'a> {
    values: &'a [Node],
    length: usize,
    made: usize,
    bounds: Bounds,
}

impl<'a> Copies<'a> {
    fn of(values: &'a [Node], bounds: Bounds) -> Self {
        let length = values.iter().map(text_length).sum();
        Self { values, length, made: 0, bounds }
    }

    fn next(&mut self) -> Result<&'a [Node], ChangeError> {
        self.made += 1;
        self.bounds.allow(self.made, self.length)?;
        Ok(self.values)
    }
}
