//! Fills rollups from the samples, in the background.
//!
//! One step takes the first window of the list of changes: it reads the samples of the buckets in it and stores their
//! values, unless another replica has stored some since. Changes that arrive while it reads come later in the list, so their
//! buckets are computed once more. Several replicas can fill one series: one of them is first, and the others read again.

use std::ops::Range;

use tokio_util::sync::CancellationToken;

use super::super::aggregate::{End, Fold, Grid, Pass, Register, Slots, fold};
use super::super::backend::{Reach, SamplePage, Store, pause};
use super::super::chunk;
use super::super::error::TimeseriesError;
use super::super::keys::SeriesKeys;
use super::super::rollup_rule::RollupRule;
use super::super::rollup_state::RollupState;
use super::super::scripts;
use super::super::series::{Sample, SeriesKey};
use super::super::window::{Order, Window};
use super::blocks::{self, Blocks};
use crate::clock::UnixMillis;
use crate::lifecycle::Tasks;
use crate::redis::Effect;

const NAME: &str = "timeseries.rollups";

/// The most blocks that one step replaces over all rollups of a series, and the most that it trims of each.
const BLOCKS: i64 = 2_048;

/// How many samples one step reads, which takes about 20 ms; more if they do not complete a bucket. Every rollup has buckets of
/// them in memory, so that a step reads fewer for several rollups.
const STEP_SAMPLES: usize = 1 << 18;

#[derive(Clone, Debug)]
pub struct RollupFiller {
    backend: Store,
}

/// The result of one step, which is to be stored.
#[derive(Debug, Default)]
struct Filled {
    fields: Vec<(String, Vec<u8>)>,
    /// The part of the window that is still to be filled.
    rest: Option<Window>,
}

impl RollupFiller {
    pub fn new(backend: Store) -> Self {
        Self { backend }
    }

    /// Plans the task that fills rollups while the service runs.
    pub fn plan(&self, tasks: &Tasks) {
        let (filler, board) = (self.clone(), tasks.clone());
        tasks.plan(NAME, move |stop| async move { filler.run(stop, &board).await });
    }

