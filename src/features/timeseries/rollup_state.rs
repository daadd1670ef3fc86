//! The state of the rollups of a series: which buckets are filled.

use std::ops::Range;

use super::aggregate::Grid;
use super::rollup_rule::{RollupRule, RollupSpec};
use super::window::Window;
use crate::clock::UnixMillis;

/// The rollups of a series, as they were read. Empty for a series without rollups.
#[derive(Clone, Debug, Default)]
pub struct RollupState {
    /// The list of rollups, as it is stored.
    pub list: String,
    pub rules: Vec<RollupRule>,
    /// Changes with every filling.
    pub revision: i64,
    /// Rollups are filled before this time, except for `changed`.
    pub filled_until: UnixMillis,
    /// Windows before `filled_until` that changed since they were filled.
    pub changed: Vec<Window>,
    /// Rollups are filled from this time.
    pub filled_from: UnixMillis,
    /// Samples before this time may have been trimmed.
    pub trimmed_until: UnixMillis,
    /// The retention of the samples; 0 keeps all.
    pub retention_ms: u64,
    /// The time from which retention counts back: the newest timestamp, unless that is ahead of the clock; `None` for a series
    /// without samples.
    pub newest: Option<UnixMillis>,
    /// The time from which no sample was ever trimmed, even if retention hides it; `None` if it is not known.
    pub untrimmed_from: Option<UnixMillis>,
    /// The time from which samples were trimmed, until `untrimmed_from`, after rollups were filled from them.
    pub lost_from: UnixMillis,
}

impl RollupState {
    /// Parses the list of rollups and the list of changes, `from:to,from:to,`. The times are zero.
    ///
    /// # Errors
    /// The reason why a list is not valid.
    pub(super) fn parse(list: String, changed: &str) -> Result<Self, String> {
        let specs: Vec<RollupSpec> = serde_json::from_str(&list).map_err(|error| format!("{list}: {error}"))?;
        let changed: Option<Vec<Window>> = changed
            .split_terminator(',')
            .map(|window| {
                let (from, to) = window.split_once(':')?;
                Some(Window { from: from.parse().ok()?, to: to.parse().ok()? })
            })
            .collect();
        Ok(Self {
            rules: specs.into_iter().map(RollupRule::new).collect::<Result<_, _>>()?,
            list,
            changed: changed.ok_or("an invalid list of changes")?,
            ..Self::default()
        })
    }

    /// Whether all buckets that can be filled are filled.
    pub(super) fn is_complete(&self) -> bool {
        let is_filled = self.changed.is_empty() && self.filled_until >= self.floor();
        !self.rules.is_empty() && (is_filled || self.newest.is_none())
    }

    /// The oldest time within the retention of the samples.
    pub(super) fn floor(&self) -> UnixMillis {
        match (self.newest, i64::try_from(self.retention_ms)) {
            (Some(newest), Ok(retention)) if retention > 0 => (newest - retention).max(0),
            _ => 0,
        }
    }

    /// The time from which all samples exist that fill a rollup. Those of a rollup that outlives them are kept until it is filled.
    pub(super) fn source_floor(&self, rule: &RollupRule) -> UnixMillis {
        let kept = self.untrimmed_from.filter(|_| rule.outlives(self.retention_ms));
        kept.map_or_else(|| self.floor(), |kept| kept.min(self.floor()))
    }

    /// The range from which samples were trimmed that a rollup was filled from, if it keeps its buckets without them. A part of
    /// it is visible if the retention became longer since.
    pub(super) fn lost(&self, rule: &RollupRule) -> Option<Range<UnixMillis>> {
        let lost = self.lost_from..self.untrimmed_from?;
        Some(lost).filter(|lost| !lost.is_empty() && rule.keeps_its_own())
    }

    /// The time before which all buckets are filled.
    pub(super) fn first_unfilled(&self) -> UnixMillis {
        self.changed.iter().map(|change| change.from).fold(self.filled_until, UnixMillis::min)
    }

    /// The time from which rollups still need the samples: the start of the oldest bucket that is not filled, or in which
    /// retention ends, since a late sample may still fall into that.
    pub(super) fn needed_from(&self) -> UnixMillis {
        let time = self.first_unfilled().min(self.floor());
        let outliving = self.rules.iter().filter(|rule| rule.outlives(self.retention_ms));
        let starts = outliving.map(|rule| rule.grid.clone().bucket(time).start);
        starts.fold(time, UnixMillis::min).max(0)
    }

    /// Whether a change at `time` affects buckets that begin before the floor. They are not filled from the samples that
    /// retention hides, and these become visible again if the newest samples are deleted.
    pub(super) fn begins_before(&self, time: UnixMillis, floor: UnixMillis) -> bool {
        time < floor || self.rules.iter().any(|rule| rule.grid.clone().bucket(time).start < floor)
    }

