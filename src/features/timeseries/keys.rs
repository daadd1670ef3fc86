//! The Redis keys of a series, and of the index of all of them.

use super::families::Families;
use super::series::SeriesKey;
use crate::redis::{Backend, Key, KeySpace, Segment};

/// The keys of one series, in one cluster slot. `<series>` is `energy:consumption:<meter>` and so on for families,
/// `ts:<key>` for all others. They expire together, a little after the series' retention
/// (at least `timeseries.min_life`, and that of its rollups) has passed since its last write; with retention 0 they stay.
#[derive(Clone, Debug)]
pub(super) struct SeriesKeys {
    /// `<series>`: hash of `retention_ms`, `duplicate_policy`, `labels`, `created`, `sealed` (samples in sealed chunks),
    /// `listed`; with rollups also their list and what they hold (`rollup_state.lua`). In the module
    /// `ts:definition:{<series>}`, without `sealed`.
    pub hash: Key,
    /// `ts:head:{<series>}`: string, the newest chunk. It is never empty and grows by APPEND, so that a sample costs
    /// its own 16 bytes in the append-only file, not its chunk's. In the module `<series>`: all samples, for TS.RANGE.
    pub head: Key,
    /// `ts:chunks:{<series>}`: sorted set of sealed chunks, the chunk's bytes as the member, its first timestamp as the
    /// score. Trimmed by writes. In the module nothing.
    pub chunks: Key,
    /// `ts:rollups:{<series>}`: hash, the buckets of rollups in blocks (`rollup/blocks.rs`). Trimmed by whoever fills them;
    /// gone with the last rollup.
    pub blocks: Key,
    kept: Backend,
}

impl SeriesKeys {
    /// `ts:fence:{<series>}`: integer, the highest fencing token seen. Expires `fencing.outlive` after the series; that of
    /// a series without retention `fencing.endless` after its last guarded write.
    pub(super) fn fence(&self) -> Key {
        let series = match self.kept {
            Backend::Native => &self.hash,
            Backend::Module => &self.head,
        };
        series.sibling("ts:fence")
    }

    /// A family's series keep the platform's names; others live below `ts:`, where they collide with nobody's keys:
    /// the siblings have a brace after `ts:head:`, and escaped names have none.
    pub(super) fn new(space: &KeySpace, families: &Families, key: &SeriesKey) -> Self {
        let name = Segment(key.as_str());
        let series = if families.covers(key) { space.key(name) } else { space.key(format_args!("ts:{name}")) };
        Self {
            head: series.sibling("ts:head"),
            chunks: series.sibling("ts:chunks"),
            blocks: series.sibling("ts:rollups"),
            hash: series,
            kept: Backend::Native,
        }
    }

    /// `ts:moved:{<series>}` and so on: a native series or one of the module that is on its way into the other backend.
    /// They expire.
    pub(super) fn of_copy(&self) -> Self {
        Self {
            hash: self.hash.sibling("ts:moved"),
            head: self.hash.sibling("ts:moved:head"),
            chunks: self.hash.sibling("ts:moved:chunks"),
            blocks: self.hash.sibling("ts:moved:rollups"),
            kept: Backend::Native,
        }
    }

    /// The keys of the same series in the module.
    pub(super) fn in_module(self) -> Self {
        Self { hash: self.hash.sibling("ts:definition"), head: self.hash, kept: Backend::Module, ..self }
    }
}

/// The lists of series, in one cluster slot. None has an expiry of its own; series that are gone are taken off by reads
/// and by registrations.
#[derive(Clone, Debug)]
pub(super) struct IndexKeys {
    /// `timeseries:index`: sorted set of the names of all series, all with score 0, for lists in byte order.
    pub names: Key,
    /// `timeseries:labels:{timeseries:index}`: hash, the labels under which a series is found, JSON; so that it can be
    /// taken from under them when it is gone.
    pub labels: Key,
    /// `timeseries:postings:{timeseries:index}`: sorted set of `label NUL value NUL series`, all with score 0: the series
    /// with a label lie together, in byte order.
    pub postings: Key,
}

/// `timeseries:{backend}`: string, `native` or `module`: where the deployment keeps its series. No expiry, nobody deletes it.
pub(super) fn record(space: &KeySpace) -> Key {
    space.key("timeseries:{backend}")
}

impl IndexKeys {
    pub(super) fn new(space: &KeySpace) -> Self {
        let names = space.key("timeseries:index");
        Self { labels: names.sibling("timeseries:labels"), postings: names.sibling("timeseries:postings"), names }
    }
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
            SeriesKeys::new(&space, &families, &key).hash.as_str().to_owned()
        };
        assert_eq!(name("energy:generation:m 1"), "p:energy:generation:m%201");
        assert_eq!(name("lock:a"), "p:ts:lock:a");
        assert_eq!(name("head:{x}"), "p:ts:head:%7Bx%7D");
    }
}
