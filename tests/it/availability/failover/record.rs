//! What callers were told while a master failed, and what contradicts it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// What a response says about a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// It was made, and a replica has it if the caller demanded that.
    Made,
    NotMade,
    /// It may have been made, or no replica has it.
    Unknown,
}

/// A write of something that did not exist before.
#[derive(Clone, Debug)]
pub struct Write {
    /// The path that reads it.
    pub path: String,
    pub is_durable: bool,
    pub told: Told,
}

/// A lease as its holder believes in it.
#[derive(Clone, Copy, Debug)]
pub struct Lease {
    pub token: u64,
    pub from: Instant,
    pub to: Instant,
}

#[derive(Debug, Default)]
pub struct Record {
    pub writes: Vec<Write>,
    pub leases: Vec<Lease>,
    /// Increments that were repeated until they were made.
    pub increments: u64,
    /// The number of responses with each status.
    pub statuses: BTreeMap<u16, u64>,
    /// The first and the last response since the fault that was an outage: 503 other than `replication-unmet`, or 504.
    pub outage: Option<(Instant, Instant)>,
}

impl Record {
    pub fn count(&mut self, status: u16, code: &str) {
        *self.statuses.entry(status).or_default() += 1;
        if status >= 500 && code != "replication-unmet" {
            let now = Instant::now();
            self.outage = Some((self.outage.map_or(now, |(first, _)| first), now));
        }
    }

    pub fn outage(&self) -> Duration {
        self.outage.map_or(Duration::ZERO, |(first, last)| last - first)
    }
}

/// Leases of which two were held at once, or whose tokens do not rise.
pub fn conflicts(leases: &[Lease]) -> Vec<String> {
    let mut sorted = leases.to_vec();
    sorted.sort_by_key(|lease| lease.from);
    let mut found = Vec::new();
    for pair in sorted.windows(2) {
        let [one, next] = pair else { continue };
        if next.from < one.to {
            found.push(format!("{next:?} began before {one:?} had ended"));
        }
        if next.token <= one.token {
            found.push(format!("the token of {next:?} is not above that of {one:?}"));
        }
    }
    found
}

/// What a read of the writes contradicts. `exists` tells for each write whether it was found.
pub fn contradictions(writes: &[Write], exists: &[bool]) -> Vec<String> {
    let wrong = |(write, exists): &(&Write, &bool)| match write.told {
        Told::Made => write.is_durable && !**exists,
        Told::NotMade => **exists,
        Told::Unknown => false,
    };
    writes.iter().zip(exists).filter(wrong).map(|(write, exists)| format!("{write:?}: exists is {exists}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(token: u64, from: u64, to: u64) -> Lease {
        let at = |ms| Instant::now() + Duration::from_secs(60) + Duration::from_millis(ms);
        Lease { token, from: at(from), to: at(to) }
    }

    #[test]
    fn two_holders_and_tokens_that_do_not_rise_are_found() {
        assert!(conflicts(&[lease(2, 200, 300), lease(1, 0, 100)]).is_empty());
        assert_eq!(conflicts(&[lease(1, 0, 250), lease(2, 200, 300)]).len(), 1, "two holders");
        assert_eq!(conflicts(&[lease(2, 0, 100), lease(2, 200, 300)]).len(), 1, "the same token");
        assert_eq!(conflicts(&[lease(2, 0, 250), lease(1, 200, 300)]).len(), 2);
    }

    #[test]
    fn lost_and_denied_writes_are_found() {
        let write = |told, is_durable| Write { path: String::new(), is_durable, told };
        let writes =
            [write(Told::Made, true), write(Told::Made, false), write(Told::NotMade, true), write(Told::Unknown, true)];
        assert!(contradictions(&writes, &[true, true, false, true]).is_empty());
        assert!(contradictions(&writes, &[true, false, false, false]).is_empty(), "no replica was demanded");
        assert_eq!(contradictions(&writes, &[false, false, false, false]).len(), 1, "a lost write");
        assert_eq!(contradictions(&writes, &[true, true, true, true]).len(), 1, "a write that was denied");
    }
}
