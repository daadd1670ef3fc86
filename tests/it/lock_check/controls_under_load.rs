//! The load without one of its protections: the checker must find the consequences.

use std::time::{Duration, Instant};

use super::checker::{Violation, check};
use super::client::TTL;
use super::history::{History, load};
use super::stage::{Stage, names};
use super::verdict::Verdict;

/// How long a fault may remain undetected.
const LIMIT: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_load_that_writes_without_tokens_is_caught() {
    let mut stage = Stage::set(0, 1);
    stage.start_clients(false);
    let mut at = 0;
    // One client process after the other is paused beyond its leases, and its late writes are not detectable.
    let verdict = caught(stage, "control-tokens", async |stage| {
        at = (at + 1) % stage.clients.len();
        stage.clients[at].process.pause();
        // Longer than a lease: only time can end it.
        tokio::time::sleep(Duration::from_millis(TTL + 200)).await;
        stage.clients[at].process.resume();
    })
    .await;
    // The very last write may be a late one.
    let is_late =
        |violation: &Violation| matches!(violation, Violation::StaleWrite { .. } | Violation::LostWrite { .. });
    assert!(verdict.violations.iter().all(is_late), "{:?}", verdict.violations);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_load_whose_locks_are_freed_by_others_is_caught() {
    let mut stage = Stage::set(0, 1);
    stage.start_clients(true);
    let verdict = caught(stage, "control-ownership", async |stage| {
        for name in names() {
            let _: u64 = stage.state_role.command(&["DEL", &format!("lock:{name}")]);
        }
        // The clients need time to acquire the locks that are freed next.
        tokio::time::sleep(Duration::from_millis(20)).await;
    })
    .await;
    let is_overlap = |violation: &Violation| matches!(violation, Violation::Overlap { .. });
    assert!(verdict.violations.iter().all(is_overlap), "{:?}", verdict.violations);
}

/// Repeats a fault until the checker finds it.
async fn caught(mut stage: Stage, name: &str, mut wrong: impl AsyncFnMut(&mut Stage)) -> Verdict {
    let started = Instant::now();
    while check(&History::new(&stage.record.events())).is_empty() {
        assert!(started.elapsed() < LIMIT, "the checker found nothing: {name}");
        wrong(&mut stage).await;
    }
    let events = stage.end();
    let verdict = Verdict::of(&events, name);
    assert_eq!(verdict.left_at.as_deref().map(load), Some(events), "the history is left for study");
    verdict
}
