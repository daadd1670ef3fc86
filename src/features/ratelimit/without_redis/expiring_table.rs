//! A table of entries that expire, with a fixed capacity: its memory is bounded, whatever the number of keys.
//!
//! The table is set-associative, like a processor's cache: a key's hash selects a set of a few slots. A new entry takes a
//! free or expired slot, or else replaces the entry that expires first. A set is allocated for its first entry, so that a
//! few keys take little memory. Keys are identified by 64 bits of a keyed hash, for which a client cannot construct
//! collisions.

use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Slots of one set.
const WAYS: usize = 8;
/// Parts with separate locks, so that threads rarely contend.
const SHARDS: usize = 64;

#[derive(Debug)]
pub(super) struct ExpiringTable<T> {
    shards: Box<[Mutex<Shard<T>>]>,
    sets_per_shard: usize,
    hasher: RandomState,
}

type Set<T> = Box<[Slot<T>; WAYS]>;

/// The sets that have entries, and places for the others.
type Shard<T> = Vec<Option<Set<T>>>;

#[derive(Clone, Copy, Debug, Default)]
struct Slot<T> {
    hash: u64,
    entry: Entry<T>,
}

/// The value of a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Entry<T> {
    pub value: T,
    /// Expiry on the clock of the table's user. An empty slot has expired at 0.
    pub ends: Duration,
}

impl<T: Copy + Default> ExpiringTable<T> {
    /// Makes a table for about `capacity` keys.
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            sets_per_shard: capacity.div_ceil(SHARDS * WAYS).max(1),
            hasher: RandomState::new(),
        }
    }

    /// The entry of a key, unless it has expired.
    pub(super) fn get(&self, key: &impl Hash, now: Duration) -> Option<Entry<T>> {
        self.with_set(key, |set, hash| find(set.as_deref()?, hash, now))
    }

    /// Calls `update` with the entry of a key, and stores the entry that it leaves.
    pub(super) fn update<R>(
        &self,
        key: &impl Hash,
        now: Duration,
        update: impl FnOnce(&mut Option<Entry<T>>) -> R,
    ) -> R {
        self.with_set(key, |set, hash| {
            let mut entry = set.as_deref().and_then(|slots| find(slots, hash, now));
            let result = update(&mut entry);
            if let Some(entry) = entry {
                store(set.get_or_insert_default().as_mut_slice(), hash, now, entry);
            }
            result
        })
    }

    /// Removes all entries.
    pub(super) fn clear(&self) {
        for shard in &self.shards {
            *shard.lock().unwrap_or_else(PoisonError::into_inner) = Vec::new();
        }
    }

    fn with_set<R>(&self, key: &impl Hash, apply: impl FnOnce(&mut Option<Set<T>>, u64) -> R) -> R {
        let hash = self.hasher.hash_one(key);
        let (shard, set) = (remainder(hash, SHARDS), remainder(hash / 64, self.sets_per_shard));
        let Some(shard) = self.shards.get(shard) else { return apply(&mut None, hash) };
        let mut sets = shard.lock().unwrap_or_else(PoisonError::into_inner);
        if sets.is_empty() {
            sets.resize_with(self.sets_per_shard, || None);
        }
        match sets.get_mut(set) {
            Some(set) => apply(set, hash),
            None => apply(&mut None, hash),
        }
    }
}

fn find<T: Copy>(set: &[Slot<T>], hash: u64, now: Duration) -> Option<Entry<T>> {
    set.iter().find(|slot| slot.hash == hash && slot.entry.ends > now).map(|slot| slot.entry)
}

fn store<T>(set: &mut [Slot<T>], hash: u64, now: Duration, entry: Entry<T>) {
    // The key's own slot, or else the slot that expires first.
    let order = |slot: &&mut Slot<T>| (slot.hash != hash || slot.entry.ends <= now, slot.entry.ends);
    if let Some(slot) = set.iter_mut().min_by_key(order) {
        *slot = Slot { hash, entry };
    }
}

/// `hash` modulo `count`, which fits wherever `count` did.
fn remainder(hash: u64, count: usize) -> usize {
    let count = u64::try_from(count).unwrap_or(u64::MAX);
    usize::try_from(hash % count).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn put(table: &ExpiringTable<u64>, key: u64, value: u64, ends: Duration) {
        table.update(&key, at(0), |entry| *entry = Some(Entry { value, ends }));
    }

    #[test]
    fn an_entry_lasts_until_its_end() {
        let table = ExpiringTable::new(1_000);
        put(&table, 7, 1, at(50));
        assert_eq!(table.get(&7_u64, at(49)).map(|entry| entry.value), Some(1));
        assert_eq!(table.get(&7_u64, at(50)), None);
        assert_eq!(table.get(&8_u64, at(0)), None);
        table.clear();
        assert_eq!(table.get(&7_u64, at(49)), None);
    }

    #[test]
    fn keys_beyond_the_capacity_replace_those_that_expire_first() {
        let table = ExpiringTable::new(8_192);
        for key in 0..1_000_000_u64 {
            put(&table, key, key, at(key + 1));
        }
        assert_eq!(sets(&table) * WAYS, 8_192);
        let kept = (0..1_000_000_u64).filter(|key| table.get(key, at(0)).is_some());
        assert!(kept.min().is_some_and(|oldest| oldest > 900_000), "entries that expire late stay");
    }

    #[test]
    fn memory_is_taken_for_the_keys_that_are_stored() {
        let table = ExpiringTable::new(1 << 20);
        for key in 0..1_000 {
            assert_eq!(table.get(&key, at(0)), None);
            table.update(&key, at(0), |_| ());
        }
        assert_eq!(sets(&table), 0);
        (0..100).for_each(|key| put(&table, key, key, at(10)));
        assert!((90..=100).contains(&sets(&table)), "{}", sets(&table));
    }

    /// The sets with memory of their own.
    fn sets(table: &ExpiringTable<u64>) -> usize {
        table.shards.iter().map(|shard| shard.lock().expect("a shard").iter().flatten().count()).sum()
    }

    #[test]
    fn nearly_all_keys_are_kept_up_to_half_the_capacity() {
        let table = ExpiringTable::new(1 << 16);
        for key in 0..1_u64 << 15 {
            put(&table, key, key, at(10));
        }
        let kept = (0..1_u64 << 15).filter(|key| table.get(key, at(0)).is_some()).count();
        assert!(kept > 32_000, "{kept}");
    }
}
