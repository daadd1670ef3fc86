//! Applies paths to documents, with a limit on the number of visits.
//!
//! A visit costs about as much as reading one value, some 20 ns. More expensive steps count as several visits, so the
//! limit bounds the time of any path.

use super::super::document::{Location, Node, nearest};
use super::super::work::WorkBudget;
use super::{Path, Segment, Selector};

/// The number of member names that can be compared in the time of one visit.
const NAMES_COMPARED: usize = 16;
/// What a location costs, in visits: its allocation, its place in the order of changes, and the result of its change.
const LOCATION: usize = 8;
/// The levels of a location that can be stored in the time of one visit.
const LEVELS_STORED: usize = 4;

/// The paths of a request would take more visits than the limit allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the paths of this request take more than {limit} visits; a value takes one, and a value to be changed nine or more"
)]
pub(in super::super) struct TooManyVisits {
    pub limit: usize,
}

impl Path {
    /// The selected values, in order. A value can occur several times.
    pub(in super::super) fn select<'d>(
        &'d self,
        root: &'d Node,
        work: &WorkBudget,
    ) -> Result<Vec<&'d Node>, TooManyVisits> {
        let found = self.traverse((root, ()), work)?;
        Ok(found.into_iter().map(|(node, ())| node).collect())
    }

    /// The locations of the selected values, in order, each once.
    pub(in super::super) fn locate(&self, root: &Node, work: &WorkBudget) -> Result<Vec<Location>, TooManyVisits> {
        let mut found = self.traverse((root, Location::new()), work)?;
        let is_first: Vec<bool> = {
            let mut seen = std::collections::HashSet::with_capacity(found.len());
            found.iter().map(|(_, at)| seen.insert(at.as_slice())).collect()
        };
        let mut is_first = is_first.into_iter();
        found.retain(|_| is_first.next().unwrap_or(false));
        Ok(found.into_iter().map(|(_, at)| at).collect())
    }

    fn traverse<'d, T: Recorded>(
        &'d self,
        from: (&'d Node, T),
        work: &WorkBudget,
    ) -> Result<Vec<(&'d Node, T)>, TooManyVisits> {
        let budget = work.visits_left();
        let mut traversal = Traversal { root: from.0, limit: work.max_visits(), left: budget };
        let found = traversal.follow(from, &self.segments);
        work.spend_visits(budget - traversal.left);
        found
    }
}

/// The part of a value's location that a traversal records: nothing, or all of it.
trait Recorded: Clone {
    /// The location of the child at a position.
    fn child(&self, at: usize) -> Self;

    /// The cost of visiting a child and storing its location, in visits. It bounds the memory of all locations, too.
    fn cost_of_child(&self) -> usize;
}

impl Recorded for () {
    fn child(&self, _: usize) {}

    fn cost_of_child(&self) -> usize {
        1
    }
}

impl Recorded for Location {
    fn child(&self, at: usize) -> Self {
        let mut child = Self::with_capacity(self.len() + 1);
        child.extend_from_slice(self);
        child.push(at);
        child
    }

    fn cost_of_child(&self) -> usize {
        LOCATION + self.len().div_ceil(LEVELS_STORED)
    }
}

/// One application of a path.
pub(super) struct Traversal<'d> {
    pub(super) root: &'d Node,
    limit: usize,
    left: usize,
}

impl<'d> Traversal<'d> {
    /// Counts `visits`.
    pub(super) fn visit(&mut self, visits: usize) -> Result<(), TooManyVisits> {
        self.left = self.left.checked_sub(visits).ok_or(TooManyVisits { limit: self.limit })?;
        Ok(())
    }

    /// The first value that `segments` select, starting at `from`.
    pub(super) fn first(&mut self, from: &'d Node, segments: &'d [Segment]) -> Result<Option<&'d Node>, TooManyVisits> {
        Ok(self.follow((from, ()), segments)?.first().map(|(node, ())| *node))
    }

    fn follow<T: Recorded>(
        &mut self,
        from: (&'d Node, T),
        segments: &'d [Segment],
    ) -> Result<Vec<(&'d Node, T)>, TooManyVisits> {
        let mut current = vec![from];
        for segment in segments {
            let mut next = Vec::new();
            for (node, location) in current {
                self.apply(segment, node, &location, &mut next)?;
            }
            current = next;
        }
        Ok(current)
    }

    /// Applies a segment to a value, and then to every value below it if the segment descends.
    fn apply<T: Recorded>(
        &mut self,
        segment: &'d Segment,
        node: &'d Node,
        location: &T,
        out: &mut Vec<(&'d Node, T)>,
    ) -> Result<(), TooManyVisits> {
        self.visit(1)?;
        let cost = location.cost_of_child();
        let mut take = |at: usize| {
            if let Some(child) = node.child(at) {
                out.push((child, location.child(at)));
            }
        };
        match (&segment.selector, node) {
            (Selector::All, _) => {
                let count = node.child_count();
                self.visit(count * cost)?;
                (0..count).for_each(take);
            }
            (Selector::Names(names), Node::Object(members)) => {
                self.visit(names.len() * (cost + members.len() / NAMES_COMPARED))?;
                names.iter().filter_map(|name| node.position_of(name)).for_each(take);
            }
            (Selector::Indexes(indexes), Node::Array(items)) => {
                self.visit(indexes.len() * cost)?;
                indexes.iter().map(|index| nearest(*index, items.len())).for_each(take);
            }
            (Selector::Slice { start, end, step }, Node::Array(items)) => {
                let from = start.map_or(0, |start| nearest(start, items.len()).min(items.len()));
                let to = end.map_or(items.len(), |end| nearest(end, items.len()).min(items.len()));
                let positions = (from..to).step_by(*step);
                self.visit(positions.len() * cost)?;
                positions.for_each(take);
            }
            (Selector::Filter(condition), _) => {
                for (at, child) in children(node) {
                    self.visit(cost)?;
                    if condition.holds(child, self)? {
                        take(at);
                    }
                }
            }
            (Selector::Names(_) | Selector::Indexes(_) | Selector::Slice { .. }, _) => {}
        }
        if segment.descends {
            for (at, child) in children(node).filter(|(_, child)| matches!(child, Node::Array(_) | Node::Object(_))) {
                self.visit(cost)?;
                self.apply(segment, child, &location.child(at), out)?;
            }
        }
        Ok(())
    }
}

/// The items of an array or the values of an object's members, by position.
fn children(node: &Node) -> impl Iterator<Item = (usize, &Node)> {
    (0..node.child_count()).filter_map(|at| Some((at, node.child(at)?)))
}
