//! A client with a credential of its own that uses the service at a steady rate and measures its latency.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::target::VICTIM_KEY;
use crate::support::wire::{Request, Wire};

/// The time between two requests of a kind.
const PERIOD: Duration = Duration::from_millis(20);

pub struct Victim {
    stopped: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Latency>>,
}

/// What the client saw.
#[derive(Default)]
pub struct Latency {
    /// The latency of each request, and of those that were due while the client waited for a slow one.
    times: Vec<Duration>,
    /// Requests without a response of success.
    pub failed: usize,
    /// Health checks with another status than 200.
    pub unhealthy: usize,
}

impl Latency {
    /// The latency that this many of 1,000 requests did not exceed.
    pub fn at(&self, permille: usize) -> Duration {
        let last = self.times.len().saturating_sub(1);
        self.times.get((self.times.len() * permille / 1_000).min(last)).copied().unwrap_or_default()
    }
}

impl Victim {
    /// Reads a small value, checks a limit and checks the health, each in a thread of its own.
    pub fn start(port: u16) -> Self {
        let stopped = Arc::new(AtomicBool::new(false));
        let check = r#"{"limiter":"market_data","key":"victim"}"#;
        let kinds = [("GET", "/cache/victim", ""), ("POST", "/ratelimit/check", check), ("GET", "/health/live", "")];
        let threads = kinds.map(|(method, path, body)| {
            let stopped = Arc::clone(&stopped);
            std::thread::spawn(move || {
                let header = Some(("x-api-key", VICTIM_KEY));
                let request = Request { method, path: path.to_owned(), header, body: body.to_owned() };
                use_steadily(port, &request, &stopped)
            })
        });
        Self { stopped, threads: threads.into() }
    }

    pub fn end(self) -> Latency {
        self.stopped.store(true, Ordering::Relaxed);
        let mut all = Latency::default();
        for thread in self.threads {
            let Latency { times, failed, unhealthy } = thread.join().expect("no panic");
            all.times.extend(times);
            all.failed += failed;
            all.unhealthy += unhealthy;
        }
        all.times.sort_unstable();
        all
    }
}

fn use_steadily(port: u16, request: &Request<'_>, stopped: &AtomicBool) -> Latency {
    let (mut wire, mut latency) = (Wire::new(port), Latency::default());
    while !stopped.load(Ordering::Relaxed) {
        let sent = Instant::now();
        let status = wire.send(request).map(|response| response.status);
        let took = sent.elapsed();
        let has_failed = usize::from(!matches!(status, Ok(200)));
        if request.path.starts_with("/health") {
            // These would hide slow requests among the times.
            latency.unhealthy += has_failed;
        } else {
            latency.times.extend(std::iter::successors(Some(took), |late| late.checked_sub(PERIOD)));
            latency.failed += has_failed;
        }
        // The rate is part of the measurement.
        std::thread::sleep(PERIOD.saturating_sub(took));
    }
    latency
}
