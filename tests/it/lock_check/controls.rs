//! Locks that are broken on purpose: if the checker does not catch them, the checker is broken.
//!
//! One scenario runs on a real Redis with a lock made of plain commands, as many clients of the platform use today.
//! With all protections, the checker must find nothing; without one of them, the fault that it prevents.

use std::time::Duration;

use super::checker::{Violation, check};
use super::clock::now;
use super::history::{Exchange, Grant, History, Outcome, Write};
use crate::support::RedisServer;

/// The protections of a lock.
#[derive(Clone, Copy)]
struct Protections {
    /// A release frees the lock only if the client holds it.
    owner: bool,
    /// The target refuses tokens that are older than one that it has seen.
    token: bool,
    /// Tokens follow Redis's clock; if not, they are counted by INCR.
    clock: bool,
}

const ALL: Protections = Protections { owner: true, token: true, clock: true };

struct Scenario {
    protections: Protections,
    locks: RedisServer,
    /// What the lock protects, on a server that is not emptied.
    values: RedisServer,
    history: History,
}

const LONG: Duration = Duration::from_secs(5);
const SHORT: Duration = Duration::from_millis(30);

/// The violations in a scenario with a holder that is paused beyond its lease, and a Redis that forgets.
fn violations_with(protections: Protections) -> Vec<Violation> {
    let (locks, values) = (RedisServer::start(), RedisServer::start());
    let mut scenario = Scenario { protections, locks, values, history: History::default() };
    // The first client is paused, and the second one gets the lock after the end of its lease.
    scenario.acquire_when_free(1, SHORT);
    scenario.acquire_when_free(2, LONG);
    scenario.write(2);
    // The first client continues, writes and releases, both too late.
    scenario.write(1);
    scenario.release(1);
    let is_third_early = scenario.acquire(3, LONG);
    // The second client does not notice and continues.
    scenario.write(2);
    scenario.release(2);
    if !is_third_early {
        scenario.acquire_when_free(3, LONG);
    }
    scenario.write(3);
    scenario.release(3);
    // Redis forgets everything while the lock is free.
    let _: String = scenario.locks.command(&["FLUSHALL"]);
    scenario.acquire_when_free(4, LONG);
    scenario.write(4);
    scenario.release(4);
    let kept = scenario.values.command(&["GET", "guarded"]);
    scenario.history.kept.push(("a".to_owned(), kept));
    check(&scenario.history)
}

#[test]
fn a_lock_with_all_protections_has_no_violations() {
    assert_eq!(violations_with(ALL), []);
}

#[test]
fn a_release_without_ownership_check_is_caught() {
    let found = violations_with(Protections { owner: false, ..ALL });
    assert!(matches!(found.as_slice(), [Violation::Overlap { clients: (2, 3), .. }]), "{found:?}");
}

#[test]
fn a_paused_holder_whose_token_is_not_checked_is_caught() {
    let found = violations_with(Protections { token: false, ..ALL });
    assert!(
        matches!(found.as_slice(), [Violation::StaleWrite { highest, accepted, .. }] if highest > accepted),
        "{found:?}"
    );
}

#[test]
fn a_fence_that_only_counts_is_caught_when_redis_forgets() {
    let found = violations_with(Protections { clock: false, ..ALL });
    assert!(matches!(found.as_slice(), [Violation::Inversion { earlier: 3, later: 1, .. }]), "{found:?}");
}

#[test]
fn a_target_that_refuses_or_loses_what_it_should_keep_is_caught() {
    let exchange = |client: usize, at: u64| {
        let fence = u64::try_from(client).expect("small");
        Exchange { client, name: "a".to_owned(), sent: at, received: at + 1, fence }
    };
    let grant = |client, at| Grant { exchange: exchange(client, at), relied_until: at + 5 };
    let write = |client, at, outcome| Write { exchange: exchange(client, at), outcome };
    let history = History {
        grants: vec![grant(1, 0), grant(2, 10)],
        writes: vec![write(1, 2, Outcome::Accepted), write(2, 12, Outcome::Accepted), write(2, 14, Outcome::Refused)],
        kept: vec![("a".to_owned(), 1)],
    };
    let name = || "a".to_owned();
    assert_eq!(
        check(&history),
        [
            Violation::UnjustifiedRefusal { name: name(), refused: 2 },
            Violation::LostWrite { name: name(), highest: 2, kept: 1 }
        ]
    );
}

impl Scenario {
    /// Whether the lock was granted.
    fn acquire(&mut self, client: usize, ttl: Duration) -> bool {
        let sent = now();
        let ttl_ms = ttl.as_millis().to_string();
        let stored: Option<String> = self.locks.command(&["SET", "lock:a", &client.to_string(), "NX", "PX", &ttl_ms]);
        if stored.is_none() {
            return false;
        }
        let fence = self.next_fence();
        let exchange = Exchange { client, name: "a".to_owned(), sent, received: now(), fence };
        let relied_until = sent + u64::try_from(ttl.as_micros()).expect("a short lease");
        self.history.grants.push(Grant { exchange, relied_until });
        true
    }

    fn acquire_when_free(&mut self, client: usize, ttl: Duration) {
        let deadline = now() + 10_000_000;
        while !self.acquire(client, ttl) {
            assert!(now() < deadline, "the lease never ends");
        }
    }

    fn next_fence(&self) -> u64 {
        if !self.protections.clock {
            return self.locks.command(&["INCR", "fence"]);
        }
        let last: Option<u64> = self.locks.command(&["GET", "fence"]);
        let (seconds, micros): (u64, u64) = self.locks.command(&["TIME"]);
        let fence = (last.unwrap_or_default() + 1).max(seconds * 1_000_000 + micros);
        let _: String = self.locks.command(&["SET", "fence", &fence.to_string()]);
        fence
    }

    fn release(&mut self, client: usize) {
        let at = now();
        let grant = self.grant(client);
        grant.relied_until = grant.relied_until.min(at);
        let holder: Option<usize> = self.locks.command(&["GET", "lock:a"]);
        if holder == Some(client) || !self.protections.owner {
            let _: u64 = self.locks.command(&["DEL", "lock:a"]);
        }
    }

    fn write(&mut self, client: usize) {
        let mut exchange = self.grant(client).exchange.clone();
        exchange.sent = now();
        let highest: Option<u64> = self.values.command(&["GET", "highest"]);
        let is_stale = highest.is_some_and(|highest| exchange.fence < highest);
        let outcome = if is_stale && self.protections.token { Outcome::Refused } else { Outcome::Accepted };
        if outcome == Outcome::Accepted {
            let fence = exchange.fence.to_string();
            let _: String = self.values.command(&["MSET", "highest", &fence, "guarded", &fence]);
        }
        exchange.received = now();
        self.history.writes.push(Write { exchange, outcome });
    }

    fn grant(&mut self, client: usize) -> &mut Grant {
        let mut grants = self.history.grants.iter_mut();
        grants.find(|grant| grant.exchange.client == client).expect("its grant")
    }
}
