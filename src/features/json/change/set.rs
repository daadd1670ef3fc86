//! Storing a value at a path.

use super::each::inner_first;
use super::{Answer, Bounds, ChangeError, Changed, Only};
use crate::features::json::document::{Node, text_length};
use crate::features::json::path::{Leaf, Path};

/// Replaces every selected value; when nothing is selected, makes the member that the path names.
///
/// # Errors
/// [`ChangeError::Refused`] when `only` forbids it, [`ChangeError::PathMissing`] when the parent is no object or not
/// there, [`ChangeError::NotSettable`] when the path cannot name a new member.
pub(super) fn set(
    document: Option<Node>,
    path: &Path,
    value: &Node,
    only: Only,
    bounds: Bounds,
) -> Result<Changed, ChangeError> {
    let Some(mut document) = document else {
        return new_document(path, value, only);
    };
    let places = path.locate(&document, bounds.visits)?;
    match (places.is_empty(), only) {
        (true, Only::Present) | (false, Only::Absent) => return Err(ChangeError::Refused),
        (true, _) => return create(document, path, value, bounds),
        (false, _) => {}
    }
    bounds.allow(places.len(), text_length(value))?;
    for at in inner_first(&places) {
        if let Some(node) = places.get(at).and_then(|place| document.at_mut(place)) {
            *node = value.clone();
        }
    }
    Ok(Changed { document: Some(document), answer: Answer::Stored { created: false }, is_different: true })
}

/// The document that a value becomes which is stored at the root.
pub(super) fn new_document(path: &Path, value: &Node, only: Only) -> Result<Changed, ChangeError> {
    if only == Only::Present {
        return Err(ChangeError::Refused);
    }
    if !path.is_root() {
        return Err(ChangeError::NotSettable { reason: "a new document is stored at its root, not at a path" });
    }
    Ok(Changed { document: Some(value.clone()), answer: Answer::Stored { created: true }, is_different: true })
}

/// Adds the member that `path` names to the objects above it.
pub(super) fn create(mut document: Node, path: &Path, value: &Node, bounds: Bounds) -> Result<Changed, ChangeError> {
    let (parent, name) = match path.leaf() {
        Some(Leaf::Member { parent, name }) => (parent, name),
        Some(Leaf::Item) => return Err(ChangeError::NotSettable { reason: "there is no such item in the array" }),
        Some(Leaf::Root) | None => {
            return Err(ChangeError::NotSettable {
                reason: "nothing is there, and the path does not name one new member",
            });
        }
    };
    let places = parent.locate(&document, bounds.visits)?;
    let mut created = false;
    for place in &places {
        if let Some(Node::Object(members)) = document.at_mut(place) {
            members.push((name.clone(), value.clone()));
            created = true;
        }
    }
    if !created {
        return Err(ChangeError::PathMissing { path: path.as_str().to_owned() });
    }
    Ok(Changed { document: Some(document), answer: Answer::Stored { created: true }, is_different: true })
}
