//! Deletes and clears values.

use super::values::inner_first;
use super::{ChangeReply, Changed, Limits};
use crate::features::json::document::{Location, Node, Number};
use crate::features::json::error::JsonError;
use crate::features::json::path::Path;

/// Deletes every selected value. The reply counts the values that were not inside another deleted one.
///
/// A document whose root becomes empty is deleted, as in `RedisJSON`.
pub(super) fn delete(document: Option<Node>, path: &Path, limits: Limits<'_>) -> Result<Changed, JsonError> {
    let Some(mut document) = document else { return Ok(counted(None, 0)) };
    if path.is_root() {
        return Ok(counted(None, 1));
    }
    let mut locations = path.locate(&document, limits.work)?;
    locations.sort_unstable();
    locations.dedup_by(|inner, outer| inner.starts_with(outer));
    remove(&mut document, &locations, 0);
    let is_empty = matches!(document, Node::Array(_) | Node::Object(_)) && document.child_count() == 0;
    let is_gone = is_empty && !locations.is_empty();
    Ok(counted((!is_gone).then_some(document), locations.len()))
}

/// Removes the values at `locations`, which are sorted and all below `node`, which is `depth` levels down.
fn remove(node: &mut Node, locations: &[Location], depth: usize) {
    let mut direct = Vec::new();
    for group in locations.chunk_by(|one, two| one.get(depth) == two.get(depth)) {
        let Some((first, at)) = group.first().and_then(|first| Some((first, *first.get(depth)?))) else { continue };
        if first.len() == depth + 1 {
            direct.push(at);
        } else if let Some(child) = node.child_mut(at) {
            remove(child, group, depth + 1);
        }
    }
    match node {
        Node::Array(items) => drop_positions(items, &direct),
        Node::Object(members) => drop_positions(members, &direct),
        _ => {}
    }
}

/// Removes the items at sorted positions in one pass.
fn drop_positions<T>(items: &mut Vec<T>, positions: &[usize]) {
    let (mut at, mut next) = (0, positions.iter().peekable());
    items.retain(|_| {
        let is_dropped = next.next_if(|position| **position == at).is_some();
        at += 1;
        !is_dropped
    });
}

/// Empties arrays and objects and sets numbers to 0. The reply counts the values that changed.
pub(super) fn clear(mut document: Node, path: &Path, limits: Limits<'_>) -> Result<Changed, JsonError> {
    let locations = path.locate(&document, limits.work)?;
    let mut cleared = 0;
    for (_, location) in inner_first(&locations) {
        let is_changed = match document.at_mut(location) {
            Some(Node::Array(items)) => !std::mem::take(items).is_empty(),
            Some(Node::Object(members)) => !std::mem::take(members).is_empty(),
            Some(Node::Number(number)) if number.as_f64() != 0.0 => {
                *number = Number::integer(0);
                true
            }
            _ => false,
        };
        cleared += usize::from(is_changed);
    }
    Ok(counted(Some(document), cleared))
}

fn counted(document: Option<Node>, count: usize) -> Changed {
    Changed { document, reply: ChangeReply::Count(count), is_different: count > 0 }
}
