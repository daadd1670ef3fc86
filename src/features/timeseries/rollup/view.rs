//! How a query reads a rollup.

use std::cmp::Reverse;
use std::ops::Range;

use super::super::aggregate::{Aggregation, Grid};
use super::super::backend::Store;
use super::super::chunk;
use super::super::error::TimeseriesError;
use super::super::keys::SeriesKeys;
use super::super::rollup_rule::{self, RollupFit, RollupRule};
use super::super::rollup_state::{RollupState, whole_buckets};
use super::super::series::{Sample, SeriesKey};
use super::super::window::Window;
use super::blocks::Blocks;
use crate::clock::UnixMillis;
use crate::redis::Effect;

/// The most blocks of one read: with 256 buckets each, they are a fraction of a MiB.
const BLOCKS: i64 = 64;

/// The rollup that answers a query, and the ranges in which it does.
#[derive(Debug)]
pub struct RollupView<'a> {
    backend: &'a Store,
    keys: SeriesKeys,
    rule: RollupRule,
    fit: RollupFit,
    blocks: Blocks,
    /// The start of the oldest block.
    oldest: UnixMillis,
    /// The ranges in which its buckets are valid.
    valid: Vec<Range<UnixMillis>>,
    /// Whether its buckets outlive their samples.
    outlives: bool,
    /// The start of its oldest bucket, if it outlives its samples: some that are older may be kept for others.
    begin: UnixMillis,
    /// The first of these ranges, if its samples have expired.
    without_samples: Option<Range<UnixMillis>>,
}

/// The next part of a window.
#[derive(Debug)]
pub enum WindowPart {
    /// Read the samples of this window.
    Samples(Window),
    /// Use these values of buckets, with their starts as timestamps. They cover the window until a time, excluded.
    Buckets { values: Vec<Sample>, until: UnixMillis },
}

impl<'a> RollupView<'a> {
    /// The rollup that answers a query for buckets, if there is one; of several, the one that reaches back furthest, and of
    /// these, the one with the longest buckets.
    ///
    /// # Errors
    /// [`TimeseriesError`].
    pub async fn open(
        backend: &'a Store,
        key: &SeriesKey,
        aggregation: Aggregation,
        grid: &Grid,
    ) -> Result<Option<Self>, TimeseriesError> {
        if !rollup_rule::has_rollups(aggregation) {
            return Ok(None);
        }
        let keys = backend.keys(key).await?;
        let Some(state) = backend.rollups(&keys).await? else { return Ok(None) };
        if !state.changed.is_empty() || state.filled_until < state.floor() {
            backend.note_stale(key);
        }
        let fitting: Vec<_> =
            state.rules.iter().filter_map(|rule| Some((rule, rule.fit(aggregation, grid)?))).collect();
        let mut best = None;
        for (rule, fit) in &fitting {
            let Some(view) = Self::of(backend, keys.clone(), &state, rule, *fit).await? else { continue };
            let reach = if fitting.len() > 1 { view.reach(&state).await? } else { 0 };
            let rank = (Reverse(reach), view.blocks.span);
            if best.as_ref().is_none_or(|(other, _)| *other <= rank) {
                best = Some((rank, view));
            }
        }
        let Some((_, mut view)) = best else { return Ok(None) };
        let mut state = state;
        view.without_samples = view.range_without_samples(&mut state).await?;
        view.valid = view.without_samples.iter().cloned().chain(state.valid_ranges(&view.rule)).collect();
        Ok(Some(view))
    }

    /// The view of one rollup, without its ranges; `None` if it has no buckets.
    async fn of(
        backend: &'a Store,
        keys: SeriesKeys,
        state: &RollupState,
        rule: &RollupRule,
        fit: RollupFit,
    ) -> Result<Option<Self>, TimeseriesError> {
        let blocks = Blocks::of(rule);
        let field = redis::cmd("HGET").arg(&keys.blocks).arg(blocks.oldest_field()).to_owned();
        let outlives = rule.outlives(state.retention_ms);
        let oldest = match backend.redis().query::<Option<i64>>(&field, Effect::Read).await? {
            Some(oldest) => oldest,
            // No bucket is filled yet, and some samples may only be kept for them.
            None if outlives => state.filled_until,
            None => return Ok(None),
        };
        let (mut rule, valid) = (rule.clone(), Vec::new());
        let floor = Some(state.floor_of(&rule)).filter(|floor| outlives && *floor > 0);
        let begin = floor.map_or(0, |floor| rule.grid.bucket(floor - 1).end);
        Ok(Some(Self { backend, keys, rule, fit, blocks, oldest, valid, outlives, begin, without_samples: None }))
    }

