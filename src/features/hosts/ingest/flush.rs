//! The batch writer: writes all waiting samples to Redis every `hosts.batch_interval`, and earlier if many samples wait,
//! if an administrator requests a flush, or if the service stops.
//!
//! A batch that failed is written again, whatever its first attempt did: reads and packing remove duplicates by timestamp
//! and sequence number.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::super::sample::Sample;
use super::super::service::{FlushRequest, HostService};
use super::super::store::chunk::{self, hour_of};
use super::super::store::history::distinct;
use super::super::store::keys::EXPIRY_MARGIN;
use super::super::store::scripts;
use super::memory::{Host, HostBatch};
use super::spool::{self, Spool, SpoolRecord};
use crate::clock::UnixMillis;
use crate::config::value::Span;
use crate::lifecycle::Tasks;
use crate::redis::{Backoff, FaultKind, Outcome, RedisFault};

const NAME: &str = "hosts.write";

/// Samples of one pipeline to Redis, 152 bytes each: few enough for `redis.command_timeout` even on a slow link.
const WRITE_SAMPLES: usize = 5_000;

/// Samples of one plain chunk: 78 KB, a small value for Redis.
const PLAIN_SAMPLES: usize = 512;

/// The first and the longest pause between the last tries.
const LAST_PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(1)];

/// Runs the batch writer from the start of the service until it stops.
///
/// Request handlers only ask it for a batch: a request whose client disconnects must not take samples with it. A service that
/// stops tries for up to half of `shutdown_deadline` to write samples that are only in its memory.
pub(in super::super) fn plan(
    hosts: &HostService,
    flush_requests: mpsc::Receiver<FlushRequest>,
    shutdown_deadline: Span,
    tasks: &Tasks,
) {
    let (hosts, reports) = (hosts.clone(), tasks.clone());
    let last_tries = shutdown_deadline.duration() / 2;
    tasks.plan(NAME, move |stop| async move { run(&hosts, flush_requests, last_tries, stop, &reports).await });
}

async fn run(
    hosts: &HostService,
    mut flush_requests: mpsc::Receiver<FlushRequest>,
    last_tries: Duration,
    stop: CancellationToken,
    reports: &Tasks,
) {
    let mut dropped = 0;
    // `None` until the spool was first processed: its segments may hold samples that memory never had.
    let mut drops_at_last_spooling = None;
    // Samples that a previous process left in the spool are written immediately, and so are many that arrived meanwhile.
    let mut is_due = hosts.spool.is_some();
    loop {
        let mut flush_request = None;
        let is_last = tokio::select! {
            () = stop.cancelled() => true,
            () = std::future::ready(()), if is_due => false,
            () = sleep(hosts.config.batch_interval.duration()) => false,
            () = hosts.memory.pressure.notified() => false,
            Some(caller) = flush_requests.recv() => {
                flush_request = Some(caller);
                false
            }
        };
        let written = match &hosts.spool {
            Some(spool) => hosts.write_spooled(spool, &mut drops_at_last_spooling).await,
            None => hosts.write().await,
        };
        if let Some(flush_request) = flush_request {
            // The requester may be gone.
            let _ = flush_request.send(written.clone());
        }
        reports.report(NAME, written.as_ref().map(|_| ()).map_err(ToString::to_string));
        is_due = written.is_ok_and(|written| written > 0) && hosts.memory.is_pressed();
        let dropped_by_now = hosts.metrics.dropped.get();
        if dropped_by_now > dropped {
            tracing::error!(samples = dropped_by_now - dropped, "host samples dropped: too many waited for Redis");
            dropped = dropped_by_now;
        }
        if is_last {
            if hosts.spool.is_none() {
                hosts.write_last(last_tries).await;
            }
            let lost = hosts.memory.unstored();
            if lost > 0 {
                tracing::error!(samples = lost, "host samples lost at shutdown: Redis did not store them");
            }
            return;
        }
    }
}

impl HostService {
    /// Writes all waiting samples; returns their number.
    ///
    /// # Errors
    /// [`RedisFault`]; samples that were not written keep waiting.
    async fn write(&self) -> Result<u64, RedisFault> {
        let mut written = 0;
        // Samples that arrive meanwhile wait for the next round: otherwise a busy service would never finish.
        let mut rest = self.memory.unstored();
        while rest > 0 {
            let batches = self.memory.next_batches(WRITE_SAMPLES);
            if batches.is_empty() {
                break;
            }
            let settled = self.write_batches(batches).await.inspect_err(|_| self.metrics.failed_writes.inc())?;
            written += settled;
            rest = rest.saturating_sub(settled.max(1));
        }
        Ok(written)
    }

