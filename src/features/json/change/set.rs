//! Stores a value at a path.

use super::selected_values::inner_first;
use super::{ChangeError, ChangeReply, Changed, SetCondition, SizeLimit};
use crate::features::json::document::{Node, text_length};
use crate::features::json::path::{Leaf, Path};

/// Replaces every selected value. If the path selects nothing, creates the member that it names.
///
/// # Errors
/// [`ChangeError::PreconditionFailed`] if `condition` does not hold, [`ChangeError::PathMissing`] if the parent does
/// not exist or is not an object, [`ChangeError::NotSettable`] if the path cannot name a new member.
pub(super) fn set(
    document: Option<Node>,
    path: &Path,
    value: &Node,
    condition: SetCondition,
    limit: SizeLimit,
) -> Result<Changed, ChangeError> {
    let Some(mut document) = document else {
        return new_document(path, value, condition);
    };
    let locations = path.locate(&document)?;
    match (locations.is_empty(), condition) {
        (true, SetCondition::IfPresent) | (false, SetCondition::IfAbsent) => {
            return Err(ChangeError::PreconditionFailed);
        }
        (true, _) => return create(document, path, value),
        (false, _) => {}
    }
    limit.check_added(locations.len(), text_length(value))?;
    for at in inner_first(&locations) {
        if let Some(node) = locations.get(at).and_then(|location| document.at_mut(location)) {
            *node = value.clone();
        }
    }
    Ok(Changed { document: Some(document), reply: ChangeReply::Stored { created: false }, is_different: true })
}

/// Creates a document from the value that is stored at the root.
pub(super) fn new_document(path: &Path, value: &Node, condition: SetCondition) -> Result<Changed, ChangeError> {
    if condition == SetCondition::IfPresent {
        return Err(ChangeError::PreconditionFailed);
    }
    if !path.is_root() {
        return Err(ChangeError::NotSettable { reason: "a new document must be stored without a path" });
    }
    Ok(Changed { document: Some(value.clone()), reply: ChangeReply::Stored { created: true }, is_different: true })
}

/// Adds the member that `path` names to its parent objects.
pub(super) fn create(mut document: Node, path: &Path, value: &Node) -> Result<Changed, ChangeError> {
    let (parent, name) = match path.leaf() {
        Some(Leaf::Member { parent, name }) => (parent, name),
        Some(Leaf::Item) => return Err(ChangeError::NotSettable { reason: "the array does not have this item" }),
        Some(Leaf::Root) | None => {
            return Err(ChangeError::NotSettable {
                reason: "the path selects nothing and does not name exactly one new member",
            });
        }
    };
    let locations = parent.locate(&document)?;
    let mut created = false;
    for location in &locations {
        if let Some(Node::Object(members)) = document.at_mut(location) {
            members.push((name.clone(), value.clone()));
            created = true;
        }
    }
    if !created {
        return Err(ChangeError::PathMissing { path: path.as_str().to_owned() });
    }
    Ok(Changed { document: Some(document), reply: ChangeReply::Stored { created: true }, is_different: true })
}
