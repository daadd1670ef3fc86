//! Waits for conditions instead of fixed times.

use std::time::{Duration, Instant};

/// Longer than Sentinel needs to make a former master follow: it asks each server every 10 s, and then waits for 8 s.
const LIMIT: Duration = Duration::from_secs(40);

/// Polls until the condition holds; panics with its name if it does not hold within 40 seconds.
pub async fn eventually(what: &str, condition: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !condition().await {
        assert!(Instant::now() < deadline, "never happened: {what}");
        tokio::task::yield_now().await;
        let mut tick = tokio::time::interval(Duration::from_millis(5));
        tick.tick().await;
        tick.tick().await;
    }
}
