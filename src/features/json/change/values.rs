//! Changes of the arrays, numbers, strings and booleans that a path selects.

use super::{ChangeReply, Changed, Limits};
use crate::features::json::document::{Location, Node, Number, distance, nearest, text_length};
use crate::features::json::error::JsonError;
use crate::features::json::path::Path;

/// Inserts values before the item at `index` of each array, or at the end without an index or if `index` is the length.
/// The results are the new lengths.
pub(super) fn insert(
    document: Node,
    path: &Path,
    index: Option<i64>,
    values: &[Node],
    limits: Limits<'_>,
) -> Result<Changed, JsonError> {
    let length = values.iter().map(text_length).sum();
    let mut copies = 0;
    change_each(document, path, limits, "an array", |node| {
        let Node::Array(items) = node else { return Ok(None) };
        let at = match index {
            None => items.len(),
            Some(index) => usize::try_from(index)
                .ok()
                .or_else(|| items.len().checked_sub(distance(index)))
                .filter(|at| *at <= items.len())
                .ok_or(JsonError::OutOfBounds { index, length: items.len() })?,
        };
        copies += 1;
        limits.size.check_added(copies, length)?;
        // An array otherwise takes twice its memory when it grows.
        items.reserve_exact(values.len());
        items.splice(at..at, values.iter().cloned());
        Ok(Some((Node::count(items.len()), true)))
    })
}

/// Removes the item at `index`, or the nearest one. The results are `{"value": item}`, or null for empty arrays.
pub(super) fn pop(document: Node, path: &Path, index: i64, limits: Limits<'_>) -> Result<Changed, JsonError> {
    change_each(document, path, limits, "an array", |node| {
        let Node::Array(items) = node else { return Ok(None) };
        let Some(last) = items.len().checked_sub(1) else { return Ok(Some((Node::Null, false))) };
        let item = items.remove(nearest(index, items.len()).min(last));
        Ok(Some((Node::Object(vec![("value".into(), item)]), true)))
    })
}

/// Keeps the items from `start` to `stop`, both included. The results are the new lengths.
pub(super) fn trim(
    document: Node,
    path: &Path,
    start: i64,
    stop: i64,
    limits: Limits<'_>,
) -> Result<Changed, JsonError> {
    change_each(document, path, limits, "an array", |node| {
        let Node::Array(items) = node else { return Ok(None) };
        let before = items.len();
        let from = nearest(start, before).min(before);
        let to = nearest(stop, before).saturating_add(1).min(before);
        items.truncate(to.max(from));
        items.drain(..from);
        Ok(Some((Node::count(items.len()), items.len() != before)))
    })
}

/// Applies an operation to numbers. The results are the new numbers.
pub(super) fn calculate(
    document: Node,
    path: &Path,
    limits: Limits<'_>,
    operation: impl Fn(&Number) -> Result<Number, JsonError>,
) -> Result<Changed, JsonError> {
    change_each(document, path, limits, "a number", |node| {
        let Node::Number(number) = node else { return Ok(None) };
        *number = operation(number)?;
        Ok(Some((Node::Number(number.clone()), true)))
    })
}

/// Appends to strings. The results are the new lengths in bytes of UTF-8.
pub(super) fn append_text(document: Node, path: &Path, suffix: &str, limits: Limits<'_>) -> Result<Changed, JsonError> {
    let mut copies = 0;
    change_each(document, path, limits, "a string", |node| {
        let Node::String(text) = node else { return Ok(None) };
        copies += 1;
        limits.size.check_added(copies, suffix.len())?;
        text.push_str(suffix);
        Ok(Some((Node::count(text.len()), !suffix.is_empty())))
    })
}

/// Inverts booleans. The results are the new values.
pub(super) fn toggle(document: Node, path: &Path, limits: Limits<'_>) -> Result<Changed, JsonError> {
    change_each(document, path, limits, "a boolean", |node| {
        let Node::Bool(value) = node else { return Ok(None) };
        *value = !*value;
        Ok(Some((Node::Bool(*value), true)))
    })
}

