//! Applies a change to every value that a path selects.

use super::{ChangeError, ChangeReply, Changed};
use crate::features::json::document::{Location, Node};
use crate::features::json::path::Path;

/// The effect of a change on one value.
pub(super) enum ValueChange {
    /// The change does not apply to values of this type.
    WrongType,
    /// The value did not change; the result.
    Same(Node),
    /// The value changed; the result.
    Changed(Node),
}

/// Applies `act` to each selected value and lists the results in the order of the path.
///
/// A value inside another selected one is changed first, so that its location is still valid.
///
/// # Errors
/// [`ChangeError::PathMissing`] if the path selects nothing, [`ChangeError::WrongType`] if no selected value has the
/// type `expected`, and every error of `act`.
pub(super) fn change_each(
    mut document: Node,
    path: &Path,
    expected: &'static str,
    mut act: impl FnMut(&mut Node) -> Result<ValueChange, ChangeError>,
) -> Result<Changed, ChangeError> {
    let locations = path.locate(&document)?;
    let mut results: Vec<Option<Node>> = locations.iter().map(|_| None).collect();
    let mut is_different = false;
    for at in inner_first(&locations) {
        let (Some(location), Some(result)) = (locations.get(at), results.get_mut(at)) else { continue };
        let Some(node) = document.at_mut(location) else { continue };
        match act(node)? {
            ValueChange::WrongType => {}
            ValueChange::Same(reply) => *result = Some(reply),
            ValueChange::Changed(reply) => {
                *result = Some(reply);
                is_different = true;
            }
        }
    }
    if results.iter().all(Option::is_none) {
        return Err(nothing_changed(&mut document, path, &locations, expected));
    }
    let results = results.into_iter().map(|result| result.unwrap_or(Node::Null)).collect();
    Ok(Changed { document: Some(document), reply: ChangeReply::Results(results), is_different })
}

/// The order in which values are changed: inner values before outer ones, later values before earlier ones.
pub(super) fn inner_first(locations: &[Location]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..locations.len()).collect();
    order.sort_by(|one, two| locations.get(*two).cmp(&locations.get(*one)));
    order
}

fn nothing_changed(document: &mut Node, path: &Path, locations: &[Location], expected: &'static str) -> ChangeError {
    let path = path.as_str().to_owned();
    match locations.first().and_then(|location| document.at_mut(location)) {
        None => ChangeError::PathMissing { path },
        Some(found) => ChangeError::WrongType { path, expected, found: found.type_name() },
    }
}
