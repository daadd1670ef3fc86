//! Judges a recorded history: all times are microseconds since the run began, on one monotonic clock.

use std::collections::{BTreeMap, HashSet};

/// A grant as its client saw it.
#[derive(Clone, Debug)]
pub struct Grant {
    pub client: usize,
    pub name: String,
    /// When the request left.
    pub sent: u64,
    /// When its answer was there: from now on the client relies on the lock ...
    pub received: u64,
    /// ... until its validity ends, or it has sent the release.
    pub relied_until: u64,
    pub fence: u64,
}

/// A write to what the lock protects, in the order in which the target took them.
#[derive(Clone, Debug)]
pub struct Write {
    pub name: String,
    pub fence: u64,
    pub accepted: bool,
}

#[derive(Clone, Debug, Default)]
pub struct History {
    pub grants: Vec<Grant>,
    pub writes: Vec<Write>,
}

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// Two clients relied on one lock at once.
    Overlap { name: String, clients: (usize, usize), by_us: u64 },
    /// A grant that was asked for after another was answered has no higher token.
    Inversion { name: String, earlier: u64, later: u64 },
    /// The target accepted a write after one with a higher token.
    StaleWrite { name: String, highest: u64, accepted: u64 },
}

/// Every violation in a history.
pub fn check(history: &History) -> Vec<Violation> {
    let mut by_name: BTreeMap<&str, Vec<&Grant>> = BTreeMap::new();
    for grant in &history.grants {
        by_name.entry(&grant.name).or_default().push(grant);
    }
    let mut violations = Vec::new();
    for (name, grants) in by_name {
        overlaps(name, &grants, &mut violations);
        inversions(name, &grants, &mut violations);
    }
    stale_writes(&history.writes, &mut violations);
    violations
}

fn overlaps(name: &str, grants: &[&Grant], violations: &mut Vec<Violation>) {
    let mut relied: Vec<&Grant> = grants.iter().copied().filter(|grant| grant.received < grant.relied_until).collect();
    relied.sort_by_key(|grant| grant.received);
    let mut last: Option<&Grant> = None;
    for grant in relied {
        if let Some(last) = last.filter(|last| grant.received < last.relied_until) {
            violations.push(Violation::Overlap {
                name: name.to_owned(),
                clients: (last.client, grant.client),
                by_us: last.relied_until.min(grant.relied_until) - grant.received,
            });
        }
        if last.is_none_or(|last| last.relied_until < grant.relied_until) {
            last = Some(grant);
        }
    }
}

fn inversions(name: &str, grants: &[&Grant], violations: &mut Vec<Violation>) {
    let (mut answered, mut asked) = (grants.to_vec(), grants.to_vec());
    answered.sort_by_key(|grant| grant.received);
    asked.sort_by_key(|grant| grant.sent);
    let mut answered = answered.into_iter().peekable();
    let mut highest = 0;
    let mut seen = HashSet::new();
    for grant in asked {
        while let Some(before) = answered.next_if(|before| before.received < grant.sent) {
            highest = highest.max(before.fence);
        }
        if grant.fence <= highest || !seen.insert(grant.fence) {
            violations.push(Violation::Inversion { name: name.to_owned(), earlier: highest, later: grant.fence });
        }
    }
}

fn stale_writes(writes: &[Write], violations: &mut Vec<Violation>) {
    let mut highest: BTreeMap<&str, u64> = BTreeMap::new();
    for write in writes.iter().filter(|write| write.accepted) {
        let known = highest.entry(&write.name).or_default();
        if write.fence < *known {
            violations.push(Violation::StaleWrite { name: write.name.clone(), highest: *known, accepted: write.fence });
        }
        *known = write.fence.max(*known);
    }
}
