//! The Redis keys of host metrics. The keys of one host's history share a cluster slot, as the scripts require.

use super::super::model::HostId;
use super::super::tenancy::Organisation;
use crate::redis::{Key, KeySpace, Segment};

#[derive(Clone, Debug)]
pub(in super::super) struct HostKeys {
    space: KeySpace,
}

/// A host's history.
#[derive(Clone, Debug)]
pub(in super::super) struct HistoryKeys {
    /// Sorted set of chunks, scored by their first timestamp. Trimmed to `hosts.retention` by every write; expires a day
    /// after its newest sample would be trimmed.
    pub chunks: Key,
    /// Hash from the first millisecond of each unpacked hour to the number of the chunk last written to it. The field
    /// `chunks` has the number of the last chunk of any hour. Expires with the chunks; packing an hour removes its field.
    pub hours: Key,
    /// Sorted set of hourly rollups, scored by their first millisecond. Trimmed to `hosts.rollup_retention` whenever one
    /// is written and by the cleanup; expires a day after its newest rollup would be trimmed.
    pub hourly: Key,
    /// Sorted set of daily rollups, with the scores and lifetimes of `hourly`.
    pub daily: Key,
    /// Hash from the first millisecond of each day with hours packed since its rollup to the number of the last chunk of
    /// these hours. Expires with the rollups; rolling a day up removes its field.
    pub days: Key,
}

/// How long histories and rollups outlive their retention, milliseconds, so that the newest samples of a silent host do
/// not expire early.
pub(in super::super) const EXPIRY_MARGIN: u64 = 24 * 3_600_000;

/// The deletions that are remembered for replicas that have such a host in memory, and for how long, milliseconds. Replicas
/// ask every other second.
pub(in super::super) const DELETIONS: usize = 1_000;
pub(in super::super) const DELETIONS_LIFE: u64 = 3_600_000;

/// The field of `hours` that counts chunks.
pub(in super::super) const LAST_CHUNK: &str = "chunks";

/// `metrics:deleted:{<key>}` - string, Unix milliseconds: when the host with this history, or this newest sample, was deleted.
/// Expires when everything that was reported before would be trimmed.
pub(in super::super) fn deleted(of: &Key) -> Key {
    of.sibling("metrics:deleted")
}

impl HostKeys {
    pub(in super::super) fn new(space: &KeySpace) -> Self {
        Self { space: space.clone() }
    }

    /// `metrics:current:<host>` - string, JSON: the newest sample and its agent. Expires an hour after it was written.
    pub(in super::super) fn current(&self, host: &HostId) -> Key {
        self.space.key(format_args!("metrics:current:{}", host.as_str()))
    }

    /// `metrics:history:<host>` and the keys that belong to it.
    pub(in super::super) fn history(&self, host: &HostId) -> HistoryKeys {
        let chunks = self.space.key(format_args!("metrics:history:{}", host.as_str()));
        HistoryKeys {
            hours: chunks.sibling("metrics:hours"),
            hourly: chunks.sibling("metrics:hourly"),
            daily: chunks.sibling("metrics:daily"),
            days: chunks.sibling("metrics:days"),
            chunks,
        }
    }

    /// `metrics:owner:<host>` - string, the organisation. Removed with the last data of the host. In all keys `<host>` is the
    /// stored form of [`HostId`]: `name`, or `name!organisation`.
    pub(in super::super) fn owner(&self, host: &HostId) -> Key {
        self.space.key(format_args!("metrics:owner:{}", host.as_str()))
    }

    /// `metrics:hosts` - set of all hosts. A host is removed together with its owner.
    pub(in super::super) fn hosts(&self) -> Key {
        self.space.key("metrics:hosts")
    }

    /// `metrics:deletions` - stream with the field `host`: the newest [`DELETIONS`] deletions. Expires an hour after the last one.
    pub(in super::super) fn deletions(&self) -> Key {
        self.space.key("metrics:deletions")
    }

    /// `metrics:last_cleanup` - string, Unix milliseconds: when a cleanup last reported progress. Never expires.
    pub(in super::super) fn last_cleanup(&self) -> Key {
        self.space.key("metrics:last_cleanup")
    }

    /// `metrics:index` - sorted set of all hosts with equal scores, which is read in the order of names.
    pub(in super::super) fn index(&self) -> Key {
        self.space.key("metrics:index")
    }

    /// `metrics:index:<organisation>` - sorted set of the hosts of one organisation.
    pub(in super::super) fn index_of(&self, organisation: &Organisation) -> Key {
        self.space.key(format_args!("metrics:index:{}", Segment(organisation.as_str())))
    }
}
