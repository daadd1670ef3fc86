//! The batch writer: everything that waits goes to Redis every `hosts.batch_interval`, sooner when much waits, when an
//! administrator asks, and last when the service stops.
//!
//! A batch that failed is written again, whatever became of it the first time: samples are told apart by timestamp and
//! number when they are read, and again when their hour is packed.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::clock::UnixMillis;
use crate::features::hosts::ingest::flush_request::FlushRequest;
use crate::features::hosts::ingest::memory::{Host, Load};
use crate::features::hosts::ingest::spool;
use crate::features::hosts::sample::Sample;
use crate::features::hosts::service::HostService;
use crate::features::hosts::store::chunk;
use crate::features::hosts::store::chunk::{HOUR, hour_of};
use crate::features::hosts::store::keys::HistoryKeys;
use crate::features::hosts::store::scripts::{Append, Claim, Piece};
use crate::lifecycle::Tasks;
use crate::redis::{FaultKind, Outcome, RedisFault};

const NAME: &str = "hosts.write";

/// Samples of one plain chunk: 78 KB, a small value for Redis.
const PLAIN_SAMPLES: usize = 512;

/// How long histories and rollups outlive their retention, so that an idle host's are not cut off at the newest.
pub(in crate::features::hosts) const AFTERLIFE: u64 = 24 * HOUR.unsigned_abs();

/// How far the spool is dealt with.
struct Recovery {
    /// How many samples memory had dropped when the segments were last settled; `None`: not yet since the start, so that
    /// segments hold what memory never had.
    settled_drops: Option<u64>,
}

/// Writes with the service's start, until it stops.
///
/// Requests only wish for a batch: one that is given up by its caller must not take samples with it.
pub(in crate::features::hosts) fn plan(hosts: &HostService, requests: mpsc::Receiver<FlushRequest>, tasks: &Tasks) {
    let (hosts, board) = (hosts.clone(), tasks.clone());
    tasks.plan(NAME, move |stop| async move { run(&hosts, requests, stop, &board).await });
}

async fn run(hosts: &HostService, mut requests: mpsc::Receiver<FlushRequest>, stop: CancellationToken, board: &Tasks) {
    let mut dropped = 0;
    // What a spool holds of a former life is written at once.
    let mut recovery = hosts.spool.as_ref().map(|_| Recovery { settled_drops: None });
    let mut is_first = recovery.is_some();
    loop {
        let mut wish = None;
        let is_last = tokio::select! {
            () = stop.cancelled() => true,
            () = std::future::ready(()), if is_first => false,
            () = tokio::time::sleep(hosts.config.batch_interval.duration()) => false,
            () = hosts.memory.pressure.notified() => false,
            Some(caller) = requests.recv() => {
                wish = Some(caller);
                false
            }
        };
        is_first = false;
        let written = match &mut recovery {
            Some(recovery) => hosts.write_spooled(recovery).await,
            None => hosts.write().await,
        };
        if let Some(wish) = wish {
            // Whoever wished may have gone.
            let _ = wish.send(written.clone());
        }
        board.report(NAME, written.as_ref().map(|_| ()).map_err(ToString::to_string));
        let dropped_by_now = hosts.metrics.dropped.get();
        if dropped_by_now > dropped {
            tracing::error!(
                samples = dropped_by_now - dropped,
                "samples of hosts were dropped: too many waited for Redis"
            );
            dropped = dropped_by_now;
        }
        if is_last {
            let lost = hosts.memory.unstored();
            if lost > 0 {
                tracing::error!(samples = lost, "the service stops with samples of hosts that Redis did not take");
            }
            return;
        }
    }
}

impl HostService {
    /// Writes everything that waits; answers how many samples that were.
    ///
    /// # Errors
    /// [`RedisFault`]; what was not written goes on waiting.
    async fn write(&self) -> Result<u64, RedisFault> {
        let mut written = 0;
        // What comes meanwhile is the next round's: a busy service would never be done.
        let mut rest = self.memory.unstored();
        while rest > 0 {
            let loads = self.memory.next_loads(self.config.write_samples);
            if loads.is_empty() {
                break;
            }
            let settled = self.write_loads(loads).await.inspect_err(|_| self.metrics.failed_writes.inc())?;
            written += settled;
            rest = rest.saturating_sub(settled.max(1));
        }
        Ok(written)
    }