    /// The time from which its results are complete.
    async fn reach(&self, state: &RollupState) -> Result<UnixMillis, TimeseriesError> {
        let of_samples = state.floor().max(state.untrimmed_from.unwrap_or(0));
        if !self.rule.keeps_its_own() {
            return Ok(of_samples);
        }
        let first = self.load(self.oldest, self.oldest.saturating_add(self.blocks.span)).await?;
        let first = first.map(|first| first.first().map_or(self.oldest, |bucket| bucket.timestamp));
        Ok(first.map_or(of_samples, |first| first.max(state.floor_of(&self.rule)).min(of_samples)))
    }

    /// Whether its buckets outlive their samples, which are then kept until they are filled.
    pub fn outlives_samples(&self) -> bool {
        self.outlives
    }

    /// Whether a sample belongs to one of its buckets.
    pub fn has(&self, sample: Sample) -> bool {
        sample.timestamp >= self.begin
    }

    pub fn is_same(&self) -> bool {
        self.fit == RollupFit::SameBuckets
    }

    /// The first part of the window `rest`.
    ///
    /// # Errors
    /// [`TimeseriesError`].
    pub async fn next(&mut self, rest: Window) -> Result<WindowPart, TimeseriesError> {
        let end = rest.to.saturating_add(1);
        if rest.from < self.begin {
            return Ok(WindowPart::Buckets { values: Vec::new(), until: self.begin.min(end) });
        }
        for range in &self.valid {
            let range = range.start.max(rest.from)..range.end.min(end);
            let Some(range) = whole_buckets(&mut self.rule.grid, range) else { continue };
            if range.start > rest.from {
                return Ok(WindowPart::Samples(Window { from: rest.from, to: range.start - 1 }));
            }
            let start = range.start;
            let far = start.max(self.oldest).saturating_add(BLOCKS * self.blocks.span);
            let until = range.end.min(self.rule.grid.bucket(far).start);
            return Ok(match self.load(start, until).await? {
                Some(values) => WindowPart::Buckets { values, until },
                // Another client dropped the rollup.
                None => WindowPart::Samples(rest),
            });
        }
        Ok(WindowPart::Samples(rest))
    }

    /// The newest bucket that begins from `from` until `end`, excluded, and whose samples have expired.
    ///
    /// # Errors
    /// [`TimeseriesError`].
    pub async fn newest_outlived(&self, from: UnixMillis, end: UnixMillis) -> Result<Option<Sample>, TimeseriesError> {
        let Some(range) = &self.without_samples else { return Ok(None) };
        let (start, mut stop) = (range.start.max(self.oldest).max(from), range.end.min(end));
        while start < stop {
            let from = start.max(stop.saturating_sub(BLOCKS * self.blocks.span));
            if let Some(newest) = self.load(from, stop).await?.unwrap_or_default().pop() {
                return Ok(Some(newest));
            }
            stop = from;
        }
        Ok(None)
    }

    /// The range of buckets whose samples have expired. A bucket of which a part has expired belongs to it if it was filled
    /// while it had all its samples; otherwise it is noted as changed.
    async fn range_without_samples(
        &mut self,
        state: &mut RollupState,
    ) -> Result<Option<Range<UnixMillis>>, TimeseriesError> {
        let (start, floor, unfilled) = (state.floor_of(&self.rule), state.floor(), state.first_unfilled());
        let untrimmed = state.untrimmed_from.unwrap_or(floor);
        // Before this time, buckets are filled or can no longer be; after it, the samples are there.
        let limit = unfilled.clamp(untrimmed.min(floor), untrimmed.max(floor));
        if !self.rule.keeps_its_own() || limit <= start {
            return Ok(None);
        }
        let last = self.rule.grid.bucket(limit);
        let mut end = last.start;
        if last.start < limit {
            let stays = state.lost(&self.rule).is_some_and(|range| last.start < range.end && range.start < last.end);
            if (stays || last.end <= unfilled)
                && self.load(last.start, last.end).await?.is_some_and(|found| !found.is_empty())
            {
                end = last.end;
            } else {
                state.changed.push(Window { from: last.start, to: last.end - 1 });
            }
        }
        Ok(whole_buckets(&mut self.rule.grid, start..end))
    }

    /// Reads the buckets that begin from `from` until `until`, excluded. Returns `None` if the rollup no longer exists.
    async fn load(&self, from: UnixMillis, until: UnixMillis) -> Result<Option<Vec<Sample>>, TimeseriesError> {
        let mut command = redis::cmd("HMGET");
        command.arg(&self.keys.blocks).arg(self.blocks.oldest_field());
        for start in self.blocks.starts(from.max(self.oldest), until) {
            command.arg(self.blocks.field(start));
        }
        let found: Vec<Option<Vec<u8>>> = self.backend.redis().query(&command, Effect::Read).await?;
        let Some((Some(_), found)) = found.split_first() else { return Ok(None) };
        let mut values = Vec::new();
        for bytes in found.iter().flatten() {
            chunk::read(bytes, Window { from, to: until - 1 }, &mut values)?;
        }
        Ok(Some(values))
    }
}
