//! Changing every value that a path selects.

use super::{Answer, Bounds, ChangeError, Changed};
use crate::features::json::document::{Location, Node};
use crate::features::json::path::Path;

/// What became of one value.
pub(super) enum Touched {
    /// It is not of the type that the change is for.
    WrongType,
    /// It stays as it was; the result.
    Same(Node),
    /// It is another one; the result.
    Changed(Node),
}

/// Applies `act` to each selected value and lists its results in the order of the path.
///
/// Of values inside each other the inner ones come first, so that every value is met where it was selected.
///
/// # Errors
/// [`ChangeError::PathMissing`] when nothing is selected, [`ChangeError::WrongType`] when nothing selected is of type
/// `expected`; whatever `act` fails with.
pub(super) fn each(
    mut document: Node,
    path: &Path,
    bounds: Bounds,
    expected: &'static str,
    mut act: impl FnMut(&mut Node) -> Result<Touched, ChangeError>,
) -> Result<Changed, ChangeError> {
    let places = path.locate(&document, bounds.visits)?;
    let mut results: Vec<Option<Node>> = places.iter().map(|_| None).collect();
    let mut is_different = false;
    for at in inner_first(&places) {
        let (Some(place), Some(result)) = (places.get(at), results.get_mut(at)) else { continue };
        let Some(node) = document.at_mut(place) else { continue };
        match act(node)? {
            Touched::WrongType => {}
            Touched::Same(answer) => *result = Some(answer),
            Touched::Changed(answer) => {
                *result = Some(answer);
                is_different = true;
            }
        }
    }
    if results.iter().all(Option::is_none) {
        return Err(nothing_to_do(&mut document, path, &places, expected));
    }
    let results = results.into_iter().map(|result| result.unwrap_or(Node::Null)).collect();
    Ok(Changed { document: Some(document), answer: Answer::Results(results), is_different })
}

/// The order in which values inside each other are changed: those further in, and further back, first.
pub(super) fn inner_first(places: &[Location]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..places.len()).collect();
    order.sort_by(|one, two| places.get(*two).cmp(&places.get(*one)));
    order
}

fn nothing_to_do(document: &mut Node, path: &Path, places: &[Location], expected: &'static str) -> ChangeError {
    let path = path.as_str().to_owned();
    match places.first().and_then(|place| document.at_mut(place)) {
        None => ChangeError::PathMissing { path },
        Some(found) => ChangeError::WrongType { path, expected, found: found.type_name() },
    }
}
