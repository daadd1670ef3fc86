//! Fills rollups in from the samples, behind the writers' backs.
//!
//! One step deals with the beginning of the list of changes: it reads the samples of the buckets that were changed, and
//! stores their numbers if nobody else has filled any in meanwhile. Changes that come while it reads stand behind
//! those it deals with and make their buckets be computed once more. So several replicas may fill one series: one
//! of them is faster, and the others look again.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::super::aggregate::{End, Fold, Grid, Pass, Slots, fold};
use super::super::backend::{SamplePage, Store};
use super::super::error::TimeseriesError;
use super::super::keys::SeriesKeys;
use super::super::rollup_rule::Rule;
use super::super::rollup_state::RollupState;
use super::super::scripts::Commit;
use super::super::series::{Sample, SeriesKey};
use super::super::window::{Order, Window};
use super::blocks::{self, Blocks};
use crate::clock::UnixMillis;
use crate::lifecycle::Tasks;
use crate::redis::Effect;

const NAME: &str = "timeseries.rollups";

/// Series in one round, so that none waits for all of another one's past.
const SERIES: usize = 16;

/// The most blocks of a rollup that one step replaces, or trims.
const BLOCKS: i64 = 2_048;

/// How long the filling rests after a fault of Redis. Nobody waits for it.
const REST: Duration = Duration::from_secs(1);

#[derive(Clone, Debug)]
pub(in crate::features::timeseries) struct Filling {
    backend: Store,
    /// Samples that one step reads, if that completes a bucket.
    step_samples: usize,
}

/// What one step stores.
#[derive(Debug, Default)]
struct Filled {
    fields: Vec<(String, Vec<u8>)>,
    /// What is left of the change that was dealt with.
    rest: Option<Window>,
}

impl Filling {
    pub(in crate::features::timeseries) fn new(backend: Store, step_samples: usize) -> Self {
        Self { backend, step_samples }
    }

    /// Fills with the service's start, until it stops.
    pub(in crate::features::timeseries) fn plan(&self, tasks: &Tasks) {
        let (filling, board) = (self.clone(), tasks.clone());
        tasks.plan(NAME, move |stop| async move { filling.run(stop, &board).await });
    }

