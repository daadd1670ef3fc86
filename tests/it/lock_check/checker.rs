//! Finds violations in a recorded history.

use std::collections::{BTreeMap, HashSet};

use super::history::{Exchange, Grant, History, Outcome, Write};

/// A violated guarantee.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// Two clients relied on one lock at the same time.
    Overlap { name: String, clients: (usize, usize), by_us: u64 },
    /// A grant that was requested after the response to another has no higher token, or two grants have the same token.
    Inversion { name: String, earlier: u64, later: u64 },
    /// The target accepted a write that was sent after it had accepted one with a higher token.
    StaleWrite { name: String, highest: u64, accepted: u64 },
    /// The target refused a write although no grant had a higher token.
    UnjustifiedRefusal { name: String, refused: u64 },
    /// The final value of the target is not the accepted write with the highest token, or a later one.
    LostWrite { name: String, highest: u64, kept: u64 },
}

/// Every violation in a history.
pub fn check(history: &History) -> Vec<Violation> {
    let mut by_name: BTreeMap<&str, (Vec<&Grant>, Vec<&Write>)> = BTreeMap::new();
    for grant in &history.grants {
        by_name.entry(&grant.exchange.name).or_default().0.push(grant);
    }
    for write in &history.writes {
        by_name.entry(&write.exchange.name).or_default().1.push(write);
    }
    let mut violations = Vec::new();
    for (name, (grants, writes)) in by_name {
        overlaps(name, &grants, &mut violations);
        inversions(name, &grants, &mut violations);
        stale_writes(name, &writes, &mut violations);
        unjustified_refusals(name, &grants, &writes, &mut violations);
        lost_writes(name, history, &writes, &mut violations);
    }
    violations
}

/// How many grants were requested while another client relied on the lock.
pub fn contended(history: &History) -> usize {
    let mut last_end: BTreeMap<&str, u64> = BTreeMap::new();
    let mut grants: Vec<&Grant> = history.grants.iter().collect();
    grants.sort_by_key(|grant| grant.exchange.received);
    let mut count = 0;
    for grant in grants {
        let end = last_end.entry(&grant.exchange.name).or_default();
        count += usize::from(grant.exchange.sent < *end);
        *end = grant.relied_until.max(*end);
    }
    count
}

fn overlaps(name: &str, grants: &[&Grant], violations: &mut Vec<Violation>) {
    let received = |grant: &Grant| grant.exchange.received;
    let mut relied: Vec<&Grant> = grants.iter().copied().filter(|grant| received(grant) < grant.relied_until).collect();
    relied.sort_by_key(|grant| received(grant));
    let mut last: Option<&Grant> = None;
    for grant in relied {
        if let Some(last) = last.filter(|last| received(grant) < last.relied_until) {
            violations.push(Violation::Overlap {
                name: name.to_owned(),
                clients: (last.exchange.client, grant.exchange.client),
                by_us: last.relied_until.min(grant.relied_until) - received(grant),
            });
        }
        if last.is_none_or(|last| last.relied_until < grant.relied_until) {
            last = Some(grant);
        }
    }
}

fn inversions(name: &str, grants: &[&Grant], violations: &mut Vec<Violation>) {
    let exchanges: Vec<&Exchange> = grants.iter().map(|grant| &grant.exchange).collect();
    let mut seen = HashSet::new();
    for (later, earlier) in with_highest_before(&exchanges) {
        if later <= earlier || !seen.insert(later) {
            violations.push(Violation::Inversion { name: name.to_owned(), earlier, later });
        }
    }
}

fn stale_writes(name: &str, writes: &[&Write], violations: &mut Vec<Violation>) {
    let accepted = writes.iter().filter(|write| write.outcome == Outcome::Accepted);
    let exchanges: Vec<&Exchange> = accepted.map(|write| &write.exchange).collect();
    for (accepted, highest) in with_highest_before(&exchanges) {
        // A holder may write more than once.
        if accepted < highest {
            violations.push(Violation::StaleWrite { name: name.to_owned(), highest, accepted });
        }
    }
}

fn unjustified_refusals(name: &str, grants: &[&Grant], writes: &[&Write], violations: &mut Vec<Violation>) {
    for write in writes.iter().filter(|write| write.outcome == Outcome::Refused) {
        let refused = write.exchange.fence;
        let has_a_reason = |grant: &&Grant| {
            let Exchange { fence, sent, .. } = grant.exchange;
            fence > refused && sent < write.exchange.received
        };
        if !grants.iter().any(has_a_reason) {
            violations.push(Violation::UnjustifiedRefusal { name: name.to_owned(), refused });
        }
    }
}

fn lost_writes(name: &str, history: &History, writes: &[&Write], violations: &mut Vec<Violation>) {
    let accepted = writes.iter().filter(|write| write.outcome == Outcome::Accepted);
    let highest = accepted.map(|write| write.exchange.fence).max().unwrap_or_default();
    for (_, kept) in history.kept.iter().filter(|(of, _)| of == name) {
        if *kept < highest {
            violations.push(Violation::LostWrite { name: name.to_owned(), highest, kept: *kept });
        }
    }
}

/// Each token in the order of the requests, with the highest token whose response came before the request.
fn with_highest_before(exchanges: &[&Exchange]) -> Vec<(u64, u64)> {
    let (mut answered, mut asked) = (exchanges.to_vec(), exchanges.to_vec());
    answered.sort_by_key(|exchange| exchange.received);
    asked.sort_by_key(|exchange| exchange.sent);
    let mut answered = answered.into_iter().peekable();
    let mut highest = 0;
    let mut pairs = Vec::with_capacity(asked.len());
    for exchange in asked {
        while let Some(before) = answered.next_if(|before| before.received < exchange.sent) {
            highest = highest.max(before.fence);
        }
        pairs.push((exchange.fence, highest));
    }
    pairs
}