    /// Writes some loads; those that failed wait again.
    async fn write_loads(&self, loads: Vec<Load>) -> Result<u64, RedisFault> {
        let loads = self.claim_new(loads).await?;
        let mut batches: Vec<(HistoryKeys, Vec<Piece>)> = Vec::with_capacity(loads.len());
        for load in &loads {
            batches.push((self.keys.history(&load.host.id), pieces(&load.samples)));
        }
        let retention = self.config.retention.as_millis();
        let oldest = hour_of(self.clock.now().saturating_sub_unsigned(retention));
        let calls: Vec<Append<'_>> =
            batches.iter().map(|(keys, pieces)| Append { keys, oldest, life: retention + AFTERLIFE, pieces }).collect();
        let answers = match self.redis.call_all(&calls).await {
            Ok(answers) => answers,
            Err(fault) => {
                self.memory.wait_again(loads);
                return Err(fault);
            }
        };
        let (mut written, mut again, mut failure) = (0, Vec::new(), None);
        for (load, answer) in loads.into_iter().zip(answers) {
            match answer {
                Ok(()) => {
                    let stored = self.memory.stored(&load);
                    self.metrics.written.inc_by(stored);
                    written += stored;
                }
                // It would fail for ever, and hold up everybody else's.
                Err(fault) if fault.kind == FaultKind::WrongType => {
                    self.drop_samples(&load, "its key holds another kind of value");
                }
                Err(fault) => {
                    failure = Some(fault);
                    again.push(load);
                }
            }
        }
        self.memory.wait_again(again);
        failure.map_or(Ok(written), Err)
    }

    /// Has the owners of new hosts settled; what came for somebody else's host while Redis was away is given up.
    async fn claim_new(&self, loads: Vec<Load>) -> Result<Vec<Load>, RedisFault> {
        let new: Vec<usize> = (0..).zip(&loads).filter(|(_, load)| !load.host.is_claimed()).map(|(at, _)| at).collect();
        if new.is_empty() {
            return Ok(loads);
        }
        let hosts: Vec<_> = new.iter().filter_map(|&at| loads.get(at)).map(|load| Arc::clone(&load.host)).collect();
        let keys: Vec<_> = hosts.iter().map(|host| self.keys.owner(&host.id)).collect();
        let claims: Vec<Claim<'_>> =
            hosts.iter().zip(&keys).map(|(host, key)| Claim { key, organisation: &host.owner }).collect();
        let owners: Result<Vec<_>, RedisFault> = match self.redis.call_all(&claims).await {
            Ok(owners) => owners.into_iter().collect(),
            Err(fault) => Err(fault),
        };
        let owners = match owners {
            Ok(owners) => owners,
            Err(fault) => {
                self.memory.wait_again(loads);
                return Err(fault);
            }
        };
        let mut foreign = Vec::new();
        for (host, owner) in hosts.iter().zip(owners) {
            if owner == host.owner {
                host.mark_claimed();
            } else {
                foreign.push(host.id.clone());
            }
        }
        let (lost, kept): (Vec<Load>, Vec<Load>) = loads.into_iter().partition(|load| foreign.contains(&load.host.id));
        for load in &lost {
            self.drop_samples(load, "it belongs to another organisation");
            self.memory.remove(&load.host.id);
        }
        Ok(kept)
    }

