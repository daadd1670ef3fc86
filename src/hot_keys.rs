//! The keys that are used most often, found in bounded memory.
//!
//! Every lane counts in a sketch of its own: 1,024 counters by the algorithm Space-Saving. A count is too high by at most
//! the number of uses divided by 1,024, and is exact while a lane uses fewer keys than that. A lane that records more than
//! 2,000 times per second samples, so that a busy one pays for few of its requests.
//!
//! Sketches are closed every minute and merged. A list covers the last four to five minutes.
//!
//! Sources: Metwally, Agrawal and El Abbadi, "Efficient Computation of Frequent and Top-k Elements in Data Streams", 2005;
//! Agarwal et al., "Mergeable Summaries", 2012.

mod sketch;

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sketch::{Sketch, Summary};

/// The counters of a sketch.
pub const COUNTERS: usize = 1_024;
/// How long a sketch counts before it is closed.
const SLOT: Duration = Duration::from_secs(60);
/// The closed sketches that a list includes.
const SLOTS: usize = 4;
/// The records of a lane that are counted one by one within a slot: 2,000 per second.
const EXACT: u64 = 120_000;
/// Longer keys, bytes, are not counted, so that the memory of a sketch is bounded.
const LONGEST: usize = 1_024;

/// Counts the uses of keys.
#[derive(Debug)]
pub struct HotKeys {
    lanes: Box<[Mutex<Lane>]>,
    closed: Mutex<Closed>,
}

/// The keys that were used most often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HotKeyList {
    /// The most used first.
    pub keys: Vec<HotKey>,
    /// The uses of all keys.
    pub uses: u64,
    /// A key that is not among the counted ones was used at most so often.
    pub uncounted: u64,
    /// At the busiest time, one of so many records was counted, with that weight; 1: all of them.
    pub sampled: u64,
    /// The time in which the keys were used, up to now.
    pub window: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HotKey {
    /// Bytes that are not UTF-8 are replaced.
    pub key: String,
    pub uses: u64,
    /// `uses` differs from the true number by at most this; if records were sampled, in 99.7 of 100 cases.
    pub error: u64,
}

#[derive(Debug)]
struct Lane {
    sketch: Sketch,
    /// One of so many records is counted.
    weight: u64,
    /// The records until the next one that is counted.
    skip: u64,
    counted: u64,
    records: u64,
    random: u64,
}

#[derive(Debug, Default)]
struct Closed {
    summaries: VecDeque<Summary>,
    /// When the present sketches were begun.
    begun: Option<Duration>,
}

impl HotKeys {
    /// `lanes` is the number of threads that have a sketch of their own.
    pub fn new(lanes: usize) -> Self {
        Self { lanes: (0..lanes.max(1)).map(|_| Mutex::new(Lane::new())).collect(), closed: Mutex::default() }
    }