    async fn run(&self, stop: CancellationToken, board: &Tasks) {
        while !stop.is_cancelled() {
            let series = self.backend.stale().take(SERIES);
            if series.is_empty() {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = self.backend.stale().added() => continue,
                }
            }
            let mut outcome = Ok(());
            for key in series {
                let filled = self.fill(&key).await;
                if !matches!(filled, Ok(false)) {
                    self.backend.note_stale(&key);
                }
                outcome = outcome.and(filled.map(|_| ()));
            }
            board.report(NAME, outcome.as_ref().map_err(ToString::to_string).copied());
            if outcome.is_err() {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(REST) => {}
                }
            }
        }
    }

    /// One step; whether there is more to do.
    async fn fill(&self, key: &SeriesKey) -> Result<bool, TimeseriesError> {
        let keys = self.backend.keys(key).await?;
        self.backend.advance_rollups(&keys).await?;
        let Some(Some(state)) = self.backend.rollups(&keys).await? else { return Ok(false) };
        let Some(&change) = state.unrolled.first() else { return Ok(false) };
        let Some(filled) = self.compute(key, &keys, &state, change).await? else { return Ok(false) };
        let rest = filled.rest.map(mark).unwrap_or_default();
        // Writers may have moved the floor while samples were read: whatever that hid lies before this one.
        let Some(Some(now)) = self.backend.rollups(&keys).await? else { return Ok(false) };
        let floor = now.floor();
        let commit = Commit {
            keys: &keys,
            revision: state.revision,
            done: &mark(change),
            rest: &rest,
            from: Some(floor).filter(|floor| state.begins_before(change.from, *floor)),
            fields: &filled.fields,
        };
        let is_first = self.backend.redis().call(&commit).await?;
        Ok(!is_first || !rest.is_empty() || state.unrolled.len() > 1)
    }

    /// The buckets of a change, from its beginning on; `None`: the series is gone.
    async fn compute(
        &self,
        key: &SeriesKey,
        keys: &SeriesKeys,
        state: &RollupState,
        change: Window,
    ) -> Result<Option<Filled>, TimeseriesError> {
        let visible = Window { from: change.from.max(state.floor()), to: change.to };
        if visible.from > visible.to || state.rules.is_empty() {
            return Ok(Some(Filled::default()));
        }
        let oldest = self.oldest(keys, &state.rules).await?;
        let Some(first) = self.backend.read(key, visible, Order::Asc, 1).await? else { return Ok(None) };
        let first = first.samples.first().map(|sample| sample.timestamp);
        // Before that there is neither a sample nor a bucket.
        let Some(begin) = first.into_iter().chain(oldest.iter().flatten().copied()).min() else {
            return Ok(Some(Filled::default()));
        };
        let begin = begin.clamp(visible.from, visible.to);
        let shortest = state.rules.iter().map(|rule| Blocks::of(rule).span).min().unwrap_or(1);
        let last = visible.to.min(begin.saturating_add(shortest.saturating_mul(BLOCKS)));
        let mut jobs: Vec<Job> = state
            .rules
            .iter()
            .zip(oldest)
            .map(|(rule, oldest)| Job::new(rule, oldest, Window { from: begin, to: last }, state))
            .collect();
        let Some(cut) = self.feed(key, &mut jobs, begin).await? else { return Ok(None) };
        let rest = Window { from: cut.unwrap_or(last + 1), to: change.to };
        let mut fields = Vec::new();
        for job in jobs {
            job.store(self, keys, &mut fields).await?;
        }
        Ok(Some(Filled { fields, rest: Some(rest).filter(|rest| rest.from <= rest.to) }))
    }

    /// Reads the samples of all jobs; where a step has read enough: the time up to which all of them are complete.
    async fn feed(
        &self,
        key: &SeriesKey,
        jobs: &mut [Job],
        begin: UnixMillis,
    ) -> Result<Option<Option<UnixMillis>>, TimeseriesError> {
        let from = jobs.iter().map(|job| job.from).min().unwrap_or_default();
        let to = jobs.iter().map(|job| job.until - 1).max().unwrap_or_default();
        let (mut rest, mut read) = (Some(Window { from, to }).filter(|window| from <= window.to), 0);
        while let Some(window) = rest {
            let found = self.backend.read(key, window, Order::Asc, usize::MAX).await?;
            let Some(SamplePage { samples, rest: left }) = found else { return Ok(None) };
            for job in &mut *jobs {
                job.feed(&samples);
            }
            read += samples.len();
            if let (true, Some(_), Some(reached)) = (read >= self.step_samples, left, samples.last()) {
                let complete = jobs.iter_mut().map(|job| job.grid.bucket(reached.timestamp).start).min();
                if let Some(cut) = complete.filter(|cut| *cut > begin) {
                    for job in jobs {
                        job.until = job.until.min(job.grid.bucket(reached.timestamp).start);
                    }
                    return Ok(Some(Some(cut)));
                }
            }
            rest = left;
            // Requests of this worker go in between.
            tokio::task::yield_now().await;
        }
        for job in jobs {
            job.fold.finish(None, &mut job.slots);
        }
        Ok(Some(None))
    }

    /// Where the oldest block of each rollup starts.
    async fn oldest(&self, keys: &SeriesKeys, rules: &[Rule]) -> Result<Vec<Option<UnixMillis>>, TimeseriesError> {
        let fields: Vec<String> = rules.iter().map(|rule| Blocks::of(rule).oldest_field()).collect();
        let command = redis::cmd("HMGET").arg(&keys.blocks).arg(fields).to_owned();
        Ok(self.backend.redis().query(&command, Effect::Read).await?)
    }

    async fn block(&self, keys: &SeriesKeys, field: &str) -> Result<Vec<u8>, TimeseriesError> {
        let command = redis::cmd("HGET").arg(&keys.blocks).arg(field).to_owned();
        let bytes: Option<Vec<u8>> = self.backend.redis().query(&command, Effect::Read).await?;
        Ok(bytes.unwrap_or_default())
    }
}