    async fn run(&self, stop: CancellationToken, board: &Tasks) {
        while let Some(series) = self.backend.stale_rollups().next(&stop).await {
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
                pause(&stop).await;
            }
        }
    }

    /// Makes one step. Returns whether there is more to fill.
    async fn fill(&self, key: &SeriesKey) -> Result<bool, TimeseriesError> {
        let keys = self.backend.keys(key).await?;
        self.backend.advance_rollups(&keys).await?;
        let Some(state) = self.backend.rollups(&keys).await? else { return Ok(false) };
        let Some(&change) = state.changed.first() else { return Ok(false) };
        let Some(filled) = self.compute(&keys, &state, change).await? else { return Ok(false) };
        let rest = filled.rest.map(list_entry).unwrap_or_default();
        // Writers may have moved the floor while samples were read: the samples that this hid are before the floor now.
        let Some(now) = self.backend.rollups(&keys).await? else { return Ok(false) };
        let floor = now.floor();
        let from = Some(floor).filter(|floor| state.begins_before(change.from, *floor));
        let done = list_entry(change);
        let open = filled.rest.into_iter().chain(now.changed.iter().skip(1).copied()).collect();
        let needed = RollupState { changed: open, ..now }.needed_from();
        let commit = scripts::commit_rollups(&keys, state.revision, &done, &rest, from, needed, &filled.fields);
        let is_first = self.backend.redis().call(commit).await?;
        Ok(!is_first || !rest.is_empty() || state.changed.len() > 1)
    }

    /// Computes the first buckets of a window. Returns `None` if the series no longer exists.
    async fn compute(
        &self,
        keys: &SeriesKeys,
        state: &RollupState,
        change: Window,
    ) -> Result<Option<Filled>, TimeseriesError> {
        let Some(floor) = state.rules.iter().map(|rule| state.source_floor(rule)).min() else {
            return Ok(Some(Filled::default()));
        };
        let visible = Window { from: change.from.max(floor), to: change.to };
        if visible.from > visible.to {
            return Ok(Some(Filled::default()));
        }
        let oldest = self.oldest(keys, &state.rules).await?;
        let Some(first) = self.backend.read(keys, visible, Order::Asc, 1, Reach::Kept).await? else { return Ok(None) };
        let first = first.samples.first().map(|sample| sample.timestamp);
        // Before this time there is neither a sample nor a bucket.
        let Some(begin) = first.into_iter().chain(oldest.iter().flatten().copied()).min() else {
            return Ok(Some(Filled::default()));
        };
        let begin = begin.clamp(visible.from, visible.to);
        let shortest = state.rules.iter().map(|rule| Blocks::of(rule).span).min().unwrap_or(1);
        let blocks = (BLOCKS / i64::try_from(state.rules.len()).unwrap_or(BLOCKS).max(1)).max(1);
        let last = visible.to.min(begin.saturating_add(shortest.saturating_mul(blocks)));
        let mut jobs: Vec<Job> = state
            .rules
            .iter()
            .zip(oldest)
            .map(|(rule, oldest)| Job::new(rule, oldest, Window { from: begin, to: last }, state))
            .collect();
        let Some(complete_until) = self.feed(keys, &mut jobs, begin, last + 1).await? else { return Ok(None) };
        let rest = Window { from: complete_until, to: change.to };
        let mut fields = Vec::new();
        for job in jobs {
            job.store(self, keys, &mut fields).await?;
        }
        Ok(Some(Filled { fields, rest: Some(rest).filter(|rest| rest.from <= rest.to) }))
    }

    /// Reads the samples of all jobs, or as many as one step may read. Returns the time before which the buckets have all
    /// their samples, `end` if all were read, or `None` if the series no longer exists.
    async fn feed(
        &self,
        keys: &SeriesKeys,
        jobs: &mut [Job],
        begin: UnixMillis,
        end: UnixMillis,
    ) -> Result<Option<UnixMillis>, TimeseriesError> {
        let from = jobs.iter().map(|job| job.from).min().unwrap_or_default();
        let to = jobs.iter().map(|job| job.until - 1).max().unwrap_or_default();
        let (mut rest, mut read) = (Some(Window { from, to }).filter(|window| from <= window.to), 0);
        while let Some(window) = rest {
            let found = self.backend.read(keys, window, Order::Asc, usize::MAX, Reach::Kept).await?;
            let Some(SamplePage { samples, rest: left }) = found else { return Ok(None) };
            for job in &mut *jobs {
                job.feed(&samples);
            }
            read += samples.len();
            if let (true, Some(_), Some(reached)) = (read >= STEP_SAMPLES / jobs.len().max(1), left, samples.last()) {
                let complete = jobs.iter_mut().map(|job| job.grid.bucket(reached.timestamp).start).min();
                if let Some(time) = complete.filter(|time| *time > begin) {
                    for job in jobs {
                        job.until = job.until.min(job.grid.bucket(reached.timestamp).start);
                    }
                    return Ok(Some(time));
                }
            }
            rest = left;
            // Other tasks of this worker run in between.
            tokio::task::yield_now().await;
        }
        for job in jobs {
            job.fold.finish(None, &mut job.slots);
        }
        Ok(Some(end))
    }

    /// The start of the oldest block of each rollup.
    async fn oldest(
        &self,
        keys: &SeriesKeys,
        rules: &[RollupRule],
    ) -> Result<Vec<Option<UnixMillis>>, TimeseriesError> {
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

/// The computation of one step for one rollup.
struct Job {
    blocks: Blocks,
    oldest: Option<UnixMillis>,
    /// The oldest time of the rollup's buckets.
    floor: UnixMillis,
    grid: Grid,
    /// The range of the buckets to compute; `until` is excluded.
    from: UnixMillis,
    until: UnixMillis,
    /// Stored buckets that begin in this range stay, since samples of them were trimmed. It is empty without such buckets.
    lost: Range<UnixMillis>,
    /// The part of a bucket from which samples may have been trimmed. Unless one is there again, the rest of the bucket does not
    /// become a bucket.
    cut: Option<Range<UnixMillis>>,
    fold: Fold,
    slots: Slots,
}

impl Job {
    fn new(rule: &RollupRule, oldest: Option<UnixMillis>, changed: Window, state: &RollupState) -> Self {
        let mut grid = rule.grid.clone();
        let floor = state.source_floor(rule).max(state.floor_of(rule));
        let first = grid.bucket(changed.from.max(floor));
        // A bucket without all its samples is not computed again.
        let from = if first.start < floor { first.end } else { first.start };
        let until = grid.bucket(changed.to).end.max(from);
        let lost = state.lost(rule).map_or(0..0, |lost| grid.bucket(lost.start).start..lost.end);
        let untrimmed = state.untrimmed_from.filter(|untrimmed| *untrimmed > 0 && rule.keeps_its_own());
        let cut = untrimmed.map(|untrimmed| grid.bucket(untrimmed).start..untrimmed).filter(|cut| !cut.is_empty());
        let window = Window { from, to: until - 1 };
        let pass = Pass { grid: grid.clone(), window, segment: window, bridges: false };
        Self {
            blocks: Blocks::of(rule),
            oldest,
            floor: state.floor_of(rule),
            from,
            until,
            lost,
            cut,
            fold: fold(rule.aggregation, Register::default(), pass, None),
            slots: Slots::new(End::Oldest, usize::MAX),
            grid,
        }
    }

    fn feed(&mut self, samples: &[Sample]) {
        let at = |time| samples.partition_point(|sample| sample.timestamp < time);
        self.cut.take_if(|cut| at(cut.start) < at(cut.end));
        let own = samples.get(at(self.from)..at(self.until)).unwrap_or_default();
        self.fold.feed(own, &mut self.slots);
    }

    /// Adds the fields of the blocks in which the new buckets replace all buckets of the range.
    async fn store(
        self,
        filler: &RollupFiller,
        keys: &SeriesKeys,
        fields: &mut Vec<(String, Vec<u8>)>,
    ) -> Result<(), TimeseriesError> {
        let Self { blocks, oldest, floor, from, until, lost, cut, slots, .. } = self;
        let new: Vec<Sample> = slots
            .list
            .iter()
            .map(|slot| Sample { timestamp: slot.bucket.start, value: slot.number.float() })
            .filter(|bucket| bucket.timestamp < until)
            .filter(|bucket| cut.as_ref().is_none_or(|cut| cut.start != bucket.timestamp))
            .collect();
        let first = new.first().map(|bucket| blocks.start(bucket.timestamp));
        if let Some(begin) = first.into_iter().chain(oldest).min() {
            for start in blocks.starts(begin.max(from), until) {
                let end = start.saturating_add(blocks.span);
                let mut buckets = Vec::new();
                if start < from || end > until || (start < lost.end && lost.start < end) {
                    let bytes = filler.block(keys, &blocks.field(start)).await?;
                    if !bytes.is_empty() {
                        chunk::read(&bytes, Window { from: start, to: end - 1 }, &mut buckets)?;
                    }
                    buckets.retain(|Sample { timestamp, .. }| {
                        lost.contains(timestamp) || !(from..until).contains(timestamp)
                    });
                }
                buckets.extend(new.iter().filter(|bucket| (start..end).contains(&bucket.timestamp)));
                // The sort is stable: a stored bucket that stays is before the new one.
                buckets.sort_by_key(|bucket| bucket.timestamp);
                buckets.dedup_by_key(|bucket| bucket.timestamp);
                fields.push((blocks.field(start), blocks::encode(&buckets)?));
            }
        }
        let kept_from = blocks.start(floor);
        let mut oldest_kept = oldest;
        if let Some(oldest) = oldest.filter(|oldest| *oldest < kept_from) {
            let end = kept_from.min(oldest.saturating_add(blocks.span.saturating_mul(BLOCKS)));
            fields.extend(blocks.starts(oldest, end).map(|start| (blocks.field(start), Vec::new())));
            oldest_kept = Some(end);
        }
        let now_oldest = first.into_iter().chain(oldest_kept).min();
        if let Some(start) = now_oldest.filter(|_| now_oldest != oldest) {
            fields.push((blocks.oldest_field(), start.to_string().into_bytes()));
        }
        Ok(())
    }
}

/// A window as an entry of the list of changes.
fn list_entry(change: Window) -> String {
    format!("{}:{},", change.from, change.to)
}