    /// The oldest time of the buckets of a rollup.
    pub(super) fn floor_of(&self, rule: &RollupRule) -> UnixMillis {
        match (self.newest, rule.retention(self.retention_ms)) {
            (Some(newest), Some(retention)) => (newest - retention).max(0),
            _ => 0,
        }
    }

    /// The ranges in which the stored buckets of a rollup equal those of its samples; each has whole buckets.
    pub(super) fn valid_ranges(&self, rule: &RollupRule) -> Vec<Range<UnixMillis>> {
        // Where trimmed samples are within retention again, only rollups that outlive their samples have the buckets.
        let trimmed = if rule.outlives(self.retention_ms) { 0 } else { self.trimmed_until };
        let lost = self.untrimmed_from.filter(|_| !rule.keeps_its_own()).unwrap_or(0);
        let mut start = self.floor().max(self.floor_of(rule)).max(self.filled_from).max(trimmed).max(lost);
        let mut changed = self.changed.clone();
        changed.sort_by_key(|window| window.from);
        let mut grid = rule.grid.clone();
        let mut ranges = Vec::new();
        let end = Window { from: self.filled_until, to: i64::MAX - 1 };
        for window in changed.into_iter().chain([end]) {
            ranges.extend(whole_buckets(&mut grid, start..window.from.min(self.filled_until)));
            start = start.max(window.to + 1);
        }
        ranges
    }
}

/// The part of a range that whole buckets cover.
pub(super) fn whole_buckets(grid: &mut Grid, range: Range<UnixMillis>) -> Option<Range<UnixMillis>> {
    if range.is_empty() {
        return None;
    }
    let first = grid.bucket(range.start);
    let start = if first.start == range.start { first.start } else { first.end };
    let end = grid.bucket(range.end).start;
    (start < end).then_some(start..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `times`: filled until, filled from, trimmed until, retention, newest or -1.
    fn state(changed: &str, times: [i64; 5]) -> RollupState {
        let list = r#"[{"bucket":"10ms","agg":"sum"},{"bucket":"10ms","agg":"sum","retention_ms":0}]"#;
        let [filled_until, filled_from, trimmed_until, retention_ms, newest] = times;
        let (retention_ms, newest) = (retention_ms.unsigned_abs(), Some(newest).filter(|newest| *newest >= 0));
        let parsed = RollupState::parse(list.to_owned(), changed).expect("a state");
        RollupState { filled_until, filled_from, trimmed_until, retention_ms, newest, ..parsed }
    }

    fn valid(state: &RollupState, rule: usize) -> Vec<(i64, i64)> {
        state.valid_ranges(&state.rules[rule]).into_iter().map(|range| (range.start, range.end)).collect()
    }

    #[test]
    fn whole_buckets_between_changes_are_valid() {
        assert_eq!(valid(&state("", [105, 0, 0, 0, 200]), 0), [(0, 100)]);
        assert_eq!(valid(&state("35:41,60:60,", [105, 0, 0, 0, 200]), 0), [(0, 30), (50, 60), (70, 100)]);
        assert_eq!(valid(&state("60:60,20:80,", [105, 0, 0, 0, 200]), 0), [(0, 20), (90, 100)]);
        assert_eq!(valid(&state("0:104,", [105, 0, 0, 0, 200]), 0), []);
        assert_eq!(valid(&state("", [0, 0, 0, 0, -1]), 0), []);
    }

    #[test]
    fn retention_and_trimming_cut_the_beginning() {
        assert_eq!(valid(&state("", [105, 0, 0, 150, 200]), 0), [(50, 100)]);
        assert_eq!(valid(&state("", [105, 72, 0, 150, 200]), 0), [(80, 100)]);
        assert_eq!(valid(&state("", [105, 0, 61, 150, 200]), 0), [(70, 100)]);
        assert_eq!(valid(&state("", [105, 0, 61, 150, 200]), 1), [(50, 100)]);
    }

    #[test]
    fn where_samples_were_trimmed_only_a_rollup_of_its_own_retention_has_buckets() {
        let state = RollupState { untrimmed_from: Some(61), ..state("", [105, 0, 0, 0, 200]) };
        assert_eq!((valid(&state, 0), valid(&state, 1)), (vec![(70, 100)], vec![(0, 100)]));
        let lost = |rule: usize| state.lost(&state.rules[rule]);
        assert_eq!((lost(0), lost(1)), (None, Some(0..61)));
    }

    #[test]
    fn an_invalid_list_is_an_error() {
        for list in ["", "[1]", r#"[{"bucket":"x","agg":"sum"}]"#, r#"[{"bucket":"1d","agg":"x"}]"#] {
            assert!(RollupState::parse(list.to_owned(), "").is_err(), "{list}");
        }
        assert!(RollupState::parse("[]".to_owned(), "5,").is_err());
    }
}
