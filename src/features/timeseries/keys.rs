//! The Redis keys of a series, and of the index of all series.

use super::families::Families;
use super::series::SeriesKey;
use crate::redis::{Backend, Key, KeySpace, Segment};

/// The keys of one series, in one cluster slot. `<series>` is the key itself for series of a family, such as
/// `energy:consumption:<meter>`, and `ts:<key>` for all others. All keys expire together, a little after the longest of the
/// series' retention, one day and the retention of its rollups has passed since the last write; with a
/// retention of 0 they do not expire.
#[derive(Clone, Debug)]
pub(super) struct SeriesKeys {
    /// `<series>`: hash of `retention_ms`, `duplicate_policy`, `labels`, `created`, `sealed` (samples in sealed chunks),
    /// `sealed_bytes`, `plain` and `listed`; with rollups also their list and state (`rollup_state.lua`). In the module
    /// `ts:definition:{<series>}`, with `trims` (writes trim the samples, not the module) instead of the fields of sealed chunks.
    pub hash: Key,
    /// `ts:head:{<series>}`: string, the newest chunk. It is never empty and grows by APPEND, so that a sample costs
    /// its own 16 bytes in the append-only file, not those of its chunk. In the module `<series>`: all samples, for TS.RANGE.
    pub head: Key,
    /// `ts:chunks:{<series>}`: sorted set of sealed chunks, the bytes of a chunk as the member, its first timestamp as the
    /// score. Trimmed by writes. Unused in the module.
    pub chunks: Key,
    /// `ts:rollups:{<series>}`: hash, the buckets of rollups in blocks (`rollup/blocks.rs`). Trimmed when rollups are filled,
    /// deleted with the last rollup.
    pub blocks: Key,
    pub layout: Backend,
}

impl SeriesKeys {
    /// The series of a family keep the platform's names. The others are below `ts:`, where they cannot collide with any
    /// other key: those of [`SeriesKeys`] have a brace after `ts:head:` and the like, and escaped names have no braces.
    pub(super) fn new(space: &KeySpace, families: &Families, key: &SeriesKey, layout: Backend) -> Self {
        let name = Segment(key.as_str());
        let series = if families.covers(key) { space.key(name) } else { space.key(format_args!("ts:{name}")) };
        let (chunks, blocks) = (series.sibling("ts:chunks"), series.sibling("ts:rollups"));
        match layout {
            Backend::Native => Self { head: series.sibling("ts:head"), hash: series, chunks, blocks, layout },
            Backend::Module => Self { hash: series.sibling("ts:definition"), head: series, chunks, blocks, layout },
        }
    }

    /// `ts:fence:{<series>}`: integer, the highest fencing token seen. Expires `fencing.outlive` after the series, or
    /// a year after the last write with a token if the series has no retention.
    pub(super) fn fence(&self) -> Key {
        self.series().sibling("ts:fence")
    }

    /// `ts:moved:{<series>}` and the like: the native copy of a series that is moving to the other layout. They expire.
    pub(super) fn of_copy(&self) -> Self {
        let series = self.series();
        Self {
            hash: series.sibling("ts:moved"),
            head: series.sibling("ts:moved:head"),
            chunks: series.sibling("ts:moved:chunks"),
            blocks: series.sibling("ts:moved:rollups"),
            layout: Backend::Native,
        }
    }

    /// The keys that expire together, in the order in which scripts expect them.
    pub(super) fn all(&self) -> [&Key; 4] {
        [&self.hash, &self.head, &self.chunks, &self.blocks]
    }

    /// `<series>`, which holds another type in each layout.
    fn series(&self) -> &Key {
        match self.layout {
            Backend::Native => &self.hash,
            Backend::Module => &self.head,
        }
    }
}

/// The keys of the index of series, in one cluster slot. They do not expire; reads and registrations remove the series that
/// no longer exist.
#[derive(Clone, Debug)]
pub(super) struct IndexKeys {
    /// `timeseries:index`: sorted set of the names of all series, all with score 0, which lists them in byte order.
    pub names: Key,
    /// `timeseries:labels:{timeseries:index}`: hash, the labels under which the index has a series, JSON, so that its
    /// postings can be removed when the series no longer exists.
    pub labels: Key,
    /// `timeseries:postings:{timeseries:index}`: sorted set of `label NUL value NUL series`, all with score 0: the series
    /// with a label are adjacent, in byte order.
    pub postings: Key,
}

/// `timeseries:{backend}`: string, `native` or `module`: the layout of the deployment's series. It does not expire and is never
/// deleted.
pub(super) fn record(space: &KeySpace) -> Key {
    space.key("timeseries:{backend}")
}

impl IndexKeys {
    pub(super) fn new(space: &KeySpace) -> Self {
        let names = space.key("timeseries:index");
        Self { labels: names.sibling("timeseries:labels"), postings: names.sibling("timeseries:postings"), names }
    }

    /// The keys in the order in which scripts expect them.
    pub(super) fn all(&self) -> [&Key; 3] {
        [&self.names, &self.labels, &self.postings]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn series_of_families_keep_their_names_and_others_have_a_prefix() {
        let config = Config::with_overrides("").and_then(|config| config.section()).expect("valid defaults");
        let families = Families::new(&config);
        let space = KeySpace::new("p:");
        let name = |key: &str| {
            let key = SeriesKey::new(key).expect("a key");
            SeriesKeys::new(&space, &families, &key, Backend::Native).hash.as_str().to_owned()
        };
        assert_eq!(name("energy:generation:m 1"), "p:energy:generation:m%201");
        assert_eq!(name("lock:a"), "p:ts:lock:a");
        assert_eq!(name("head:{x}"), "p:ts:head:%7Bx%7D");
    }
}
