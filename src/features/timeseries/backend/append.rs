//! Appending batches of samples to several series.

use std::sync::atomic::Ordering;

use super::super::keys::SeriesKeys;
use super::super::model::RefusalCode;
use super::super::scripts::{self, Appended};
use super::super::series::{Definition, DuplicatePolicy, Sample, SeriesKey};
use super::store::Store;
use crate::redis::{Backend, Fence, FencingToken, RedisFault};

/// The most samples of one batch: about a millisecond of Redis's main thread, even if they are out of order.
pub const BATCH_SAMPLES: usize = 1_000;

/// Batches of different series in one exchange with Redis, which must fit into `redis.command_timeout`.
const EXCHANGE_BATCHES: usize = 64;

/// The most samples of one exchange: out of order they take Redis about 20 ms.
const EXCHANGE_SAMPLES: usize = 16_384;

/// The shortest time between two warnings about samples that were refused for their time, milliseconds.
const WARNING_INTERVAL_MS: i64 = 60_000;

/// The samples to append to one series.
#[derive(Debug)]
pub struct SampleBatch<'a> {
    pub key: &'a SeriesKey,
    /// Ascending, equal timestamps in the caller's order; at least one, at most [`BATCH_SAMPLES`].
    pub samples: &'a [Sample],
    /// The policy for timestamps that already exist; `None` uses the policy of the series.
    pub policy: Option<DuplicatePolicy>,
}

/// The result of appending a batch.
#[derive(Debug, Default)]
pub struct BatchOutcome {
    /// How many samples, from the first, were certainly processed: all of them unless `fault` is set.
    pub settled: usize,
    /// How many of them changed the series; the others already existed or were refused.
    pub stored: usize,
    /// The positions of refused samples in the batch, from 0, and why they were refused.
    pub refused: Vec<(usize, RefusalCode)>,
    /// The series does not exist and must not be created: nothing was stored.
    pub missing: bool,
    /// Why the remaining samples are not stored, or not certainly stored.
    pub fault: Option<RedisFault>,
    /// Whether the index has the series.
    pub listed: bool,
    /// Whether rollups of the series have something to fill.
    pub stale: bool,
}

impl BatchOutcome {
    fn failed(fault: RedisFault) -> Self {
        Self { fault: Some(fault), ..Self::default() }
    }

    fn add(&mut self, appended: &Appended) {
        let offset = self.settled;
        self.refused.extend(appended.refused.iter().map(|(at, code)| (at + offset, *code)));
        self.settled += appended.consumed;
        self.stored += appended.stored;
        self.listed = appended.listed;
        self.stale |= appended.stale;
    }
}

/// A batch that is not settled yet.
struct OpenBatch<'a> {
    batch: &'a SampleBatch<'a>,
    outcome: &'a mut BatchOutcome,
    keys: SeriesKeys,
    fence: Option<Fence>,
    /// The series to create if none exists.
    create: Option<Definition>,
    /// The packed chunk that the next sample falls into; empty if there is none.
    packed: Vec<u8>,
}

