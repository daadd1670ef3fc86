//! The Redis keys of a series, and of the index of all of them.

use super::families::Families;
use super::series::SeriesKey;
use crate::redis::{Key, KeySpace, Segment};

/// The three keys of one series, in one cluster slot. They expire together, a little after the series' retention
/// (at least `timeseries.min_life`) has passed since its last write; with retention 0 they stay.
#[derive(Clone, Debug)]
pub(super) struct SeriesKeys {
    /// `energy:consumption:<meter>` and so on for families, `ts:<key>` for all others: hash of `retention_ms`,
    /// `duplicate_policy`, `labels`, `created`, `sealed` (samples in sealed chunks), `listed`.
    pub series: Key,
    /// `ts:head:{<series>}`: string, the newest chunk. It is never empty and grows by APPEND, so that a sample costs
    /// its own 16 bytes in the append-only file, not its chunk's.
    pub head: Key,
    /// `ts:chunks:{<series>}`: sorted set of sealed chunks, the chunk's bytes as the member, its first timestamp as the
    /// score. Trimmed by writes.
    pub chunks: Key,
}

impl SeriesKeys {
    /// `ts:fence:{<series>}`: integer, the highest fencing token seen. Expires `fencing.outlive` after the series; that of
    /// a series without retention `fencing.endless` after its last guarded write.
    pub(super) fn fence(&self) -> Key {
        self.series.sibling("ts:fence")
    }

    /// A family's series keep the platform's names; others live below `ts:`, where they collide with nobody's keys:
    /// the siblings have a brace after `ts:head:`, and escaped names have none.
    pub(super) fn new(space: &KeySpace, families: &Families, key: &SeriesKey) -> Self {
        let name = Segment(key.as_str());
        let series = if families.covers(key) { space.key(name) } else { space.key(format_args!("ts:{name}")) };
        Self { head: series.sibling("ts:head"), chunks: series.sibling("ts:chunks"), series }
    }
}

/// `timeseries:index`: sorted set of the names of all series, all with score 0, for lists in byte order. No expiry of
/// its own; names of series that are gone are dropped by lists and by registrations.
pub(super) fn index(space: &KeySpace) -> Key {
    space.key("timeseries:index")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn families_keep_their_names_and_others_stay_below_their_own() {
        let config = Config::with_overrides("").and_then(|config| config.section()).expect("valid defaults");
        let families = Families::new(&config);
        let space = KeySpace::new("p:");
        let name = |key: &str| {
            let key = SeriesKey::new(key).expect("a key");
            SeriesKeys::new(&space, &families, &key).series.as_str().to_owned()
        };
        assert_eq!(name("energy:generation:m 1"), "p:energy:generation:m%201");
        assert_eq!(name("lock:a"), "p:ts:lock:a");
        assert_eq!(name("head:{x}"), "p:ts:head:%7Bx%7D");
    }
}
