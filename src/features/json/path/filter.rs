//! The conditions of filters.
//!
//! Values of different types are never equal or ordered: only `!=` holds between them, and between any value and a path
//! that selects nothing. A path that selects several values yields the first one. A literal by itself is true, even
//! `false`. `=~` searches a string for a regular expression; an invalid expression matches nothing.

use std::cmp::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use regex::{Regex, RegexBuilder};

use super::super::document::{Node, compare};
use super::Segment;
use super::select::{TooManyVisits, Traversal};

/// The memory that a compiled expression may take, bytes: enough for several Unicode classes. An expression that needs
/// more is not valid.
const REGEX_SIZE: usize = 256 << 10;
/// The memory of its search, bytes.
const SEARCH_SIZE: usize = 1 << 20;
/// The cost of compiling an expression, in visits: about 0.5 ms.
const REGEX_COMPILING: usize = 25_000;
/// The bytes of text that can be compared, or searched, in the time of one visit.
const BYTES_COMPARED: usize = 256;
const BYTES_SEARCHED: usize = 16;

#[derive(Clone, Debug)]
pub(super) enum Condition {
    Any(Vec<Condition>),
    All(Vec<Condition>),
    Exists(Operand),
    Compares(Operand, Comparison, Operand),
    /// Searches the first value for the expression in the second one.
    Matches(Operand, Operand, Compiled),
}

/// The expression that a condition compiled last: most conditions have only one.
#[derive(Clone, Debug, Default)]
pub(super) struct Compiled(Arc<Mutex<Option<Expression>>>);

/// An expression and its compiled form; `None` if it is invalid.
type Expression = (String, Option<Regex>);

impl Compiled {
    /// Searches `subject` for the expression `text`. Compiling it costs visits.
    fn is_match(&self, text: &str, subject: &str, traversal: &mut Traversal<'_>) -> Result<bool, TooManyVisits> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if last.as_ref().is_none_or(|(known, _)| known != text) {
            traversal.visit(REGEX_COMPILING + text.len())?;
            *last = Some((text.to_owned(), compile(text)));
        }
        Ok(last.as_ref().and_then(|(_, regex)| regex.as_ref()).is_some_and(|regex| regex.is_match(subject)))
    }
}

/// Accepts the order of two values; `None` if they have no order.
pub(super) type Comparison = fn(Option<Ordering>) -> bool;

#[derive(Clone, Debug)]
pub(super) enum Operand {
    Literal(Node),
    /// A path that starts at the tested value.
    Current(Vec<Segment>),
    /// A path that starts at the document's root.
    Root(Vec<Segment>),
}

fn compile(text: &str) -> Option<Regex> {
    RegexBuilder::new(text).size_limit(REGEX_SIZE).dfa_size_limit(SEARCH_SIZE).build().ok()
}

impl Condition {
    /// Whether the condition holds for `current`.
    pub(super) fn holds<'d>(&'d self, current: &'d Node, traversal: &mut Traversal<'d>) -> Result<bool, TooManyVisits> {
        match self {
            Self::Any(conditions) | Self::All(conditions) => {
                let decisive = matches!(self, Self::Any(_));
                for condition in conditions {
                    if condition.holds(current, traversal)? == decisive {
                        return Ok(decisive);
                    }
                }
                Ok(!decisive)
            }
            Self::Exists(operand) => Ok(operand.value(current, traversal)?.is_some()),
            Self::Compares(left, accepts, right) => {
                let (left, right) = (left.value(current, traversal)?, right.value(current, traversal)?);
                Ok(accepts(order(left, right, traversal)?))
            }
            Self::Matches(subject, pattern, compiled) => {
                let Some(Node::String(subject)) = subject.value(current, traversal)? else { return Ok(false) };
                traversal.visit(subject.len() / BYTES_SEARCHED)?;
                let Some(Node::String(text)) = pattern.value(current, traversal)? else { return Ok(false) };
                compiled.is_match(text, subject, traversal)
            }
        }
    }
}

impl Operand {
    fn value<'d>(
        &'d self,
        current: &'d Node,
        traversal: &mut Traversal<'d>,
    ) -> Result<Option<&'d Node>, TooManyVisits> {
        match self {
            Self::Literal(node) => Ok(Some(node)),
            Self::Current(segments) => traversal.first(current, segments),
            Self::Root(segments) => traversal.first(traversal.root, segments),
        }
    }
}

