//! A user's activity log: `{"activities": [oldest, .., newest], "dropped": n}`.
//!
//! Entries are kept in the order in which they came, as other services append them; `dropped` counts those that the
//! bound pushed out, so that every entry has a number of its own, by which pages continue.

use super::{Answer, Bounds, ChangeError, Changed};
use crate::features::json::document::{Node, Number, text_length};

const ENTRIES: &str = "activities";
const DROPPED: &str = "dropped";

/// Entries of a log, newest first.
#[derive(Debug)]
pub(in super::super) struct LogPage<'d> {
    pub entries: Vec<&'d Node>,
    /// The number before which the next page begins; `None` at the end.
    pub next: Option<u64>,
}

/// A log without entries.
pub(in super::super) fn empty() -> Node {
    Node::Object(vec![(ENTRIES.into(), Node::Array(Vec::new()))])
}

/// Adds an entry and drops the oldest ones beyond `limit`; the answer is the number of entries.
pub(super) fn record(mut document: Node, entry: &Node, limit: usize, bounds: Bounds) -> Result<Changed, ChangeError> {
    bounds.allow(1, text_length(entry))?;
    let found = document.type_name();
    let entries = match document.member_mut(ENTRIES) {
        Some(Node::Array(entries)) => entries,
        Some(other) => return Err(no_log("$.activities", "an array", other.type_name())),
        None => return Err(no_log("$", "an activity log", found)),
    };
    entries.push(entry.clone());
    let surplus = entries.len().saturating_sub(limit);
    entries.drain(..surplus);
    let count = entries.len();
    if surplus > 0 {
        let dropped = dropped(&document).saturating_add(surplus as u64);
        let counted = Node::Number(Number::integer(dropped.into()));
        match document.position_of(DROPPED).and_then(|at| document.child_mut(at)) {
            Some(member) => *member = counted,
            None => {
                if let Node::Object(members) = &mut document {
                    members.push((DROPPED.into(), counted));
                }
            }
        }
    }
    Ok(Changed { document: Some(document), answer: Answer::Count(count), is_different: true })
}

/// The newest entries, at most `limit`, before the one with the number `before`.
pub(in super::super) fn page(document: &Node, before: Option<u64>, limit: usize) -> Result<LogPage<'_>, ChangeError> {
    let entries = match document.member(ENTRIES) {
        Some(Node::Array(entries)) => entries,
        Some(other) => return Err(no_log("$.activities", "an array", other.type_name())),
        None => return Err(no_log("$", "an activity log", document.type_name())),
    };
    let first = dropped(document);
    let end = before.map_or(entries.len(), |number| {
        usize::try_from(number.saturating_sub(first)).unwrap_or(usize::MAX).min(entries.len())
    });
    let start = end.saturating_sub(limit);
    let shown = entries.get(start..end).unwrap_or_default().iter().rev().collect();
    Ok(LogPage { entries: shown, next: (start > 0).then(|| first.saturating_add(start as u64)) })
}

fn dropped(document: &Node) -> u64 {
    match document.member(DROPPED) {
        Some(Node::Number(number)) => number.as_integer().and_then(|number| u64::try_from(number).ok()).unwrap_or(0),
        _ => 0,
    }
}

fn no_log(path: &str, expected: &'static str, found: &'static str) -> ChangeError {
    ChangeError::WrongType { path: path.to_owned(), expected, found }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { document: 1_000, visits: 1_000 };

    fn recorded(log: Node, entry: usize, limit: usize) -> Node {
        let changed = record(log, &Node::count(entry), limit, BOUNDS).expect("recorded");
        changed.document.expect("a log")
    }

    #[test]
    fn pages_go_on_where_they_stopped_although_entries_come_and_go() {
        let mut log = (0..5).fold(empty(), |log, entry| recorded(log, entry, 4));
        assert_eq!(log.to_text(), r#"{"activities":[1,2,3,4],"dropped":1}"#);
        let texts = |page: &LogPage<'_>| page.entries.iter().map(|entry| entry.to_text()).collect::<Vec<_>>();
        let first = page(&log, None, 2).expect("a page");
        assert_eq!((texts(&first), first.next), (vec!["4".to_owned(), "3".to_owned()], Some(3)));
        let next = first.next;
        log = recorded(log, 5, 4);
        let second = page(&log, next, 2).expect("a page");
        assert_eq!((texts(&second), second.next), (vec!["2".to_owned()], None));
        assert_eq!(page(&log, Some(0), 2).expect("a page").entries.len(), 0);
    }

    #[test]
    fn what_is_no_log_is_named() {
        for (document, path) in [("[]", "$"), ("{}", "$"), (r#"{"activities":5}"#, "$.activities")] {
            let node = Node::parse(document.as_bytes()).expect("JSON");
            let error = page(&node, None, 1).expect_err(document);
            assert!(matches!(&error, ChangeError::WrongType { path: found, .. } if found == path), "{error}");
            assert!(record(node, &Node::Null, 1, BOUNDS).is_err());
        }
    }
}
