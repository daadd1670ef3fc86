//! A rollup as a query reads it.

use super::super::aggregate::{Aggregation, Grid};
use super::super::backend::Store;
use super::super::error::TimeseriesError;
use super::super::keys::SeriesKeys;
use super::super::rollup_rule::{self, Fit, Rule};
use super::super::rollup_state::{RollupState, whole_buckets};
use super::super::series::{Sample, SeriesKey};
use super::super::window::Window;
use super::blocks::{self, Blocks};
use crate::clock::UnixMillis;
use crate::redis::Effect;

/// Blocks of one read: with 256 buckets each they are a fraction of a MiB.
const BLOCKS: i64 = 64;

/// The rollup that answers a query, and when.
#[derive(Debug)]
pub(in crate::features::timeseries) struct RollupView<'a> {
    backend: &'a Store,
    keys: SeriesKeys,
    rule: Rule,
    fit: Fit,
    blocks: Blocks,
    /// Where the oldest block starts.
    oldest: UnixMillis,
    /// Where its buckets are to be used; ends not included.
    solid: Vec<(UnixMillis, UnixMillis)>,
    /// The one of them whose samples have expired.
    outlived: Option<(UnixMillis, UnixMillis)>,
}

/// The next part of a window.
#[derive(Debug)]
pub(in crate::features::timeseries) enum WindowPart {
    /// Read the samples.
    Samples(Window),
    /// Take these, which are finished buckets by their starts, up to a time that is not included.
    Buckets { values: Vec<Sample>, until: UnixMillis },
}

impl<'a> RollupView<'a> {
    /// The rollup that answers a query for buckets, if there is one; of several, the one with the longest buckets.
    ///
    /// # Errors
    /// [`TimeseriesError`].
    pub(in crate::features::timeseries) async fn open(
        backend: &'a Store,
        key: &SeriesKey,
        aggregation: Aggregation,
        grid: &Grid,
    ) -> Result<Option<Self>, TimeseriesError> {
        if !rollup_rule::is_possible(aggregation) {
            return Ok(None);
        }
        let keys = backend.keys(key).await?;
        let Some(Some(state)) = backend.rollups(&keys).await? else { return Ok(None) };
        if !state.unrolled.is_empty() {
            backend.note_stale(key);
        }
        let fitting = state.rules.iter().filter_map(|rule| Some((rule, rule.fit(aggregation, grid)?)));
        let longest = fitting.max_by_key(|(rule, _)| Blocks::of(rule).span);
        let Some((rule, fit)) = longest else { return Ok(None) };
        let blocks = Blocks::of(rule);
        let field = redis::cmd("HGET").arg(&keys.blocks).arg(blocks.oldest_field()).to_owned();
        let Some(oldest) = backend.redis().query::<Option<i64>>(&field, Effect::Read).await? else { return Ok(None) };
        let (rule, solid) = (rule.clone(), state.solid(rule));
        let mut view = Self { backend, keys, rule, fit, blocks, oldest, solid, outlived: None };
        view.outlived = view.outlived(&state).await?;
        view.solid.splice(0..0, view.outlived);
        Ok(Some(view))
    }

    pub(in crate::features::timeseries) fn is_same(&self) -> bool {
        self.fit == Fit::Same
    }

    /// The first part of what is left of a window.
    ///
    /// # Errors
    /// [`TimeseriesError`].
    pub(in crate::features::timeseries) async fn next(&mut self, rest: Window) -> Result<WindowPart, TimeseriesError> {
        let end = rest.to.saturating_add(1);
        for &(start, stop) in &self.solid {
            let solid = whole_buckets(&mut self.rule.grid, start.max(rest.from), stop.min(end));
            let Some((start, stop)) = solid else { continue };
            if start > rest.from {
                return Ok(WindowPart::Samples(Window { from: rest.from, to: start - 1 }));
            }
            let far = self.rule.grid.bucket(start.max(self.oldest).saturating_add(BLOCKS * self.blocks.span)).start;
            let until = stop.min(far);
            return Ok(match self.load(start, until).await? {
                Some(values) => WindowPart::Buckets { values, until },
                // The rollup is gone meanwhile.
                None => WindowPart::Samples(rest),
            });
        }
        Ok(WindowPart::Samples(rest))
    }

    /// The newest bucket before a time whose samples have expired.
    ///
    /// # Errors
    /// [`TimeseriesError`].
    pub(in crate::features::timeseries) async fn newest_outlived(
        &self,
        end: UnixMillis,
    ) -> Result<Option<Sample>, TimeseriesError> {
        let Some((start, stop)) = self.outlived else { return Ok(None) };
        let (start, mut stop) = (start.max(self.oldest), stop.min(end));
        while start < stop {
            let from = start.max(stop.saturating_sub(BLOCKS * self.blocks.span));
            if let Some(newest) = self.load(from, stop).await?.unwrap_or_default().pop() {
                return Ok(Some(newest));
            }
            stop = from;
        }
        Ok(None)
    }

    /// Where buckets are left of samples that have expired. The bucket that retention cuts through is one of them, if it
    /// was filled while it had all its samples.
    async fn outlived(&mut self, state: &RollupState) -> Result<Option<(UnixMillis, UnixMillis)>, TimeseriesError> {
        let floor = state.floor();
        if !self.rule.outlives(state.retention_ms) || floor == 0 {
            return Ok(None);
        }
        let cut = self.rule.grid.bucket(floor);
        let kept = cut.start < floor && self.load(cut.start, cut.end).await?.is_some_and(|found| !found.is_empty());
        let end = if kept { cut.end } else { cut.start };
        let start = state.floor_of(&self.rule);
        Ok(whole_buckets(&mut self.rule.grid, start, end))
    }

    /// Buckets that begin from one time to another one, not included; `None`: the rollup is gone.
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
            blocks::decode(bytes, Window { from, to: until - 1 }, &mut values)?;
        }
        Ok(Some(values))
    }
}
