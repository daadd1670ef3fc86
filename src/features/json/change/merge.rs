//! Merge patches (RFC 7396), at the root or at a path.

use std::collections::{HashMap, HashSet};

use compact_str::CompactString;

use super::each::inner_first;
use super::set::{create, new_document};
use super::{Answer, Bounds, ChangeError, Changed, Only};
use crate::features::json::document::{Members, Node, text_length};
use crate::features::json::path::Path;

/// Merges `change` into every selected value. Where there is nothing yet, it is stored as it is, as RedisJSON does it:
/// with its nulls, since they had nothing to delete.
pub(super) fn merge_at(
    document: Option<Node>,
    path: &Path,
    change: &Node,
    bounds: Bounds,
) -> Result<Changed, ChangeError> {
    let Some(mut document) = document else { return new_document(path, change, Only::Either) };
    let places = path.locate(&document, bounds.visits)?;
    if places.is_empty() {
        return create(document, path, change, bounds);
    }
    bounds.allow(places.len(), text_length(change))?;
    for at in inner_first(&places) {
        if let Some(node) = places.get(at).and_then(|place| document.at_mut(place)) {
            merge(node, change);
        }
    }
    Ok(Changed { document: Some(document), answer: Answer::Stored { created: false }, is_different: true })
}

/// RFC 7396, section 2.
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
