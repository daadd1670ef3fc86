//! A user's activity log: `{"activities": [oldest, .., newest], "dropped": n}`.
//!
//! The log keeps entries in the order of their arrival, as other services append them. `dropped` counts the entries
//! that the limit removed, so every entry has a number that does not change; pages continue from such a number.

use super::set::merge;
use super::{ChangeReply, Changed, SizeLimit};
use crate::features::json::document::{Node, Number, text_length};
use crate::features::json::error::JsonError;

const ENTRIES: &str = "activities";
const DROPPED: &str = "dropped";

/// A log without entries.
pub(in super::super) fn empty() -> Node {
    Node::Object(vec![(ENTRIES.into(), Node::Array(Vec::new()))])
}

/// Adds an entry and drops the oldest entries beyond `max_entries`. The reply is the number of entries.
pub(super) fn record(
    mut document: Node,
    entry: &Node,
    max_entries: usize,
    limit: SizeLimit,
) -> Result<Changed, JsonError> {
    limit.check_added(1, text_length(entry))?;
    let Some(Node::Array(entries)) = document.member_mut(ENTRIES) else { return Err(not_a_log(&document)) };
    entries.push(entry.clone());
    let surplus = entries.len().saturating_sub(max_entries);
    entries.drain(..surplus);
    let count = entries.len();
    if surplus > 0 {
        let dropped = dropped(&document).saturating_add(surplus as u64);
        let counted = Node::Number(Number::integer(dropped.into()));
        merge(&mut document, &Node::Object(vec![(DROPPED.into(), counted)]));
    }
    Ok(Changed { document: Some(document), reply: ChangeReply::Count(count), is_different: true })
}

/// The newest entries before the entry with the number `before`, newest first and at most `limit`, and the `before` of
/// the next page; `None` on the last page.
pub(in super::super) fn page(
    document: &Node,
    before: Option<u64>,
    limit: usize,
) -> Result<(Vec<Node>, Option<u64>), JsonError> {
    let Some(Node::Array(entries)) = document.member(ENTRIES) else { return Err(not_a_log(document)) };
    let first = dropped(document);
    let end = before.map_or(entries.len(), |number| {
        usize::try_from(number.saturating_sub(first)).unwrap_or(usize::MAX).min(entries.len())
    });
    let start = end.saturating_sub(limit);
    let shown = entries.get(start..end).unwrap_or_default().iter().rev().cloned().collect();
    Ok((shown, (start > 0).then(|| first.saturating_add(start as u64))))
}

fn dropped(document: &Node) -> u64 {
    match document.member(DROPPED) {
        Some(Node::Number(number)) => number.as_integer().and_then(|number| u64::try_from(number).ok()).unwrap_or(0),
        _ => 0,
    }
}

fn not_a_log(document: &Node) -> JsonError {
    let (path, expected, found) = match document.member(ENTRIES) {
        Some(other) => ("$.activities", "an array", other),
        None => ("$", "an activity log", document),
    };
    JsonError::WrongType { path: path.to_owned(), expected, found: found.type_name() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: SizeLimit = SizeLimit(1_000);

    fn recorded(log: Node, entry: usize, limit: usize) -> Node {
        let changed = record(log, &Node::count(entry), limit, LIMIT).expect("recorded");
        changed.document.expect("a log")
    }

    #[test]
    fn pages_continue_while_entries_are_added_and_dropped() {
        let mut log = (0..5).fold(empty(), |log, entry| recorded(log, entry, 4));
        assert_eq!(log.to_text(), r#"{"activities":[1,2,3,4],"dropped":1}"#);
        let first = page(&log, None, 2).expect("a page");
        assert_eq!(first, (vec![Node::count(4), Node::count(3)], Some(3)));
        log = recorded(log, 5, 4);
        assert_eq!(page(&log, first.1, 2).expect("a page"), (vec![Node::count(2)], None));
        assert_eq!(page(&log, Some(0), 2).expect("a page").0, []);
    }

    #[test]
    fn a_value_that_is_not_a_log_is_named() {
        for (document, path) in [("[]", "$"), ("{}", "$"), (r#"{"activities":5}"#, "$.activities")] {
            let node = Node::parse(document.as_bytes()).expect("JSON");
            let error = page(&node, None, 1).expect_err(document);
            assert!(matches!(&error, JsonError::WrongType { path: found, .. } if found == path), "{error}");
            assert!(record(node, &Node::Null, 1, LIMIT).is_err());
        }
    }
}