    /// Writes what is left before memory ends with the process: Redis may be starting, or its connection be made again.
    async fn write_last(&self, time: Duration) {
        let (began, mut backoff) = (Instant::now(), Backoff::new(LAST_PAUSES[0], LAST_PAUSES[1]));
        while self.memory.unstored() > 0 && began.elapsed() < time {
            sleep(backoff.pause()).await;
            if let Err(fault) = self.write().await {
                tracing::debug!(%fault, "the last samples are not stored yet");
            }
        }
    }

    /// Writes batches; those that fail are queued again.
    async fn write_batches(&self, batches: Vec<HostBatch>) -> Result<u64, RedisFault> {
        let batches = self.claim_new(self.without_deleted(batches).await?).await?;
        let retention = self.config.retention.as_millis();
        let now = self.clock.now();
        let oldest = hour_of(now.saturating_sub_unsigned(retention));
        let append = |batch: &HostBatch| {
            let (keys, age) = (self.keys.history(&batch.host.id), (&self.clock, batch.host.age(now)));
            scripts::append(&keys, age, oldest, retention + EXPIRY_MARGIN, &encode_chunks(&batch.samples))
        };
        let answers = match self.redis.call_all(batches.iter().map(append)).await {
            Ok(answers) => answers,
            Err(fault) => {
                self.memory.requeue(batches);
                return Err(fault);
            }
        };
        let (mut written, mut again, mut failure) = (0, Vec::new(), None);
        for (batch, answer) in batches.into_iter().zip(answers) {
            match answer {
                Ok(Some(ago)) => self.renew(&batch.host, now - ago),
                Ok(None) => {
                    let stored = self.memory.mark_stored(&batch);
                    self.metrics.written.inc_by(stored);
                    written += stored;
                }
                // It would fail forever and delay the samples of all other hosts.
                Err(fault) if fault.kind == FaultKind::WrongType => {
                    self.drop_samples(&batch, "the key of the history holds another type");
                }
                Err(fault) => {
                    failure = Some(fault);
                    again.push(batch);
                }
            }
        }
        self.memory.requeue(again);
        failure.map_or(Ok(written), Err)
    }

    /// Forgets what a host had reported when it was deleted; the next batch writes what was accepted since.
    pub(in super::super) fn renew(&self, host: &Arc<Host>, deleted: UnixMillis) {
        if self.memory.renew(host, deleted, self.clock.now()).is_err() {
            tracing::error!(host = host.id.as_str(), "host samples dropped: too many hosts are in memory");
        }
    }

    /// Leaves out new hosts that were deleted, because a claim would bring them back.
    async fn without_deleted(&self, batches: Vec<HostBatch>) -> Result<Vec<HostBatch>, RedisFault> {
        let now = self.clock.now();
        let (new, mut kept): (Vec<_>, Vec<_>) = batches.into_iter().partition(|batch| !batch.host.is_claimed());
        let deletion = |batch: &HostBatch| {
            let HostBatch { host, .. } = batch;
            scripts::deletion(&self.keys.history(&host.id).chunks, (&self.clock, host.age(now)))
        };
        match self.redis.call_all(new.iter().map(deletion)).await {
            Ok(deletions) => {
                for (batch, ago) in new.into_iter().zip(deletions) {
                    match ago {
                        Ok(Some(ago)) => self.renew(&batch.host, now - ago),
                        // The write fails as well.
                        Ok(None) | Err(_) => kept.push(batch),
                    }
                }
                Ok(kept)
            }
            Err(fault) => {
                self.memory.requeue(new);
                self.memory.requeue(kept);
                Err(fault)
            }
        }
    }

    /// Claims new hosts in Redis. Hosts whose name another organisation has are moved to their organisation's own name; the
    /// next batch writes their samples.
    async fn claim_new(&self, batches: Vec<HostBatch>) -> Result<Vec<HostBatch>, RedisFault> {
        let new: Vec<Arc<Host>> =
            batches.iter().filter(|batch| !batch.host.is_claimed()).map(|batch| Arc::clone(&batch.host)).collect();
        if new.is_empty() {
            return Ok(batches);
        }
        let claims: Vec<_> = new.iter().map(|host| (host.id.clone(), host.owner.clone())).collect();
        let stored = match self.claim_all(&claims).await {
            Ok(stored) => stored,
            Err(fault) => {
                self.memory.requeue(batches);
                return Err(fault);
            }
        };
        let (claimed, moved): (Vec<_>, Vec<_>) = new.iter().zip(stored).partition(|(host, stored)| *stored == host.id);
        for (host, _) in claimed {
            host.mark_claimed();
        }
        let is_moved = |batch: &HostBatch| moved.iter().any(|(host, _)| Arc::ptr_eq(host, &batch.host));
        let kept = batches.into_iter().filter(|batch| !is_moved(batch)).collect();
        for (host, id) in &moved {
            if self.memory.rename(host, id.clone()).is_err() {
                tracing::error!(host = host.id.as_str(), "host samples dropped: too many hosts are in memory");
            }
        }
        Ok(kept)
    }

