//! Wire types: what a list of minutes lacks, and why.

use serde::Serialize;
use utoipa::ToSchema;

use crate::clock::UnixMillis;

/// Why minutes are not in a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = MarketGapReason)]
pub(super) enum GapReason {
    /// There were no trades.
    NoTrades,
    /// The service did not record the symbol yet.
    BeforeStart,
    /// The manifest names a file that does not exist.
    MissingFile,
    /// A file has other bytes than were written.
    Damaged,
    /// The files were deleted because of `archive.retention`.
    Deleted,
    /// The directory cannot be read.
    Unavailable,
    /// Another directory keeps the files of the symbol.
    OtherStore,
}

/// A time whose minutes are not in a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = MarketGap)]
pub(super) struct Gap {
    /// The beginning of the first minute, Unix milliseconds.
    pub from: UnixMillis,
    /// The end of the last minute.
    pub to: UnixMillis,
    pub reason: GapReason,
}

impl Gap {
    /// Adds a gap to others, and joins it to the last one if they are neighbours with one reason.
    pub(super) fn push(gaps: &mut Vec<Self>, gap: Self) {
        match gaps.last_mut() {
            Some(last) if last.to == gap.from && last.reason == gap.reason => last.to = gap.to,
            _ => gaps.push(gap),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = MarketSourceState)]
pub(super) enum SourceState {
    Available,
    /// Its minutes are not in the list.
    Unavailable,
}

impl SourceState {
    pub(super) const fn of(is_available: bool) -> Self {
        if is_available { Self::Available } else { Self::Unavailable }
    }
}

/// Where minutes come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = MarketSources)]
pub(super) struct Sources {
    /// Redis.
    pub hot: SourceState,
    /// Files.
    pub cold: SourceState,
}

/// How complete a list is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = MarketCoverage)]
pub(super) struct Coverage {
    /// Whether minutes may be missing because Redis or the directory cannot be read.
    pub partial: bool,
    /// Minutes with trades that cannot be read, by time.
    pub gaps: Vec<Gap>,
    pub sources: Sources,
}

impl Coverage {
    pub(super) fn new(gaps: Vec<Gap>, sources: Sources) -> Self {
        let partial = [sources.hot, sources.cold].contains(&SourceState::Unavailable);
        Self { partial, gaps, sources }
    }

    /// Adds that of the next page.
    pub(super) fn join(&mut self, next: Self) {
        self.partial |= next.partial;
        for gap in next.gaps {
            Gap::push(&mut self.gaps, gap);
        }
        self.sources = next.sources;
    }
}