    /// Counts one use of each of these keys. An unknown lane shares the first sketch.
    pub fn record<'k>(&self, lane: usize, keys: impl Iterator<Item = &'k [u8]>) {
        let Some(lane) = self.lanes.get(lane).or(self.lanes.first()) else { return };
        let mut lane = lock(lane);
        if lane.admits() {
            let weight = lane.weight;
            keys.filter(|key| key.len() <= LONGEST).for_each(|key| lane.sketch.count(key, weight));
            lane.adapt();
        }
    }

    /// Closes the present sketches once they are a minute old. `now` is the time since any fixed moment.
    pub fn advance(&self, now: Duration) {
        let mut closed = lock(&self.closed);
        let begun = *closed.begun.get_or_insert(now);
        if now < begun + SLOT {
            return;
        }
        let parts: Vec<Summary> = self.lanes.iter().map(|lane| lock(lane).close(begun)).collect();
        closed.summaries.push_back(Summary::merged(&parts).reduced());
        closed.summaries.retain(|summary| now < summary.since + SLOT * 5);
        while closed.summaries.len() > SLOTS {
            closed.summaries.pop_front();
        }
        closed.begun = Some(now);
    }

    /// The `limit` most used keys that `is_wanted` accepts.
    pub fn list(&self, now: Duration, limit: usize, is_wanted: impl Fn(&str) -> bool) -> HotKeyList {
        let closed = lock(&self.closed);
        let begun = closed.begun.unwrap_or(now);
        let present = self.lanes.iter().map(|lane| lock(lane).summary(begun));
        let parts: Vec<Summary> = closed.summaries.iter().cloned().chain(present).collect();
        drop(closed);
        let all = Summary::merged(&parts);
        let sampled = all.weight;
        let hot_key = |(key, estimate): (Vec<u8>, sketch::Estimate)| {
            let key = String::from_utf8_lossy(&key).into_owned();
            is_wanted(&key).then(|| {
                // Three standard deviations of the sum of samples.
                let deviation = if sampled > 1 { 3 * (estimate.uses.saturating_mul(sampled)).isqrt() } else { 0 };
                HotKey { key, uses: estimate.uses, error: estimate.error + deviation }
            })
        };
        let mut keys: Vec<HotKey> = all.keys.into_iter().filter_map(hot_key).collect();
        keys.sort_by(|a, b| b.uses.cmp(&a.uses).then_with(|| a.key.cmp(&b.key)));
        keys.truncate(limit);
        HotKeyList { keys, uses: all.uses, uncounted: all.least, sampled, window: now.saturating_sub(all.since) }
    }
}

impl Lane {
    fn new() -> Self {
        Self { sketch: Sketch::default(), weight: 1, skip: 0, counted: 0, records: 0, random: 0x9E37_79B9_7F4A_7C15 }
    }

    /// Whether this record is one of the sample. The gaps are random, so that requests that alternate are counted alike.
    fn admits(&mut self) -> bool {
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        if self.weight > 1 {
            // Marsaglia's xorshift; the mean of the gaps is the weight.
            self.random ^= self.random << 13;
            self.random ^= self.random >> 7;
            self.random ^= self.random << 17;
            self.skip = self.random % (2 * self.weight - 1);
        }
        true
    }

    /// Samples less often once the exact records of the slot are used up.
    fn adapt(&mut self) {
        self.counted += 1;
        self.records += self.weight;
        if self.counted == EXACT {
            (self.counted, self.weight) = (0, self.weight * 2);
        }
    }

    fn summary(&self, since: Duration) -> Summary {
        self.sketch.summary(since, self.weight)
    }

