//! Stores or merges a value at a path.

use std::collections::{HashMap, HashSet};

use compact_str::CompactString;

use super::values::inner_first;
use super::{ChangeReply, Changed, Limits, SetCondition};
use crate::features::json::document::{Members, Node, text_length};
use crate::features::json::error::JsonError;
use crate::features::json::path::Path;

/// Applies `store` to every selected value and `value`: it replaces the value or merges `value` into it. If the path
/// selects nothing, creates the member that it names with `value` unchanged, as in `RedisJSON`: with the nulls of a
/// merge patch, which had nothing to delete.
///
/// # Errors
/// [`JsonError::PreconditionFailed`] if `condition` does not hold, [`JsonError::PathMissing`] if the parent does not
/// exist or is not an object, [`JsonError::NotSettable`] if the path cannot name a new member.
pub(super) fn set(
    document: Option<Node>,
    path: &Path,
    value: &Node,
    condition: SetCondition,
    limits: Limits<'_>,
    store: fn(&mut Node, &Node),
) -> Result<Changed, JsonError> {
    let Some(mut document) = document else {
        return match condition {
            SetCondition::IfPresent => Err(JsonError::PreconditionFailed),
            _ if !path.is_root() => Err(JsonError::NotSettable("a new document must be stored without a path")),
            _ => Ok(stored(value.clone(), true)),
        };
    };
    let locations = path.locate(&document, limits.work)?;
    match (locations.is_empty(), condition) {
        (true, SetCondition::IfPresent) | (false, SetCondition::IfAbsent) => {
            return Err(JsonError::PreconditionFailed);
        }
        (true, _) => return create(document, path, value, limits),
        (false, _) => {}
    }
    limits.size.check_added(locations.len(), text_length(value))?;
    for (_, location) in inner_first(&locations) {
        if let Some(node) = document.at_mut(location) {
            store(node, value);
        }
    }
    Ok(stored(document, false))
}

/// Adds the member that `path` names to its parent objects.
fn create(mut document: Node, path: &Path, value: &Node, limits: Limits<'_>) -> Result<Changed, JsonError> {
    let (parent, name) = path.new_member().map_err(JsonError::NotSettable)?;
    let mut created = false;
    for location in parent.locate(&document, limits.work)? {
        if let Some(Node::Object(members)) = document.at_mut(&location) {
            members.push((name.into(), value.clone()));
            created = true;
        }
    }
    if !created {
        return Err(JsonError::PathMissing { path: path.as_str().to_owned() });
    }
    Ok(stored(document, true))
}

fn stored(document: Node, created: bool) -> Changed {
    Changed { document: Some(document), reply: ChangeReply::Stored { created }, is_different: true }
}

pub(super) fn replace(target: &mut Node, value: &Node) {
    *target = value.clone();
}

/// Applies a merge patch (RFC 7396, section 2).
pub(super) fn merge(target: &mut Node, change: &Node) {
    let Node::Object(changes) = change else {
        *target = change.clone();
        return;
    };
    if !matches!(target, Node::Object(_)) {
        *target = Node::Object(Members::new());
    }
    let Node::Object(members) = target else { return };
    let positions: HashMap<CompactString, usize> =
        members.iter().enumerate().map(|(at, (name, _))| (name.clone(), at)).collect();
    let mut dropped = HashSet::new();
    for (name, change) in changes {
        match (positions.get(name).and_then(|at| members.get_mut(*at)), change) {
            (Some(_), Node::Null) => {
                dropped.insert(name);
            }
            (None, Node::Null) => {}
            (Some((_, member)), change) => merge(member, change),
            (None, change) => {
                let mut member = Node::Null;
                merge(&mut member, change);
                members.push((name.clone(), member));
            }
        }
    }
    if !dropped.is_empty() {
        members.retain(|(name, _)| !dropped.contains(name));
    }
}
