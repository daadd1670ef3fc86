//! Waits for conditions instead of fixed times.

use std::time::{Duration, Instant};

/// Polls until the condition holds; panics with its name if it does not hold within 20 seconds.
pub async fn eventually(what: &str, condition: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition().await {
        assert!(Instant::now() < deadline, "never happened: {what}");
        tokio::task::yield_now().await;
        let mut tick = tokio::time::interval(Duration::from_millis(5));
        tick.tick().await;
        tick.tick().await;
    }
}
