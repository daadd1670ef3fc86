//! The keys of host metrics. Those of one host's history share a cluster slot; no script needs more than that.

use crate::features::hosts::model::HostId;
use crate::features::hosts::organisation::Organisation;
use crate::redis::{Key, KeySpace, Segment};

#[derive(Clone, Debug)]
pub(in crate::features::hosts) struct HostKeys {
    space: KeySpace,
}

/// A host's history.
#[derive(Clone, Debug)]
pub(in crate::features::hosts) struct HistoryKeys {
    /// Sorted set of chunks, scored by their first timestamp. Trimmed to `hosts.retention` by every write; expires a day
    /// after its newest sample would be trimmed.
    pub chunks: Key,
    /// Hash: first millisecond of an hour that is not packed, and the number of the chunk that was last written to it;
    /// `chunks` has the number of the last one of all. Expires with the chunks; packing an hour removes its field.
    pub hours: Key,
    /// Sorted set of rollups of hours, scored by their first millisecond. Trimmed to `hosts.rollup_retention` whenever one
    /// is written and by the cleanup; expires a day after its newest would be trimmed.
    pub hourly: Key,
    /// The same, of days.
    pub daily: Key,
    /// Hash: first millisecond of a day with hours that were packed since it was rolled up, and the number of the last
    /// chunk of these. Expires with the rollups; rolling a day up removes its field.
    pub days: Key,
}

/// The field of `hours` that numbers chunks.
pub(in crate::features::hosts) const LAST_CHUNK: &str = "chunks";

impl HostKeys {
    pub(in crate::features::hosts) fn new(space: &KeySpace) -> Self {
        Self { space: space.clone() }
    }

    /// `metrics:current:<host>` - string, JSON: the newest sample and its agent. Expires after `hosts.current_life`.
    pub(in crate::features::hosts) fn current(&self, host: &HostId) -> Key {
        self.space.key(format_args!("metrics:current:{host}"))
    }

    /// `metrics:history:<host>` and its companions.
    pub(in crate::features::hosts) fn history(&self, host: &HostId) -> HistoryKeys {
        let chunks = self.space.key(format_args!("metrics:history:{host}"));
        HistoryKeys {
            hours: chunks.sibling("metrics:hours"),
            hourly: chunks.sibling("metrics:hourly"),
            daily: chunks.sibling("metrics:daily"),
            days: chunks.sibling("metrics:days"),
            chunks,
        }
    }

    /// `metrics:owner:<host>` - string, the organisation. Removed when nothing is kept of the host any more.
    pub(in crate::features::hosts) fn owner(&self, host: &HostId) -> Key {
        self.space.key(format_args!("metrics:owner:{host}"))
    }

    /// `metrics:hosts` - set of hosts. A host leaves it with its owner.
    pub(in crate::features::hosts) fn hosts(&self) -> Key {
        self.space.key("metrics:hosts")
    }

    /// `metrics:last_cleanup` - string, Unix milliseconds: when a cleanup was last known to be at work. Never expires.
    pub(in crate::features::hosts) fn last_cleanup(&self) -> Key {
        self.space.key("metrics:last_cleanup")
    }

    /// `metrics:index` - the same as a sorted set of equal scores, which is read in the order of names.
    pub(in crate::features::hosts) fn index(&self) -> Key {
        self.space.key("metrics:index")
    }

    /// `metrics:index:<organisation>` - the hosts of one organisation.
    pub(in crate::features::hosts) fn index_of(&self, organisation: &Organisation) -> Key {
        self.space.key(format_args!("metrics:index:{}", Segment(organisation.as_str())))
    }
}
