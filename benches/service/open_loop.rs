//! Requests at a fixed rate, independent of the response times.

use std::thread;
use std::time::{Duration, Instant};

use crate::median;

/// How often requests are sent.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    pub per_second: u32,
    /// Connections that take turns; each has this many intervals for one request.
    pub connections: u32,
}

/// The rate that no peer has difficulties with.
pub const STEADY: Rate = Rate { per_second: 1_000, connections: 16 };
/// The time of a run.
const SECONDS: u32 = 5;

/// Sends the next request of a connection and reads the response.
pub type SendRequest<'a> = Box<dyn FnMut(u32) + Send + 'a>;

/// The latencies of all requests in microseconds, sorted. A latency counts from the time at which the request was due:
/// it includes the wait for the previous response and for this load generator.
pub fn latencies(rate: Rate, connections: Vec<SendRequest<'_>>) -> Vec<f64> {
    let interval = Duration::from_secs(1) / rate.per_second;
    let requests = SECONDS * rate.per_second / rate.connections;
    let start = Instant::now() + 10 * interval;
    let mut latencies: Vec<f64> = thread::scope(|scope| {
        let running: Vec<_> = (0..rate.connections)
            .zip(connections)
            .map(|(place, mut send)| {
                scope.spawn(move || {
                    let latency = |request| {
                        let due: Instant = start + (place + request * rate.connections) * interval;
                        thread::sleep(due.saturating_duration_since(Instant::now()));
                        send(request);
                        due.elapsed().as_secs_f64() * 1e6
                    };
                    (0..requests).map(latency).collect::<Vec<_>>()
                })
            })
            .collect();
        running.into_iter().flat_map(|running| running.join().expect("the latencies")).collect()
    });
    latencies.sort_by(f64::total_cmp);
    latencies
}

/// The median of the percentiles of all rounds.
pub fn percentile(rounds: &[Vec<f64>], share: usize) -> f64 {
    median(rounds.iter().map(|sorted| sorted[sorted.len() * share / 100]).collect())
}
