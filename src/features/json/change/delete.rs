//! Deleting and emptying values.

use super::each::inner_first;
use super::{Answer, Bounds, ChangeError, Changed};
use crate::features::json::document::{Location, Node, Number};
use crate::features::json::path::Path;

/// Deletes every selected value and counts those that were not inside another one.
///
/// A document whose root becomes empty that way is deleted itself, as RedisJSON does it.
pub(super) fn delete(document: Option<Node>, path: &Path, bounds: Bounds) -> Result<Changed, ChangeError> {
    let Some(mut document) = document else { return Ok(counted(None, 0)) };
    if path.is_root() {
        return Ok(counted(None, 1));
    }
    let mut places = path.locate(&document, bounds.visits)?;
    places.sort_unstable();
    places.dedup_by(|inner, outer| inner.starts_with(outer));
    remove(&mut document, &places, 0);
    let is_empty = match &document {
        Node::Array(items) => items.is_empty(),
        Node::Object(members) => members.is_empty(),
        _ => false,
    };
    let is_gone = is_empty && !places.is_empty();
    Ok(counted((!is_gone).then_some(document), places.len()))
}

/// Removes what is at `places`, sorted and all below `node`, which is `depth` levels down.
fn remove(node: &mut Node, places: &[Location], depth: usize) {
    let mut direct = Vec::new();
    for group in places.chunk_by(|one, two| one.get(depth) == two.get(depth)) {
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

/// Drops the items at sorted positions in one pass.
fn drop_positions<T>(items: &mut Vec<T>, positions: &[usize]) {
    if positions.is_empty() {
        return;
    }
    let (mut at, mut next) = (0, positions.iter().peekable());
    items.retain(|_| {
        let is_dropped = next.next_if(|position| **position == at).is_some();
        at += 1;
        !is_dropped
    });
}

/// Empties arrays and objects and sets numbers to 0; counts those that were something else before.
pub(super) fn clear(mut document: Node, path: &Path, bounds: Bounds) -> Result<Changed, ChangeError> {
    let places = path.locate(&document, bounds.visits)?;
    let mut cleared = 0;
    for at in inner_first(&places) {
        let Some(node) = places.get(at).and_then(|place| document.at_mut(place)) else { continue };
        let was_something = match node {
            Node::Array(items) => !std::mem::take(items).is_empty(),
            Node::Object(members) => !std::mem::take(members).is_empty(),
            Node::Number(number) => {
                let was_zero = number.as_f64() == 0.0;
                if !was_zero {
                    *number = Number::integer(0);
                }
                !was_zero
            }
            _ => false,
        };
        cleared += usize::from(was_something);
    }
    Ok(counted(Some(document), cleared))
}

fn counted(document: Option<Node>, count: usize) -> Changed {
    Changed { document, answer: Answer::Count(count), is_different: count > 0 }
}
