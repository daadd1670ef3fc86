//! The slow commands that this replica has seen. Redis itself keeps 128 by default, and none after a restart.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use super::model::SlowCommand;
use crate::clock::UnixMillis;

/// The most slow commands of a server that are kept.
const KEPT: usize = 256;

/// When the command ran, at which node, and its number, which a restart of Redis begins again.
type EntryPlace = (UnixMillis, Option<String>, i64);

/// The newest slow commands of each server, by its roles.
#[derive(Debug, Default)]
pub(super) struct SlowLog(Mutex<HashMap<String, BTreeMap<EntryPlace, SlowCommand>>>);

impl SlowLog {
    /// Keeps what a server has answered. Returns how many are new.
    pub(super) fn keep(&self, store: &str, answered: Vec<SlowCommand>) -> usize {
        let mut servers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = servers.entry(store.to_owned()).or_default();
        let mut new = 0;
        for command in answered {
            let place = (command.at, command.node.clone(), command.id);
            new += usize::from(kept.insert(place, command).is_none());
        }
        while kept.len() > KEPT {
            kept.pop_first();
        }
        new
    }

    /// The slow commands of a server, newest first.
    pub(super) fn list(&self, store: &str) -> Vec<SlowCommand> {
        let servers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        servers.get(store).into_iter().flat_map(|kept| kept.values().rev().cloned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(at: UnixMillis, id: i64) -> SlowCommand {
        let (command, client) = ("GET".to_owned(), String::new());
        SlowCommand { node: None, id, at, duration_us: 1, command, script: None, holding: "cache", client }
    }

    #[test]
    fn the_newest_are_kept_once_even_if_a_restart_begins_the_numbers_again() {
        let log = SlowLog::default();
        assert_eq!(log.keep("state", (0..128).map(|id| command(1_000, id)).collect()), 128);
        assert_eq!(log.keep("state", (100..200).map(|id| command(1_000, id)).collect()), 72);
        assert_eq!(log.keep("state", (0..100).map(|id| command(2_000, id)).collect()), 100);
        let places: Vec<_> = log.list("state").iter().map(|entry| (entry.at, entry.id)).collect();
        assert_eq!((places.len(), places.first(), places.last()), (KEPT, Some(&(2_000, 99)), Some(&(1_000, 44))));
        assert!(log.list("cache").is_empty());
    }
}
