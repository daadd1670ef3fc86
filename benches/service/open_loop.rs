//! Requests at a fixed rate, whatever the answers take.

use std::thread;
use std::time::{Duration, Instant};

use crate::median;

/// Requests per second.
pub const RATE: u32 = 1_000;
/// Connections that take turns; each has this many intervals for its request.
pub const CONNECTIONS: u32 = 16;
/// Requests of each connection: five seconds.
pub const REQUESTS: u32 = 312;

/// A connection's next request and its answer.
pub type Ask<'a> = Box<dyn FnMut(u32) + Send + 'a>;

/// Microseconds of all requests, sorted. Each counts from the moment at which it was due, so that one which had to wait
/// for the answer before it, or for this loader, is not flattered.
pub fn latencies(connections: Vec<Ask<'_>>) -> Vec<f64> {
    let interval = Duration::from_secs(1) / RATE;
    let start = Instant::now() + 10 * interval;
    let mut latencies: Vec<f64> = thread::scope(|scope| {
        let running: Vec<_> = (0..CONNECTIONS)
            .zip(connections)
            .map(|(place, mut ask)| {
                scope.spawn(move || {
                    let one = |request| {
                        let due: Instant = start + (place + request * CONNECTIONS) * interval;
                        thread::sleep(due.saturating_duration_since(Instant::now()));
                        ask(request);
                        due.elapsed().as_secs_f64() * 1e6
                    };
                    (0..REQUESTS).map(one).collect::<Vec<_>>()
                })
            })
            .collect();
        running.into_iter().flat_map(|running| running.join().expect("the latencies")).collect()
    });
    latencies.sort_by(f64::total_cmp);
    latencies
}

/// The percentile of each round's sorted latencies; the median of the rounds.
pub fn percentile(rounds: &[Vec<f64>], share: usize) -> f64 {
    median(rounds.iter().map(|sorted| sorted[sorted.len() * share / 100]).collect())
}