/// The order of two values; `None` if one does not exist or they cannot be ordered.
fn order(
    left: Option<&Node>,
    right: Option<&Node>,
    traversal: &mut Traversal<'_>,
) -> Result<Option<Ordering>, TooManyVisits> {
    let (Some(left), Some(right)) = (left, right) else { return Ok(None) };
    Ok(match (left, right) {
        (Node::Number(left), Node::Number(right)) => Some(compare(left, right)),
        (Node::String(left), Node::String(right)) => {
            traversal.visit(left.len().min(right.len()) / BYTES_COMPARED)?;
            Some(left.cmp(right))
        }
        (Node::Bool(left), Node::Bool(right)) => Some(left.cmp(right)),
        (Node::Null, Node::Null) => Some(Ordering::Equal),
        // Arrays and objects can be equal, but have no order.
        (Node::Array(_), Node::Array(_)) | (Node::Object(_), Node::Object(_))
            if left.child_count() == right.child_count() =>
        {
            traversal.visit(weight(left))?;
            (left == right).then_some(Ordering::Equal)
        }
        _ => None,
    })
}

/// The cost of comparing a value with an equal one, in visits.
fn weight(node: &Node) -> usize {
    match node {
        Node::Array(items) => items.iter().map(weight).sum::<usize>() + 1,
        Node::Object(members) => members.iter().map(|(_, value)| weight(value) + 1).sum::<usize>() + 1,
        Node::String(text) => text.len() / BYTES_COMPARED + 1,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::work::WorkBudget;
    use super::super::{Path, TooManyVisits};
    use super::*;

    const DOCUMENT: &str = r#"{"all":[{"v":3},{"v":"3"},{"v":true},{"v":null},{"v":[3]},{"v":3.0},{"w":1},"x"],
                               "limit":2,"pattern":"^[0-9]$"}"#;

    fn held(condition: &str, visits: usize) -> Result<String, TooManyVisits> {
        let path = Path::parse(&format!("$.all[?{condition}]")).expect(condition);
        let document = Node::parse(DOCUMENT.as_bytes()).expect("JSON");
        let found = path.select(&document, &WorkBudget::new(visits, usize::MAX))?;
        Ok(Node::Array(found.into_iter().cloned().collect()).to_text())
    }

    #[test]
    fn values_compare_only_with_values_of_their_type() {
        for (condition, found) in [
            ("(@.v==3)", r#"[{"v":3},{"v":3.0}]"#),
            ("@.v==3", r#"[{"v":3},{"v":3.0}]"#),
            ("(3 == @.v)", r#"[{"v":3},{"v":3.0}]"#),
            ("(@.v!=3)", r#"[{"v":"3"},{"v":true},{"v":null},{"v":[3]},{"w":1},"x"]"#),
            ("(@.v>$.limit)", r#"[{"v":3},{"v":3.0}]"#),
            ("(@.v>=null)", r#"[{"v":null}]"#),
            ("(@.v<true)", "[]"),
            ("(@.v==@.v)", r#"[{"v":3},{"v":"3"},{"v":true},{"v":null},{"v":[3]},{"v":3.0}]"#),
            ("(@.v!=@.v)", r#"[{"w":1},"x"]"#),
            ("(@.v==@.w)", "[]"),
            ("(@.v)", r#"[{"v":3},{"v":"3"},{"v":true},{"v":null},{"v":[3]},{"v":3.0}]"#),
            ("(@=='x')", r#"["x"]"#),
            ("(@.v[0])", r#"[{"v":[3]}]"#),
            ("(@.*)", r#"[{"v":3},{"v":"3"},{"v":true},{"v":null},{"v":[3]},{"v":3.0},{"w":1}]"#),
        ] {
            assert_eq!(held(condition, 1_000).as_deref(), Ok(found), "{condition}");
        }
    }

    #[test]
    fn conditions_combine_and_patterns_search() {
        for (condition, found) in [
            ("(@.v==3 && @.v==true || @.v==null)", r#"[{"v":null}]"#),
            ("(@.v==null || @.v==true && @.v==3)", r#"[{"v":null}]"#),
            ("((@.v==null || @.v==true) && @.v==3)", "[]"),
            ("(@.v=~'^3$')", r#"[{"v":"3"}]"#),
            ("(@=~'(?i)X')", r#"["x"]"#),
            ("(@.v=~$.pattern)", r#"[{"v":"3"}]"#),
            ("(@.v=~'[')", "[]"),
            ("(@.v=~5)", "[]"),
        ] {
            assert_eq!(held(condition, 60_000).as_deref(), Ok(found), "{condition}");
        }
        assert!(
            held("(@.v=~'^3$')", 20_000).is_err(),
            "compiling costs visits, even if the path contains the expression"
        );
        assert!(held("(false)", 100).is_ok_and(|found| found.len() > 50), "a literal by itself is true");
        assert!(held("(@.v=~$.pattern)", 1_000).is_err(), "compiling costs visits");
    }
}
