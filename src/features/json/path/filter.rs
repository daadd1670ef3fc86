//! Conditions of filters.
//!
//! Values of different types never compare, so that of two such values only `!=` holds; the same goes for a path that
//! selects nothing. A path that selects several values stands for the first. A literal by itself is true, whatever it
//! says. `=~` looks for a regular expression anywhere in a text; one that cannot be read matches nothing.

use std::cmp::Ordering;

use regex::{Regex, RegexBuilder};

use super::super::document::{Node, compare};
use super::Segment;
use super::select::{TooManyVisits, Walk};

/// Memory that a compiled expression may take, bytes: enough for any that fits into a path.
const REGEX_SIZE: usize = 1 << 20;
/// What compiling an expression costs, in visits of values.
const REGEX_COMPILING: usize = 2_000;
/// Bytes of text that are compared, or searched, in the time of one visit.
const BYTES_COMPARED: usize = 256;
const BYTES_SEARCHED: usize = 16;

#[derive(Clone, Debug)]
pub(super) enum Condition {
    Any(Vec<Condition>),
    All(Vec<Condition>),
    Exists(Operand),
    Compares(Operand, Comparison, Operand),
    Matches(Operand, Pattern),
}

#[derive(Clone, Debug)]
pub(super) enum Operand {
    Literal(Node),
    /// Below the value that is tested.
    Current(Vec<Segment>),
    /// Below the document's root.
    Root(Vec<Segment>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Below,
    AtMost,
    Above,
    AtLeast,
}

#[derive(Clone, Debug)]
pub(super) enum Pattern {
    /// Written in the path; `None` when it cannot be read.
    Fixed(Option<Regex>),
    /// Stands in the document.
    Found(Operand),
}

impl Pattern {
    pub(super) fn of(operand: Operand) -> Self {
        match operand {
            Operand::Literal(Node::String(text)) => Self::Fixed(compile(&text)),
            Operand::Literal(_) => Self::Fixed(None),
            path => Self::Found(path),
        }
    }
}

fn compile(text: &str) -> Option<Regex> {
    RegexBuilder::new(text).size_limit(REGEX_SIZE).dfa_size_limit(REGEX_SIZE).build().ok()
}

impl Condition {
    /// Whether it holds for `current`.
    pub(super) fn holds<'d>(&'d self, current: &'d Node, walk: &mut Walk<'d>) -> Result<bool, TooManyVisits> {
        match self {
            Self::Any(conditions) => {
                for condition in conditions {
                    if condition.holds(current, walk)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Self::All(conditions) => {
                for condition in conditions {
                    if !condition.holds(current, walk)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Self::Exists(operand) => Ok(operand.value(current, walk)?.is_some()),
            Self::Compares(left, comparison, right) => {
                let (left, right) = (left.value(current, walk)?, right.value(current, walk)?);
                comparison.holds(left, right, walk)
            }
            Self::Matches(subject, pattern) => {
                let Some(Node::String(subject)) = subject.value(current, walk)? else { return Ok(false) };
                walk.visit(subject.len() / BYTES_SEARCHED)?;
                match pattern {
                    Pattern::Fixed(regex) => Ok(regex.as_ref().is_some_and(|regex| regex.is_match(subject))),
                    Pattern::Found(operand) => {
                        let Some(Node::String(text)) = operand.value(current, walk)? else { return Ok(false) };
                        walk.visit(REGEX_COMPILING + text.len())?;
                        Ok(compile(text).is_some_and(|regex| regex.is_match(subject)))
                    }
                }
            }
        }
    }
}

impl Operand {
    fn value<'d>(&'d self, current: &'d Node, walk: &mut Walk<'d>) -> Result<Option<&'d Node>, TooManyVisits> {
        match self {
            Self::Literal(node) => Ok(Some(node)),
            Self::Current(segments) => walk.first(current, segments),
            Self::Root(segments) => walk.first(walk.root(), segments),
        }
    }
}

impl Comparison {
    fn holds(self, left: Option<&Node>, right: Option<&Node>, walk: &mut Walk<'_>) -> Result<bool, TooManyVisits> {
        let (Some(left), Some(right)) = (left, right) else { return Ok(self == Self::NotEqual) };
        let order = match (left, right) {
            (Node::Number(left), Node::Number(right)) => Some(compare(left, right)),
            (Node::String(left), Node::String(right)) => {
                walk.visit(left.len().min(right.len()) / BYTES_COMPARED)?;
                Some(left.cmp(right))
            }
            (Node::Bool(left), Node::Bool(right)) => Some(left.cmp(right)),
            (Node::Null, Node::Null) => Some(Ordering::Equal),
            (Node::Array(one), Node::Array(two)) if one.len() == two.len() => equal_or_none(left, right, walk)?,
            (Node::Object(one), Node::Object(two)) if one.len() == two.len() => equal_or_none(left, right, walk)?,
            _ => None,
        };
        Ok(match self {
            Self::Equal => order == Some(Ordering::Equal),
            Self::NotEqual => order != Some(Ordering::Equal),
            Self::Below => order == Some(Ordering::Less),
            Self::AtMost => order.is_some_and(Ordering::is_le),
            Self::Above => order == Some(Ordering::Greater),
            Self::AtLeast => order.is_some_and(Ordering::is_ge),
        })
    }
}

/// Arrays and objects have no order, but may be equal.
fn equal_or_none(left: &Node, right: &Node, walk: &mut Walk<'_>) -> Result<Option<Ordering>, TooManyVisits> {
    walk.visit(weight(left))?;
    Ok((left == right).then_some(Ordering::Equal))
}

/// What comparing a value with an equal one costs, in visits.
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
    use super::super::{Path, TooManyVisits};
    use super::*;

    const DOCUMENT: &str = r#"{"all":[{"v":3},{"v":"3"},{"v":true},{"v":null},{"v":[3]},{"v":3.0},{"w":1},"x"],
                               "limit":2,"pattern":"^[0-9]$"}"#;

    fn held(condition: &str, visits: usize) -> Result<String, TooManyVisits> {
        let path = Path::parse(&format!("$.all[?{condition}]"), 256).expect(condition);
        let document = Node::parse(DOCUMENT.as_bytes()).expect("JSON");
        let found = path.select(&document, visits)?;
        Ok(Node::Array(found.into_iter().cloned().collect()).to_text())
    }

    #[test]
    fn values_compare_with_their_own_kind_only() {
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
            assert_eq!(held(condition, 10_000).as_deref(), Ok(found), "{condition}");
        }
        assert!(held("(false)", 100).is_ok_and(|found| found.len() > 50), "a literal by itself is true");
        assert!(held("(@.v=~$.pattern)", 1_000).is_err(), "compiling costs visits");
    }
}
