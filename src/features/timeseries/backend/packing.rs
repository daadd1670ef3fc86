//! Packs sealed chunks behind the writers' backs, and unpacks those that a write or a deletion falls into.
//!
//! A chunk changes its form by compare-and-swap, so that several replicas, and writers in between, do not disturb each
//! other: who comes second finds another chunk and leaves it. A series remembers its plain chunks; every write to it
//! tells how many there are, so that what a stopped replica left is packed after the next write.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::super::chunk;
use super::super::keys::SeriesKeys;
use super::super::metrics::TimeseriesMetrics;
use super::super::scripts::{Plain, Swap};
use super::queue::Queue;
use crate::lifecycle::Tasks;
use crate::redis::{BadReply, Effect, Redis, RedisFault, ScriptCall};

const NAME: &str = "timeseries.pack";

/// Series and chunks of each in one exchange: 128 plain chunks are one MiB.
const SERIES: usize = 16;
const CHUNKS: usize = 8;

/// How long the packing rests after a fault of Redis. Nobody waits for it.
const REST: Duration = Duration::from_secs(1);

#[derive(Clone, Debug)]
pub(in crate::features::timeseries) struct Packing {
    redis: Redis,
    metrics: TimeseriesMetrics,
    waiting: Queue<SeriesKeys>,
}

impl Packing {
    pub(super) fn new(redis: Redis, metrics: TimeseriesMetrics) -> Self {
        Self { redis, metrics, waiting: Queue::default() }
    }

    /// Has the series' plain chunks packed soon.
    pub(super) fn note(&self, keys: &SeriesKeys) {
        self.waiting.note(keys.hash.as_str(), || keys.clone());
    }

    /// Puts the plain form in the place of each chunk, unless it is another one by now.
    ///
    /// # Errors
    /// [`RedisFault`], also when bytes are no packed chunk; chunks may be in either form then.
    pub(super) async fn unpack(&self, chunks: &[(&SeriesKeys, &[u8])]) -> Result<(), RedisFault> {
        let mut plain = Vec::with_capacity(chunks.len());
        for (_, packed) in chunks {
            plain.push(chunk::unpack(packed).map_err(unreadable)?);
        }
        let mut swaps = Vec::with_capacity(chunks.len());
        for ((keys, packed), plain) in chunks.iter().zip(&plain) {
            let start = chunk::start(packed).map_err(unreadable)?;
            swaps.push(Swap { keys, start, current: packed, other: plain });
        }
        for swapped in self.redis.call_all(&swaps).await? {
            if swapped? {
                self.metrics.unpacked.inc();
            }
        }
        Ok(())
    }

    /// Packs with the service's start, until it stops.
    pub(in crate::features::timeseries) fn plan(&self, tasks: &Tasks) {
        let (packing, board) = (self.clone(), tasks.clone());
        tasks.plan(NAME, move |stop| async move { packing.run(stop, &board).await });
    }

    async fn run(&self, stop: CancellationToken, board: &Tasks) {
        while !stop.is_cancelled() {
            let series = self.waiting.take(SERIES);
            if series.is_empty() {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = self.waiting.added() => continue,
                }
            }
            let packed = self.pack(&series).await;
            board.report(NAME, packed.as_ref().map(|_| ()).map_err(ToString::to_string));
            let failed = packed.is_err();
            for keys in packed.unwrap_or_else(|_| series.iter().collect()) {
                self.note(keys);
            }
            if failed {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(REST) => {}
                }
            }
        }
    }

    /// Packs all chunks of the series that are plain.
    ///
    /// # Errors
    /// [`RedisFault`]; chunks may be in either form then.
    pub(super) async fn pack_all(&self, series: &[SeriesKeys]) -> Result<(), RedisFault> {
        while !self.pack(series).await?.is_empty() {}
        Ok(())
    }

    /// Packs some chunks of each series; answers those that have more, or had one changed meanwhile.
    async fn pack<'a>(&self, series: &'a [SeriesKeys]) -> Result<Vec<&'a SeriesKeys>, RedisFault> {
        let reads: Vec<Plain<'_>> = series.iter().map(|keys| Plain { keys, limit: CHUNKS }).collect();
        let mut forms = Vec::new();
        let mut unfinished = Vec::new();
        for (keys, chunks) in series.iter().zip(self.redis.call_all(&reads).await?) {
            let chunks = chunks?;
            if chunks.len() == CHUNKS {
                unfinished.push(keys);
            }
            for plain in chunks {
                let packed = chunk::pack(&plain).map_err(unreadable)?;
                forms.push((keys, plain, packed));
                // A chunk takes some 0.1 ms: requests of this worker go in between.
                tokio::task::yield_now().await;
            }
        }
        let mut swaps = Vec::with_capacity(forms.len());
        for (keys, plain, packed) in &forms {
            let start = chunk::start(plain).map_err(unreadable)?;
            swaps.push(Swap { keys, start, current: plain, other: packed.as_deref().unwrap_or_default() });
        }
        for (swapped, (keys, _, packed)) in self.redis.call_all(&swaps).await?.into_iter().zip(&forms) {
            match (swapped?, packed) {
                (true, Some(_)) => self.metrics.packed.inc(),
                (true, None) => {}
                // A deletion changed the chunk and tells nobody: what is plain now is read again.
                (false, _) => unfinished.push(keys),
            }
        }
        Ok(unfinished)
    }
}

fn unreadable(error: chunk::ChunkError) -> RedisFault {
    RedisFault::bad_reply(BadReply::new(Swap::SCRIPT, error), Effect::Read)
}