impl Store {
    /// Appends batches in a pipeline. Each has its own outcome, in the given order.
    ///
    /// No two batches may have the same series: in a cluster they could arrive in another order.
    pub async fn append(&self, batches: &[SampleBatch<'_>], token: Option<FencingToken>) -> Vec<BatchOutcome> {
        let layout = match self.layout().await {
            Ok(layout) => layout,
            Err(fault) => {
                let fault = fault.not_applied();
                return batches.iter().map(|_| BatchOutcome::failed(fault.clone())).collect();
            }
        };
        let mut outcomes: Vec<BatchOutcome> = batches.iter().map(|_| BatchOutcome::default()).collect();
        let mut rest = batches;
        let mut open = outcomes.as_mut_slice();
        while !rest.is_empty() {
            let fitting = fitting(rest);
            let (now, later) = rest.split_at(fitting);
            let (outcomes, later_outcomes) = std::mem::take(&mut open).split_at_mut(fitting);
            self.exchange(layout, now, token, outcomes).await;
            // A key of another type or a stale fence affects one series; every other fault affects the server.
            let mut faults = outcomes.iter().filter_map(|outcome| outcome.fault.as_ref());
            let failed = faults.find(|fault| !fault.is_of_the_key()).cloned();
            (rest, open) = (later, later_outcomes);
            if let Some(fault) = failed {
                // The server just failed, so the remaining batches are not sent.
                for outcome in open.iter_mut() {
                    outcome.fault = Some(fault.clone().not_applied());
                }
                break;
            }
        }
        let now = self.clock.now();
        for (batch, outcome) in batches.iter().zip(&outcomes) {
            // The samples ascend. One of each batch is enough, and costs little beside the call.
            if let Some(newest) = batch.samples.last().filter(|_| outcome.stored > 0) {
                self.metrics.record_lag(now.saturating_sub(newest.timestamp));
            }
            if outcome.stale {
                self.note_stale(batch.key);
            }
            self.report_times(batch.key, &outcome.refused);
        }
        outcomes
    }

    /// Counts the samples that were refused for their time. The log names the first of them in a minute.
    fn report_times(&self, key: &SeriesKey, refused: &[(usize, RefusalCode)]) {
        let number = |code| refused.iter().filter(|(_, found)| *found == code).count();
        let (too_new, wrong_unit) = (number(RefusalCode::SampleTooNew), number(RefusalCode::WrongTimeUnit));
        if too_new + wrong_unit == 0 {
            return;
        }
        self.metrics.count_times(too_new, wrong_unit);
        let (now, last) = (self.clock.now(), self.warned.load(Ordering::Relaxed));
        if now - last >= WARNING_INTERVAL_MS
            && self.warned.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        {
            tracing::warn!(series = %key, too_new, wrong_unit, "refused samples with an implausible timestamp; \
                           timeseries_implausible_samples_total counts them");
        }
    }

    /// Sends batches until each is settled: one call changes a bounded number of chunks, and the next call continues.
    async fn exchange(
        &self,
        layout: Backend,
        batches: &[SampleBatch<'_>],
        token: Option<FencingToken>,
        outcomes: &mut [BatchOutcome],
    ) {
        let now = self.clock.redis_arg();
        let mut open: Vec<OpenBatch<'_>> = batches
            .iter()
            .zip(outcomes)
            .map(|(batch, outcome)| {
                let keys = self.keys_in(layout, batch.key);
                let (fence, create) = (self.fence(&keys, token), self.families().on_first_write(batch.key));
                OpenBatch { batch, outcome, keys, fence, create, packed: Vec::new() }
            })
            .collect();
        while !open.is_empty() {
            let calls = open.iter().map(|open| {
                let samples = open.batch.samples.get(open.outcome.settled..).unwrap_or_default();
                let fence = open.fence.as_ref();
                let limits = self.families().time_limits(open.batch.key);
                scripts::append(&open.keys, samples, open.batch.policy, open.create.as_ref(), limits, &now, fence)
            });
            let answers = match self.call_all(calls.collect()).await {
                Ok(answers) => answers,
                Err(fault) => return fail(open, &fault),
            };
            let mut unsettled = Vec::new();
            for (mut open, answer) in open.into_iter().zip(answers) {
                match answer {
                    Ok(Some(appended)) => {
                        if appended.plain > 0 {
                            self.packer.note(&open.keys);
                        }
                        open.outcome.add(&appended);
                        let has_progressed = appended.consumed > 0 || !appended.packed.is_empty();
                        open.packed = appended.packed;
                        if has_progressed && open.outcome.settled < open.batch.samples.len() {
                            unsettled.push(open);
                        }
                    }
                    Ok(None) => open.outcome.missing = true,
                    Err(fault) => open.outcome.fault = Some(fault),
                }
            }
            open = unsettled;
            let packed: Vec<(&SeriesKeys, &[u8])> = open
                .iter()
                .filter(|open| !open.packed.is_empty())
                .map(|open| (&open.keys, open.packed.as_slice()))
                .collect();
            if !packed.is_empty()
                && let Err(fault) = self.packer.unpack(&packed).await
            {
                return fail(open, &fault.not_applied());
            }
        }
    }
}

fn fail(batches: Vec<OpenBatch<'_>>, fault: &RedisFault) {
    for open in batches {
        open.outcome.fault = Some(fault.clone());
    }
}

/// How many of the batches fit into one exchange; at least one.
fn fitting(batches: &[SampleBatch<'_>]) -> usize {
    let mut samples = 0;
    let fits = |batch: &&SampleBatch<'_>| {
        samples += batch.samples.len();
        samples <= EXCHANGE_SAMPLES
    };
    batches.iter().take(EXCHANGE_BATCHES).take_while(fits).count().max(1)
}