    /// Empties the sketch. The next slot begins with the weight that its predecessor would have needed.
    fn close(&mut self, since: Duration) -> Summary {
        let summary = self.summary(since);
        self.sketch.clear();
        self.weight = (self.records / EXACT).next_power_of_two();
        (self.counted, self.records, self.skip) = (0, 0, 0);
        summary
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    const MINUTE: Duration = SLOT;

    fn everything(_: &str) -> bool {
        true
    }

    /// Records `count` uses with Zipf's distribution in all lanes; returns the true numbers.
    fn record_zipf(hot: &HotKeys, lanes: usize, count: u64, different: u64, truth: &mut HashMap<String, u64>) {
        let mut random = 42_u64;
        for nth in 0..count {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            // The inverse of the distribution with exponent 1.
            let share = f64::from(u32::try_from(random >> 32).expect("32 bits")) / f64::from(u32::MAX);
            let rank = f64::from(u32::try_from(different).expect("small")).powf(share);
            let key = format!("key-{rank:.0}");
            hot.record(usize::try_from(nth).expect("small") % lanes, std::iter::once(key.as_bytes()));
            *truth.entry(key).or_insert(0) += 1;
        }
    }

    #[test]
    fn few_keys_are_counted_exactly() {
        let hot = HotKeys::new(2);
        for nth in 0..1_000_usize {
            let key = if nth % 10 == 0 { "b" } else { "a" };
            hot.record(nth % 3, [key.as_bytes()].into_iter());
        }
        let list = hot.list(Duration::ZERO, 10, everything);
        let named: Vec<_> = list.keys.iter().map(|hot| (hot.key.as_str(), hot.uses, hot.error)).collect();
        assert_eq!(named, [("a", 900, 0), ("b", 100, 0)]);
        assert_eq!((list.uses, list.uncounted, list.sampled), (1_000, 0, 1));
        assert_eq!(hot.list(Duration::ZERO, 1, |key| key == "b").keys.len(), 1);
    }

    #[test]
    fn every_count_is_within_its_error_over_lanes_and_minutes() {
        let (lanes, different) = (3, 50_000);
        let hot = HotKeys::new(lanes);
        let mut truth = HashMap::new();
        for minute in 0..4 {
            hot.advance(MINUTE * minute);
            record_zipf(&hot, lanes, 100_000, different, &mut truth);
        }
        let list = hot.list(MINUTE * 4, usize::MAX, everything);
        let total: u64 = truth.values().sum();
        assert_eq!((list.uses, list.sampled), (total, 1));
        let bound = total / u64::try_from(COUNTERS).expect("small");
        assert!(list.uncounted <= bound, "{} > {bound}", list.uncounted);
        for HotKey { key, uses, error } in &list.keys {
            let real = truth.get(key).copied().unwrap_or_default();
            assert!((uses - error..=*uses).contains(&real), "{key}: {real} is not within {uses} - {error}");
            assert!(*error <= bound, "{key}: {error} > {bound}");
        }
        for (key, real) in &truth {
            let is_listed = list.keys.iter().any(|hot| hot.key == *key);
            assert!(is_listed || *real <= list.uncounted, "{key} is missing with {real} uses");
        }
    }

    #[test]
    fn what_is_older_than_five_minutes_does_not_count() {
        let hot = HotKeys::new(1);
        hot.advance(Duration::ZERO);
        hot.record(0, [b"old".as_slice()].into_iter());
        for minute in 1..=4 {
            hot.advance(MINUTE * minute);
            hot.record(0, [b"new".as_slice()].into_iter());
        }
        let list = hot.list(MINUTE * 4, 10, everything);
        assert_eq!((list.keys.len(), list.uses, list.window), (2, 5, MINUTE * 4));
        hot.advance(MINUTE * 5);
        let list = hot.list(MINUTE * 5, 10, everything);
        assert_eq!((list.keys.len(), list.uses, list.window), (1, 4, MINUTE * 4));
        // After a pause, such as that of a stopped process, nothing is recent.
        hot.advance(MINUTE * 60);
        assert_eq!(hot.list(MINUTE * 60, 10, everything).keys, []);
    }

    #[test]
    fn a_busy_lane_samples_and_its_estimates_stay_within_their_error() {
        let hot = HotKeys::new(1);
        let mut truth = HashMap::new();
        hot.advance(Duration::ZERO);
        record_zipf(&hot, 1, 1_500_000, 1_000, &mut truth);
        let list = hot.list(Duration::ZERO, 20, everything);
        assert!(list.sampled >= 4, "{}", list.sampled);
        for HotKey { key, uses, error } in &list.keys {
            let real = truth.get(key).copied().unwrap_or_default();
            assert!(uses.abs_diff(real) <= *error, "{key}: {real} is not within {uses} +- {error}");
        }
        // The next minute begins with the sampling that this one has needed.
        hot.advance(MINUTE);
        record_zipf(&hot, 1, 1_000, 1_000, &mut truth);
        assert!(lock(&hot.lanes[0]).counted < 200);
        hot.advance(MINUTE * 2);
        assert_eq!(lock(&hot.lanes[0]).weight, 1, "a quiet lane counts everything");
    }

    #[test]
    fn memory_is_bounded() {
        let hot = HotKeys::new(1);
        for nth in 0..100_000 {
            hot.record(0, [format!("{nth:01024}").as_bytes()].into_iter());
        }
        hot.record(0, ["x".repeat(2_000).as_bytes()].into_iter());
        let list = hot.list(Duration::ZERO, usize::MAX, everything);
        assert_eq!((list.keys.len(), list.uses), (COUNTERS, 100_000));
        // All keys differ: their counts say nothing, and their errors say so.
        assert!(list.keys.iter().all(|hot| hot.uses - hot.error <= 1));
    }
}