/// What one step computes for one rollup.
struct Job {
    blocks: Blocks,
    oldest: Option<UnixMillis>,
    /// The oldest time of its buckets.
    floor: UnixMillis,
    grid: Grid,
    /// Which buckets are computed, `until` not included.
    from: UnixMillis,
    until: UnixMillis,
    fold: Box<dyn Fold>,
    slots: Slots,
}

impl Job {
    fn new(rule: &Rule, oldest: Option<UnixMillis>, changed: Window, state: &RollupState) -> Self {
        let mut grid = rule.grid.clone();
        let floor = state.floor().max(state.floor_of(rule));
        let first = grid.bucket(changed.from.max(floor));
        // A bucket without all its samples stays as it was.
        let from = if first.start < floor { first.end } else { first.start };
        let until = grid.bucket(changed.to).end.max(from);
        let window = Window { from, to: until - 1 };
        let pass = Pass { grid: grid.clone(), window, segment: window, bridges: false };
        Self {
            blocks: Blocks::of(rule),
            oldest,
            floor: state.floor_of(rule),
            from,
            until,
            fold: fold(rule.aggregation, None, pass, None),
            slots: Slots::new(End::Oldest, usize::MAX),
            grid,
        }
    }

    fn feed(&mut self, samples: &[Sample]) {
        let at = |time| samples.partition_point(|sample| sample.timestamp < time);
        let own = samples.get(at(self.from)..at(self.until)).unwrap_or_default();
        self.fold.feed(own, &mut self.slots);
    }

    /// Adds the fields that hold the new buckets, in the place of all that began in the same time.
    async fn store(
        self,
        filling: &Filling,
        keys: &SeriesKeys,
        fields: &mut Vec<(String, Vec<u8>)>,
    ) -> Result<(), TimeseriesError> {
        let Self { blocks, oldest, floor, from, until, slots, .. } = self;
        let new: Vec<Sample> = slots
            .list
            .iter()
            .map(|slot| Sample { timestamp: slot.bucket.start, value: slot.number.float() })
            .filter(|bucket| bucket.timestamp < until)
            .collect();
        let first = new.first().map(|bucket| blocks.start(bucket.timestamp));
        if let Some(begin) = first.into_iter().chain(oldest).min() {
            for start in blocks.starts(begin.max(from), until) {
                let end = start.saturating_add(blocks.span);
                let mut buckets = Vec::new();
                if start < from || end > until {
                    let bytes = filling.block(keys, &blocks.field(start)).await?;
                    if !bytes.is_empty() {
                        blocks::decode(&bytes, Window { from: start, to: end - 1 }, &mut buckets)?;
                    }
                    buckets.retain(|bucket| !(from..until).contains(&bucket.timestamp));
                }
                buckets.extend(new.iter().filter(|bucket| (start..end).contains(&bucket.timestamp)));
                buckets.sort_by_key(|bucket| bucket.timestamp);
                fields.push((blocks.field(start), blocks::encode(&buckets)?));
            }
        }
        let kept = blocks.start(floor);
        let mut trimmed = oldest;
        if let Some(oldest) = oldest.filter(|oldest| *oldest < kept) {
            let end = kept.min(oldest.saturating_add(blocks.span.saturating_mul(BLOCKS)));
            fields.extend(blocks.starts(oldest, end).map(|start| (blocks.field(start), Vec::new())));
            trimmed = Some(end);
        }
        let now_oldest = first.into_iter().chain(trimmed).min();
        if let Some(start) = now_oldest.filter(|_| now_oldest != oldest) {
            fields.push((blocks.oldest_field(), start.to_string().into_bytes()));
        }
        Ok(())
    }
}

/// A change as the list has it.
fn mark(change: Window) -> String {
    format!("{}:{},", change.from, change.to)
}
