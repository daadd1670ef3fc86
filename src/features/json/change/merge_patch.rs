//! Applies merge patches (RFC 7396), at the root or at a path.

use std::collections::{HashMap, HashSet};

use compact_str::CompactString;

use super::selected_values::inner_first;
use super::set::{create, new_document};
use super::{ChangeError, ChangeReply, Changed, SetCondition, SizeLimit};
use crate::features::json::document::{Members, Node, text_length};
use crate::features::json::path::Path;

/// Merges `change` into every selected value. If no value exists, `change` is stored unchanged, as in `RedisJSON`: with
/// its nulls, which had nothing to delete.
pub(super) fn merge_at(
    document: Option<Node>,
    path: &Path,
    change: &Node,
    limit: SizeLimit,
) -> Result<Changed, ChangeError> {
    let Some(mut document) = document else { return new_document(path, change, SetCondition::Always) };
    let locations = path.locate(&document)?;
    if locations.is_empty() {
        return create(document, path, change);
    }
    limit.check_added(locations.len(), text_length(change))?;
    for at in inner_first(&locations) {
        if let Some(node) = locations.get(at).and_then(|location| document.at_mut(location)) {
            merge(node, change);
        }
    }
    Ok(Changed { document: Some(document), reply: ChangeReply::Stored { created: false }, is_different: true })
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
