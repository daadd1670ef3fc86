//! Requests that are counted by minute instead of recorded one by one: an attacker must not fill the log.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::model::{Entry, Phase};

/// The most different counts of a minute; further ones are counted together.
const MAX_COUNTS: usize = 1_000;

/// What the requests of one count have in common.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Counted {
    pub actor: String,
    pub action: String,
    pub outcome: &'static str,
    pub address: Option<String>,
}

#[derive(Debug, Default)]
pub(super) struct Counts(Mutex<BTreeMap<Counted, u64>>);

impl Counts {
    pub(super) fn add(&self, counted: Counted) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let counted = if counts.len() >= MAX_COUNTS && !counts.contains_key(&counted) {
            Counted { actor: "others".to_owned(), action: "others".to_owned(), address: None, ..counted }
        } else {
            counted
        };
        *counts.entry(counted).or_default() += 1;
    }

    /// An entry for each count since the last call.
    pub(super) fn take(&self) -> Vec<Entry> {
        let counts = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        let entry = |(Counted { actor, action, outcome, address }, count)| Entry {
            action,
            phase: Phase::Count,
            actor,
            outcome: Some(outcome.to_owned()),
            address,
            count: Some(count),
            ..Entry::default()
        };
        counts.into_iter().map(entry).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_different_requests_takes_bounded_memory_and_is_counted() {
        let counts = Counts::default();
        for n in 0..5_000 {
            let (actor, action) = (format!("key:{n}"), "GET /cache/{key}".to_owned());
            counts.add(Counted { actor, action, outcome: "forbidden", address: None });
        }
        let entries = counts.take();
        assert_eq!(entries.len(), MAX_COUNTS + 1);
        assert_eq!(entries.iter().filter_map(|entry| entry.count).sum::<u64>(), 5_000);
        assert_eq!(counts.take(), []);
    }
}
