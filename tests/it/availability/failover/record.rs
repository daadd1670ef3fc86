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

/// An increment that was repeated until it was made.
#[derive(Clone, Debug)]
pub struct Increment {
    /// Its idempotency key.
    pub key: String,
    /// The counter afterwards, as the response says.
    pub value: u64,
}

#[derive(Debug, Default)]
pub struct Record {
    pub writes: Vec<Write>,
    pub leases: Vec<Lease>,
    pub increments: Vec<Increment>,
    /// The number of responses with each status.
    pub statuses: BTreeMap<u16, u64>,
    /// The last request for each problem.
    pub last: BTreeMap<String, String>,
    /// The first and the last response since the fault that was an outage: 503 other than `replication-unmet`, or 504.
    pub outage: Option<(Instant, Instant)>,
}

impl Record {
    /// Counts a response; `described` describes it and its request.
    pub fn count(&mut self, status: u16, code: &str, described: impl FnOnce() -> String) {
        *self.statuses.entry(status).or_default() += 1;
        if !code.is_empty() {
            self.last.insert(code.to_owned(), described());
        }
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

/// The writes about which callers were told the contrary of what a read has found. `exists` tells it for each write.
pub fn contradictions(writes: &[Write], exists: &[bool], told: Told) -> Vec<String> {
    let wrong = |(write, exists): &(&Write, &bool)| match write.told {
        _ if write.told != told => false,
        Told::Made => write.is_durable && !**exists,
        Told::NotMade => **exists,
        Told::Unknown => false,
    };
    writes.iter().zip(exists).filter(wrong).map(|(write, exists)| format!("{write:?}: exists is {exists}")).collect()
}

/// What the responses say about a counter that went from one value to another.
#[derive(Debug, Default)]
pub struct Count {
    /// Values that no request was told, although something made them.
    pub doubled: Vec<String>,
    /// Requests that share a value, or whose value the counter has not reached.
    pub lost: Vec<String>,
}

impl Count {
    pub fn of(increments: &[Increment], from: u64, to: u64) -> Self {
        let mut told: BTreeMap<u64, Vec<&str>> = (from + 1..=to).map(|value| (value, Vec::new())).collect();
        for increment in increments {
            told.entry(increment.value).or_default().push(&increment.key);
        }
        let mut count = Self::default();
        for (value, keys) in told {
            match keys.len() {
                0 => count.doubled.push(format!("no request was told that it made the counter {value}")),
                1 if (from + 1..=to).contains(&value) => {}
                _ => count.lost.push(format!("{keys:?} made the counter {value}, which is {to}")),
            }
        }
        count
    }
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
        let wrong = |exists: [bool; 4]| {
            [Told::Made, Told::NotMade, Told::Unknown].map(|told| contradictions(&writes, &exists, told).len())
        };
        assert_eq!(wrong([true, true, false, true]), [0, 0, 0]);
        assert_eq!(wrong([true, false, false, false]), [0, 0, 0], "no replica was demanded");
        assert_eq!(wrong([false, false, false, false]), [1, 0, 0], "a lost write");
        assert_eq!(wrong([true, true, true, true]), [0, 1, 0], "a write that was denied");
    }

    #[test]
    fn doubled_and_lost_increments_are_found() {
        let wrong = |values: &[u64]| {
            let increments: Vec<_> =
                values.iter().map(|&value| Increment { key: format!("k{value}"), value }).collect();
            let count = Count::of(&increments, 10, 13);
            [count.doubled.len(), count.lost.len()]
        };
        assert_eq!(wrong(&[13, 11, 12]), [0, 0]);
        assert_eq!(wrong(&[11, 13]), [1, 0], "one request made 12 and 13");
        assert_eq!(wrong(&[11, 12, 13, 14]), [0, 1], "the counter has gone back");
        assert_eq!(wrong(&[11, 12, 12, 13]), [0, 1], "it went back before it rose again");
    }
}
