//! Applying paths to documents, within a number of visits.
//!
//! A visit is about what looking at one value costs. Everything that costs more counts for more, so that the limit
//! bounds the time of an application whatever the path says.

use super::super::document::{Location, Node};
use super::{Path, Segment, Selector};

/// Names of an object that are compared in the time of one visit.
const NAMES_COMPARED: usize = 16;

/// The path would visit more values than it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the path visits more than {limit} values of this document")]
pub(in super::super) struct TooManyVisits {
    pub limit: usize,
}

impl Path {
    /// The values that it selects, in order; a value may be among them several times.
    ///
    /// # Errors
    /// [`TooManyVisits`] beyond `limit`.
    pub(in super::super) fn select<'d>(&'d self, root: &'d Node, limit: usize) -> Result<Vec<&'d Node>, TooManyVisits> {
        let mut walk = Walk { root, limit, left: limit };
        let found = walk.follow((root, ()), &self.segments)?;
        Ok(found.into_iter().map(|(node, ())| node).collect())
    }

    /// Where the values are that it selects, in order, each once.
    ///
    /// # Errors
    /// [`TooManyVisits`] beyond `limit`.
    pub(in super::super) fn locate(&self, root: &Node, limit: usize) -> Result<Vec<Location>, TooManyVisits> {
        let mut walk = Walk { root, limit, left: limit };
        let found = walk.follow((root, Location::new()), &self.segments)?;
        let mut seen = std::collections::HashSet::with_capacity(found.len());
        Ok(found.into_iter().map(|(_, at)| at).filter(|at| seen.insert(at.clone())).collect())
    }
}

/// What is remembered of the way to a value: nothing, or where it is.
trait Trail: Clone {
    fn step(&self, at: usize) -> Self;
}

impl Trail for () {
    fn step(&self, _: usize) {}
}

impl Trail for Location {
    fn step(&self, at: usize) -> Self {
        let mut further = Self::with_capacity(self.len() + 1);
        further.extend_from_slice(self);
        further.push(at);
        further
    }
}

/// One application of a path.
pub(super) struct Walk<'d> {
    root: &'d Node,
    limit: usize,
    left: usize,
}

type Found<'d, T> = Vec<(&'d Node, T)>;

impl<'d> Walk<'d> {
    pub(super) fn root(&self) -> &'d Node {
        self.root
    }

    /// Counts `visits`.
    pub(super) fn visit(&mut self, visits: usize) -> Result<(), TooManyVisits> {
        self.left = self.left.checked_sub(visits).ok_or(TooManyVisits { limit: self.limit })?;
        Ok(())
    }

    /// The first value that `segments` select below `from`.
    pub(super) fn first(&mut self, from: &'d Node, segments: &'d [Segment]) -> Result<Option<&'d Node>, TooManyVisits> {
        Ok(self.follow((from, ()), segments)?.first().map(|(node, ())| *node))
    }

    fn follow<T: Trail>(
        &mut self,
        from: (&'d Node, T),
        segments: &'d [Segment],
    ) -> Result<Found<'d, T>, TooManyVisits> {
        let mut current = vec![from];
        for Segment { descends, selector } in segments {
            let mut next = Vec::new();
            for (node, trail) in current {
                if *descends {
                    self.descend(node, &trail, selector, &mut next)?;
                } else {
                    self.apply(node, &trail, selector, &mut next)?;
                }
            }
            current = next;
        }
        Ok(current)
    }

    /// Applies `selector` to a value, then to everything below it.
    fn descend<T: Trail>(
        &mut self,
        node: &'d Node,
        trail: &T,
        selector: &'d Selector,
        out: &mut Found<'d, T>,
    ) -> Result<(), TooManyVisits> {
        self.apply(node, trail, selector, out)?;
        for (at, child) in children(node).enumerate() {
            if matches!(child, Node::Array(_) | Node::Object(_)) {
                self.descend(child, &trail.step(at), selector, out)?;
            }
        }
        Ok(())
    }

    fn apply<T: Trail>(
        &mut self,
        node: &'d Node,
        trail: &T,
        selector: &'d Selector,
        out: &mut Found<'d, T>,
    ) -> Result<(), TooManyVisits> {
        self.visit(1)?;
        let mut take = |at: usize| {
            if let Some(child) = node.child(at) {
                out.push((child, trail.step(at)));
            }
        };
        match (selector, node) {
            (Selector::All, _) => {
                let count = children(node).len();
                self.visit(count)?;
                (0..count).for_each(take);
            }
            (Selector::Names(names), Node::Object(members)) => {
                self.visit(names.len() * (1 + members.len() / NAMES_COMPARED))?;
                names.iter().filter_map(|name| node.position_of(name)).for_each(take);
            }
            (Selector::Indexes(indexes), Node::Array(items)) => {
                self.visit(indexes.len())?;
                indexes.iter().map(|index| item_position(*index, items.len())).for_each(take);
            }
            (Selector::Slice { start, end, step }, Node::Array(items)) => {
                let from = start.map_or(0, |start| bound(start, items.len()));
                let to = end.map_or(items.len(), |end| bound(end, items.len()));
                let positions = (from..to).step_by(*step);
                self.visit(positions.len())?;
                positions.for_each(take);
            }
            (Selector::Filter(condition), _) => {
                for (at, child) in children(node).enumerate() {
                    self.visit(1)?;
                    if condition.holds(child, self)? {
                        take(at);
                    }
                }
            }
            (Selector::Names(_) | Selector::Indexes(_) | Selector::Slice { .. }, _) => {}
        }
        Ok(())
    }
}

/// The values directly below one.
fn children(node: &Node) -> impl ExactSizeIterator<Item = &Node> {
    let count = match node {
        Node::Array(items) => items.len(),
        Node::Object(members) => members.len(),
        _ => 0,
    };
    Children { node, range: 0..count }
}

struct Children<'d> {
    node: &'d Node,
    range: std::ops::Range<usize>,
}

impl<'d> Iterator for Children<'d> {
    type Item = &'d Node;

    fn next(&mut self) -> Option<&'d Node> {
        self.node.child(self.range.next()?)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.range.size_hint()
    }
}

impl ExactSizeIterator for Children<'_> {}

/// The position of an item: negative indexes count from the end and stop at the first item.
fn item_position(index: i64, length: usize) -> usize {
    match usize::try_from(index) {
        Ok(position) => position,
        Err(_) => length.saturating_sub(usize::try_from(index.unsigned_abs()).unwrap_or(usize::MAX)),
    }
}

/// A bound of a slice, within the array.
fn bound(index: i64, length: usize) -> usize {
    item_position(index, length).min(length)
}
