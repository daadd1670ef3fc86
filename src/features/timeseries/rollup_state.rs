//! What the rollups of a series hold, and what they do not.

use super::aggregate::Grid;
use super::rollup_rule::{Rule, RuleText, UnknownRule};
use super::window::Window;
use crate::clock::UnixMillis;

/// The rollups of a series at one moment.
#[derive(Clone, Debug)]
pub(super) struct RollupState {
    /// The list as it is stored.
    pub(super) list: String,
    pub(super) rules: Vec<Rule>,
    /// Another one after every filling.
    pub(super) revision: i64,
    /// Rollups are filled before this time ...
    pub(super) rolled: UnixMillis,
    /// ... but for these windows.
    pub(super) unrolled: Vec<Window>,
    /// From this time on they are filled.
    from: UnixMillis,
    /// Samples before this time were trimmed.
    trimmed: UnixMillis,
    /// Of the samples; 0 for ever.
    pub(super) retention_ms: u64,
    /// The newest sample.
    pub(super) newest: Option<UnixMillis>,
}

impl RollupState {
    /// `times` are those of `rollup_state.lua`: rolled, from, trimmed, retention, newest.
    ///
    /// # Errors
    /// [`UnknownRule`].
    pub(super) fn new(
        list: String,
        revision: i64,
        unrolled: &str,
        (rolled, from, trimmed, retention_ms, newest): (i64, i64, i64, i64, i64),
    ) -> Result<Self, UnknownRule> {
        let texts: Vec<RuleText> =
            serde_json::from_str(&list).map_err(|error| UnknownRule(format!("{list}: {error}")))?;
        let unrolled: Option<Vec<Window>> = unrolled
            .split_terminator(',')
            .map(|mark| {
                let (from, to) = mark.split_once(':')?;
                Some(Window { from: from.parse().ok()?, to: to.parse().ok()? })
            })
            .collect();
        Ok(Self {
            rules: texts.into_iter().map(Rule::new).collect::<Result<_, _>>()?,
            list,
            revision,
            rolled,
            unrolled: unrolled.ok_or_else(|| UnknownRule("its changes".to_owned()))?,
            from,
            trimmed,
            retention_ms: retention_ms.unsigned_abs(),
            newest: Some(newest).filter(|newest| *newest >= 0),
        })
    }

    /// Whether rollups hold all that they are to hold.
    pub(super) fn is_complete(&self) -> bool {
        self.unrolled.is_empty() || self.newest.is_none()
    }

    /// The oldest time that retention still shows.
    pub(super) fn floor(&self) -> UnixMillis {
        match (self.newest, i64::try_from(self.retention_ms)) {
            (Some(newest), Ok(retention)) if retention > 0 => (newest - retention).max(0),
            _ => 0,
        }
    }

    /// Whether a change at `time` is one of buckets that begin before the floor: what is out of sight they were not filled
    /// from, and should the newest samples be deleted, it comes into sight again.
    pub(super) fn begins_before(&self, time: UnixMillis, floor: UnixMillis) -> bool {
        time < floor || self.rules.iter().any(|rule| rule.grid.clone().bucket(time).start < floor)
    }

    /// The oldest time of a rule's buckets.
    pub(super) fn floor_of(&self, rule: &Rule) -> UnixMillis {
        match (self.newest, rule.retention(self.retention_ms)) {
            (Some(newest), Some(retention)) => (newest - retention).max(0),
            _ => 0,
        }
    }

    /// The stretches of time, ends not included, in which a rule's buckets are what its samples give; whole buckets.
    pub(super) fn solid(&self, rule: &Rule) -> Vec<(UnixMillis, UnixMillis)> {
        // Where samples are gone that retention would show again, only buckets that outlive them are left.
        let trimmed = if rule.outlives(self.retention_ms) { 0 } else { self.trimmed };
        let start = self.floor().max(self.floor_of(rule)).max(self.from).max(trimmed);
        let mut marks = self.unrolled.clone();
        marks.sort_by_key(|mark| mark.from);
        let mut grid = rule.grid.clone();
        let (mut solid, mut at) = (Vec::new(), start);
        let end = Window { from: self.rolled, to: i64::MAX - 1 };
        for mark in marks.into_iter().chain([end]) {
            solid.extend(whole_buckets(&mut grid, at, mark.from.min(self.rolled)));
            at = at.max(mark.to + 1);
        }
        solid
    }
}

/// The part of a stretch that whole buckets cover.
pub(super) fn whole_buckets(grid: &mut Grid, start: UnixMillis, end: UnixMillis) -> Option<(UnixMillis, UnixMillis)> {
    if start >= end {
        return None;
    }
    let first = grid.bucket(start);
    let start = if first.start == start { start } else { first.end };
    let end = grid.bucket(end).start;
    (start < end).then_some((start, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(unrolled: &str, times: (i64, i64, i64, i64, i64)) -> RollupState {
        let list = r#"[{"bucket":"10ms","agg":"sum"},{"bucket":"10ms","agg":"sum","retention_ms":0}]"#;
        RollupState::new(list.to_owned(), 1, unrolled, times).expect("a state")
    }

    fn solid(state: &RollupState, rule: usize) -> Vec<(i64, i64)> {
        state.solid(&state.rules[rule])
    }

    #[test]
    fn whole_buckets_between_changes_are_solid() {
        assert_eq!(solid(&state("", (105, 0, 0, 0, 200)), 0), [(0, 100)]);
        assert_eq!(solid(&state("35:41,60:60,", (105, 0, 0, 0, 200)), 0), [(0, 30), (50, 60), (70, 100)]);
        assert_eq!(solid(&state("60:60,20:80,", (105, 0, 0, 0, 200)), 0), [(0, 20), (90, 100)]);
        assert_eq!(solid(&state("0:104,", (105, 0, 0, 0, 200)), 0), []);
        assert_eq!(solid(&state("", (0, 0, 0, 0, -1)), 0), []);
    }

    #[test]
    fn retention_and_trimming_cut_the_beginning() {
        assert_eq!(solid(&state("", (105, 0, 0, 150, 200)), 0), [(50, 100)]);
        assert_eq!(solid(&state("", (105, 72, 0, 150, 200)), 0), [(80, 100)]);
        assert_eq!(solid(&state("", (105, 0, 61, 150, 200)), 0), [(70, 100)]);
        assert_eq!(solid(&state("", (105, 0, 61, 150, 200)), 1), [(50, 100)]);
    }

    #[test]
    fn a_list_that_is_not_ours_is_told() {
        for list in ["", "[1]", r#"[{"bucket":"x","agg":"sum"}]"#, r#"[{"bucket":"1d","agg":"x"}]"#] {
            assert!(RollupState::new(list.to_owned(), 1, "", (0, 0, 0, 0, 0)).is_err(), "{list}");
        }
        assert!(RollupState::new("[]".to_owned(), 1, "5,", (0, 0, 0, 0, 0)).is_err());
    }
}