/// Applies `act` to each selected value and lists the results in the order of the path. `act` returns the result and
/// whether the value changed, or `None` if the value does not have the type `expected`.
///
/// # Errors
/// [`JsonError::PathMissing`] if the path selects nothing, [`JsonError::WrongType`] if no selected value has the type,
/// and every error of `act`.
fn change_each(
    mut document: Node,
    path: &Path,
    limits: Limits<'_>,
    expected: &'static str,
    mut act: impl FnMut(&mut Node) -> Result<Option<(Node, bool)>, JsonError>,
) -> Result<Changed, JsonError> {
    let locations = path.locate(&document, limits.work)?;
    let mut results = vec![None; locations.len()];
    let mut is_different = false;
    for (at, location) in inner_first(&locations) {
        let (Some(node), Some(slot)) = (document.at_mut(location), results.get_mut(at)) else { continue };
        if let Some((result, is_changed)) = act(node)? {
            *slot = Some(result);
            is_different |= is_changed;
        }
    }
    if results.iter().all(Option::is_none) {
        let path = path.as_str().to_owned();
        return Err(match locations.first().and_then(|location| document.at_mut(location)) {
            None => JsonError::PathMissing { path },
            Some(found) => JsonError::WrongType { path, expected, found: found.type_name() },
        });
    }
    let results = results.into_iter().map(|result| result.unwrap_or(Node::Null)).collect();
    Ok(Changed { document: Some(document), reply: ChangeReply::Results(results), is_different })
}

/// The locations, each with its position in the list, in the order in which values are changed: inner values before
/// outer ones, and later values before earlier ones, so that each location is still valid.
pub(super) fn inner_first(locations: &[Location]) -> Vec<(usize, &Location)> {
    let mut order: Vec<_> = locations.iter().enumerate().collect();
    order.sort_by(|(_, one), (_, two)| two.cmp(one));
    order
}

/// The result of an operation on two numbers.
///
/// As in `RedisJSON`, 64-bit integers stay integers, and all other numbers become floats.
pub(super) fn combine(
    one: &Number,
    two: &Number,
    integers: fn(i64, i64) -> Option<i64>,
    floats: fn(f64, f64) -> f64,
) -> Result<Number, JsonError> {
    let integer = |number: &Number| number.as_integer().and_then(|number| i64::try_from(number).ok());
    if let (Some(one), Some(two)) = (integer(one), integer(two)) {
        return integers(one, two)
            .map(|result| Number::integer(result.into()))
            .ok_or(JsonError::NoNumber("beyond the range of 64-bit integers"));
    }
    Number::float(floats(one.as_f64(), two.as_f64())).ok_or(JsonError::NoNumber("beyond the range of 64-bit floats"))
}

#[cfg(test)]
mod tests {
    use std::ops::{Add, Mul};

    use super::*;

    fn sum(one: &str, two: &str) -> Option<String> {
        combine(&number(one), &number(two), i64::checked_add, f64::add).ok().map(|sum| sum.as_str().to_owned())
    }

    fn product(one: &str, two: &str) -> Option<String> {
        combine(&number(one), &number(two), i64::checked_mul, f64::mul).ok().map(|product| product.as_str().to_owned())
    }

    fn number(text: &str) -> Number {
        Number::parse(text).expect(text)
    }

    #[test]
    fn integers_stay_integers_and_floats_stay_floats() {
        for (one, two, total, multiplied) in [
            ("3", "1", "4", "3"),
            ("3", "1.0", "4.0", "3.0"),
            ("2.5", "-3", "-0.5", "-7.5"),
            ("9007199254740993", "1", "9007199254740994", "9007199254740993"),
            ("18446744073709551615", "1", "1.8446744073709552e19", "1.8446744073709552e19"),
            ("0.1", "0.2", "0.30000000000000004", "0.020000000000000004"),
        ] {
            assert_eq!(sum(one, two).as_deref(), Some(total));
            assert_eq!(product(one, two).as_deref(), Some(multiplied));
        }
    }

    #[test]
    fn a_result_out_of_range_is_rejected() {
        assert_eq!(sum("9223372036854775807", "1"), None);
        assert_eq!(product("-9223372036854775808", "-1"), None);
        assert_eq!(product("1e200", "1e200"), None);
    }
}