    /// The same with a spool: segments are deleted once what they hold is in Redis, by way of memory or, where memory no
    /// longer has it, from the segment.
    async fn write_spooled(&self, recovery: &mut Recovery) -> Result<u64, RedisFault> {
        let Some(spool) = &self.spool else { return self.write().await };
        let drops = self.metrics.dropped.get();
        let closed = spool.close_segment().await;
        let mut written = self.write().await?;
        for segment in closed {
            if recovery.settled_drops != Some(drops) {
                match self.replay(&segment).await? {
                    Some(replayed) => written += replayed,
                    None => continue,
                }
            }
            if let Err(error) = spool.delete(segment).await {
                tracing::warn!(%error, "a segment of the spool could not be deleted: it is written again later");
            }
        }
        recovery.settled_drops = Some(drops);
        Ok(written)
    }

    /// Writes what a segment holds; samples that are in Redis already do not double. `None`: it cannot be read now.
    async fn replay(&self, segment: &Path) -> Result<Option<u64>, RedisFault> {
        let records = match spool::read_segment(segment).await {
            Ok(records) => records,
            Err(error) => {
                tracing::error!(%error, segment = %segment.display(), "a segment of the spool cannot be read");
                return Ok(None);
            }
        };
        // Far fewer than may wait, so that none is dropped on its way through memory.
        let group = self.config.write_samples.min(self.config.unstored_samples / 4);
        let (mut written, mut waiting) = (0, 0);
        for content in records {
            let Some((id, owner, samples)) = spool::decode(&content) else {
                tracing::error!(segment = %segment.display(), "a record of the spool is none of this version");
                continue;
            };
            let host = self.memory.get(&id).map_or_else(|| self.memory.admit(Host::new(id, owner, false)), Ok);
            let host = host.map_err(|_| RedisFault::new(FaultKind::Unavailable, Outcome::NotApplied))?;
            waiting += samples.len();
            self.memory.record(&host, samples, None, self.clock.now());
            if waiting >= group {
                written += self.write().await?;
                waiting = 0;
            }
        }
        written += self.write().await?;
        Ok(Some(written))
    }

    fn drop_samples(&self, load: &Load, reason: &str) {
        let lost = self.memory.stored(load);
        self.metrics.drop_samplesed.inc_by(lost);
        tracing::error!(host = load.host.id.as_str(), samples = lost, reason, "samples of a host cannot be kept");
    }
}

/// The samples as chunks, each of one hour and in order; of equal ones the first.
fn pieces(samples: &[Arc<Sample>]) -> Vec<Piece> {
    let mut hours: BTreeMap<UnixMillis, Vec<Sample>> = BTreeMap::new();
    for sample in samples {
        hours.entry(hour_of(sample.timestamp)).or_default().push(**sample);
    }
    let mut pieces = Vec::new();
    for (hour, mut samples) in hours {
        samples.sort_by_key(Sample::id);
        samples.dedup_by_key(|sample| sample.id());
        for part in samples.chunks(PLAIN_SAMPLES) {
            // Neither empty nor too long.
            if let (Some(first), Ok(bytes)) = (part.first(), chunk::encode(part)) {
                pieces.push(Piece { hour, start: first.timestamp, bytes });
            }
        }
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(timestamp: UnixMillis, seq: u64) -> Arc<Sample> {
        Arc::new(Sample { timestamp, seq, ..Sample::default() })
    }

    #[test]
    fn a_chunk_never_crosses_an_hour() {
        let pieces = pieces(&[sample(HOUR, 0), sample(HOUR - 1, 1), sample(HOUR - 1, 0), sample(HOUR, 0)]);
        let found: Vec<(UnixMillis, UnixMillis, Vec<u64>)> = pieces
            .iter()
            .map(|piece| {
                let samples = chunk::decode(&piece.bytes).expect("a chunk");
                (piece.hour, piece.start, samples.iter().map(|sample| sample.seq).collect())
            })
            .collect();
        assert_eq!(found, [(0, HOUR - 1, vec![0, 1]), (HOUR, HOUR, vec![0])]);
    }

    #[test]
    fn the_same_samples_make_the_same_chunks() {
        let samples: Vec<_> = (0..1_500).map(|n| sample(n, 0)).collect();
        assert_eq!(pieces(&samples), pieces(&samples));
        assert_eq!(pieces(&samples).len(), 3);
    }
}
