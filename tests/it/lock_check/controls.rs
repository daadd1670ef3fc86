//! Locks that are broken on purpose: if the checker does not catch them, the checker is broken.

use std::time::{Duration, Instant};

use super::checker::{Violation, check};
use super::history::{Exchange, Grant, History, Outcome, Write};
use crate::support::RedisServer;

/// A client of the kind that we replace: commands of its own on a shared Redis.
struct Broken {
    redis: RedisServer,
    began: Instant,
    history: History,
}

impl Broken {
    fn start() -> Self {
        Self { redis: RedisServer::start(), began: Instant::now(), history: History::default() }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).expect("a short run")
    }

    /// SET NX PX and a fence by INCR; whether it was granted.
    fn acquire(&mut self, client: usize, ttl: Duration) -> bool {
        let sent = self.now();
        let ttl_ms = ttl.as_millis().to_string();
        let stored: Option<String> = self.redis.command(&["SET", "lock:a", &client.to_string(), "NX", "PX", &ttl_ms]);
        if stored.is_none() {
            return false;
        }
        let fence = self.redis.command(&["INCR", "fence"]);
        let received = self.now();
        let relied_until = sent + u64::try_from(ttl.as_micros()).expect("a short lease");
        let exchange = Exchange { client, name: "a".to_owned(), sent, received, fence };
        self.history.grants.push(Grant { exchange, relied_until });
        true
    }

    fn acquire_when_free(&mut self, client: usize, ttl: Duration) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !self.acquire(client, ttl) {
            assert!(Instant::now() < deadline, "the lease never ends");
        }
    }

    /// A target that accepts whatever comes.
    fn write(&mut self, grant: usize) {
        let mut exchange = self.history.grants[grant].exchange.clone();
        (exchange.sent, exchange.received) = (self.now(), self.now());
        self.history.writes.push(Write { exchange, outcome: Outcome::Accepted });
    }
}

#[test]
fn a_release_without_ownership_check_is_caught() {
    let mut broken = Broken::start();
    broken.acquire_when_free(1, Duration::from_millis(30));
    broken.acquire_when_free(2, Duration::from_secs(5));
    // The first one, late, frees the second one's lock.
    let _: u64 = broken.redis.command(&["DEL", "lock:a"]);
    broken.acquire_when_free(3, Duration::from_secs(5));
    let found = check(&broken.history);
    assert!(matches!(found.as_slice(), [Violation::Overlap { clients: (2, 3), .. }]), "{found:?}");
}

#[test]
fn a_paused_holder_that_writes_unchecked_is_caught() {
    let mut broken = Broken::start();
    broken.acquire_when_free(1, Duration::from_millis(30));
    broken.acquire_when_free(2, Duration::from_secs(5));
    broken.write(1);
    broken.write(0);
    let found = check(&broken.history);
    assert!(matches!(found.as_slice(), [Violation::StaleWrite { highest: 2, accepted: 1, .. }]), "{found:?}");
}

#[test]
fn a_fence_that_only_counts_is_caught_when_redis_forgets() {
    let mut broken = Broken::start();
    broken.acquire_when_free(1, Duration::from_millis(5));
    broken.acquire_when_free(2, Duration::from_millis(5));
    let _: String = broken.redis.command(&["FLUSHALL"]);
    while broken.now() < broken.history.grants[1].relied_until {
        std::thread::yield_now();
    }
    broken.acquire_when_free(3, Duration::from_millis(5));
    let found = check(&broken.history);
    assert!(matches!(found.as_slice(), [Violation::Inversion { earlier: 2, later: 1, .. }]), "{found:?}");
}

#[test]
fn a_correct_history_is_not_accused() {
    let mut correct = Broken::start();
    for client in 0..20 {
        correct.acquire_when_free(client, Duration::from_millis(5));
        correct.write(client);
    }
    assert_eq!(check(&correct.history), []);
}