    /// Writes all waiting samples, then deletes the spool segments whose samples are all in Redis. Samples of a segment that
    /// memory has dropped, or never had, are written from the segment.
    async fn write_spooled(&self, spool: &Spool, drops_before: &mut Option<u64>) -> Result<u64, RedisFault> {
        let drops = self.metrics.dropped.get();
        let closed = spool.close_segment().await;
        let mut written = self.write().await?;
        for segment in closed {
            if *drops_before != Some(drops) {
                match self.replay(&segment).await? {
                    Some(replayed) => written += replayed,
                    None => continue,
                }
            }
            if let Err(error) = spool.delete(segment).await {
                tracing::warn!(%error, "failed to delete a spool segment; its samples will be written again");
            }
        }
        *drops_before = Some(drops);
        Ok(written)
    }

    /// Writes the samples of a segment; samples that are already in Redis are not duplicated. `None`: it cannot be read.
    async fn replay(&self, segment: &Path) -> Result<Option<u64>, RedisFault> {
        let (records, age) = match spool::read_segment(segment).await {
            Ok(read) => read,
            Err(error) => {
                tracing::error!(%error, segment = %segment.display(), "failed to read a spool segment");
                return Ok(None);
            }
        };
        // The samples are older than that.
        let accepted = self.clock.now().saturating_sub_unsigned(age);
        // Far fewer than `hosts.unstored_samples`, so that memory drops none of them.
        let group = WRITE_SAMPLES.min(self.config.unstored_samples / 4);
        let (mut written, mut waiting) = (0, 0);
        for SpoolRecord { host: id, owner, samples } in records {
            let host = self.memory.get(&id).map_or_else(|| self.memory.insert(Host::new(id, owner, false)), Ok);
            let host = host.map_err(|_| RedisFault::new(FaultKind::Unavailable, Outcome::NotApplied))?;
            waiting += samples.len();
            self.memory.record(&host, samples, None, accepted);
            if waiting >= group {
                written += self.write().await?;
                waiting = 0;
            }
        }
        written += self.write().await?;
        Ok(Some(written))
    }

    fn drop_samples(&self, batch: &HostBatch, reason: &str) {
        let lost = self.memory.mark_stored(batch);
        self.metrics.disowned.inc_by(lost);
        tracing::error!(host = batch.host.id.as_str(), samples = lost, reason, "host samples dropped");
    }
}

/// The samples as sorted chunks of at most one hour each, without duplicates; a chunk follows its first timestamp.
fn encode_chunks(samples: &[Arc<Sample>]) -> Vec<(UnixMillis, Vec<u8>)> {
    let mut hours: BTreeMap<UnixMillis, Vec<Sample>> = BTreeMap::new();
    for sample in samples {
        hours.entry(hour_of(sample.timestamp)).or_default().push(**sample);
    }
    let mut chunks = Vec::new();
    for mut samples in hours.into_values() {
        distinct(&mut samples);
        for part in samples.chunks(PLAIN_SAMPLES) {
            // A part is neither empty nor too long.
            if let (Some(first), Ok(bytes)) = (part.first(), chunk::encode(part)) {
                chunks.push((first.timestamp, bytes));
            }
        }
    }
    chunks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::hosts::store::chunk::HOUR;

    fn sample(timestamp: UnixMillis, seq: u64) -> Arc<Sample> {
        Arc::new(Sample { timestamp, seq, ..Sample::default() })
    }

    #[test]
    fn a_chunk_never_crosses_an_hour() {
        let chunks = encode_chunks(&[sample(HOUR, 0), sample(HOUR - 1, 1), sample(HOUR - 1, 0), sample(HOUR, 0)]);
        let found: Vec<(UnixMillis, Vec<u64>)> = chunks
            .iter()
            .map(|(start, bytes)| {
                let samples = chunk::decode(bytes).expect("a chunk");
                (*start, samples.iter().map(|sample| sample.seq).collect())
            })
            .collect();
        assert_eq!(found, [(HOUR - 1, vec![0, 1]), (HOUR, vec![0])]);
    }

    #[test]
    fn the_same_samples_make_the_same_chunks() {
        let samples: Vec<_> = (0..1_500).map(|n| sample(n, 0)).collect();
        assert_eq!(encode_chunks(&samples), encode_chunks(&samples));
        assert_eq!(encode_chunks(&samples).len(), 3);
    }
}
