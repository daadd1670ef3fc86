//! A sketch of the most frequent keys, and summaries that can be merged.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};
use std::time::Duration;

use super::COUNTERS;

/// Space-Saving: a key without a counter takes over the lowest counter, and its count as the possible error.
///
/// Counters are found by the keyed hash of their key, whose 64 bits do not repeat among so few. Counts lie side by side,
/// since the lowest is searched among them: in the long run two steps for each new key.
#[derive(Debug, Default)]
pub(super) struct Sketch {
    hasher: RandomState,
    places: HashMap<u64, usize, BuildHasherDefault<AlreadyHashed>>,
    counts: Vec<u64>,
    counters: Vec<Counter>,
    /// The lowest count, once all counters are in use ...
    least: u64,
    /// ... which no counter before this one has.
    cursor: usize,
    uses: u64,
}

#[derive(Debug)]
struct Counter {
    hash: u64,
    key: Vec<u8>,
    error: u64,
}

impl Sketch {
    pub(super) fn count(&mut self, key: &[u8], weight: u64) {
        self.uses += weight;
        let hash = self.hasher.hash_one(key);
        if let Some(count) = self.places.get(&hash).and_then(|at| self.counts.get_mut(*at)) {
            *count += weight;
            return;
        }
        if self.counters.len() < COUNTERS {
            self.places.insert(hash, self.counters.len());
            self.counts.push(weight);
            self.counters.push(Counter { hash, key: key.to_vec(), error: 0 });
            return;
        }
        let at = self.lowest();
        if let (Some(count), Some(counter)) = (self.counts.get_mut(at), self.counters.get_mut(at)) {
            self.places.remove(&counter.hash);
            self.places.insert(hash, at);
            (counter.hash, counter.error) = (hash, *count);
            // Keeps its memory.
            counter.key.clear();
            counter.key.extend_from_slice(key);
            *count += weight;
        }
    }

    /// The place of a counter with the lowest count. Counts only rise, so that the search goes on where it ended.
    fn lowest(&mut self) -> usize {
        let find = |sketch: &Self| {
            let rest = sketch.counts.get(sketch.cursor..).unwrap_or_default();
            rest.iter().position(|count| *count == sketch.least).map(|step| sketch.cursor + step)
        };
        let found = find(self).or_else(|| {
            self.least = self.counts.iter().copied().min().unwrap_or_default();
            self.cursor = 0;
            find(self)
        });
        self.cursor = found.unwrap_or_default();
        self.cursor
    }

    pub(super) fn summary(&self, since: Duration, weight: u64) -> Summary {
        let is_full = self.counters.len() == COUNTERS;
        let least = if is_full { self.counts.iter().copied().min().unwrap_or_default() } else { 0 };
        let estimates = self.counters.iter().zip(&self.counts);
        let keys =
            estimates.map(|(counter, &uses)| (counter.key.clone(), Estimate { uses, error: counter.error })).collect();
        Summary { keys, least, uses: self.uses, weight, since }
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

/// What one or several sketches have counted.
#[derive(Clone, Debug)]
pub(super) struct Summary {
    pub keys: HashMap<Vec<u8>, Estimate>,
    /// A key without an estimate was used at most so often.
    pub least: u64,
    pub uses: u64,
    /// The largest weight of a record.
    pub weight: u64,
    /// When the first of the sketches was begun.
    pub since: Duration,
}

/// The true number of uses is at most `uses` and at least `uses - error`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Estimate {
    pub uses: u64,
    pub error: u64,
}

impl Summary {
    /// What all parts have counted. A key may have been used as often as the lowest count of a part that lacks it.
    pub(super) fn merged(parts: &[Self]) -> Self {
        let least = parts.iter().map(|part| part.least).sum();
        let mut keys: HashMap<Vec<u8>, Estimate> = HashMap::new();
        for part in parts {
            for (key, estimate) in &part.keys {
                let sum = keys.entry(key.clone()).or_insert(Estimate { uses: least, error: least });
                sum.uses = sum.uses - part.least + estimate.uses;
                sum.error = sum.error - part.least + estimate.error;
            }
        }
        let uses = parts.iter().map(|part| part.uses).sum();
        let weight = parts.iter().map(|part| part.weight).max().unwrap_or(1);
        let since = parts.iter().map(|part| part.since).min().unwrap_or_default();
        Self { keys, least, uses, weight, since }
    }

    /// Keeps as many keys as a sketch has. The bound of the error stays that of one sketch of all uses.
    pub(super) fn reduced(mut self) -> Self {
        if self.keys.len() > COUNTERS {
            let mut counts: Vec<u64> = self.keys.values().map(|estimate| estimate.uses).collect();
            counts.sort_unstable_by(|a, b| b.cmp(a));
            let dropped = counts.get(COUNTERS).copied().unwrap_or_default();
            self.keys.retain(|_, estimate| estimate.uses > dropped);
            self.least = self.least.max(dropped);
        }
        self
    }
}

/// Takes a hash as it is.
#[derive(Debug, Default)]
struct AlreadyHashed(u64);

impl Hasher for AlreadyHashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}
