//! Packs sealed chunks in the background, and unpacks those that a late sample or a deletion falls into.
//!
//! A chunk is replaced by compare-and-swap, so several replicas and writers do not disturb each other: the second one finds
//! another chunk and leaves it. A series lists its plain chunks, and every write to it returns their number, so the chunks
//! that a stopped replica left are packed after the next write.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::super::chunk;
use super::super::keys::SeriesKeys;
use super::super::metrics::TimeseriesMetrics;
use super::super::scripts;
use super::pending_series::{PendingSeries, pause};
use crate::lifecycle::Tasks;
use crate::redis::{BadReply, Effect, Redis, RedisFault};

const NAME: &str = "timeseries.pack";

/// The most chunks of each series of one exchange: 16 times 8 plain chunks are one MiB.
const CHUNKS: usize = 8;

#[derive(Clone, Debug)]
pub struct ChunkPacker {
    redis: Redis,
    metrics: TimeseriesMetrics,
    pending: Arc<PendingSeries<SeriesKeys>>,
}

impl ChunkPacker {
    pub(super) fn new(redis: Redis, metrics: TimeseriesMetrics) -> Self {
        Self { redis, metrics, pending: Arc::default() }
    }

    /// Queues the series so that its plain chunks are packed soon.
    pub(super) fn note(&self, keys: &SeriesKeys) {
        self.pending.add(keys.hash.as_str(), || keys.clone());
    }

    /// Replaces each packed chunk by its plain form, unless the chunk has changed.
    ///
    /// # Errors
    /// [`RedisFault`], even if the bytes are not a packed chunk; some chunks may be plain then.
    pub(super) async fn unpack(&self, chunks: &[(&SeriesKeys, &[u8])]) -> Result<(), RedisFault> {
        let mut replacements = Vec::with_capacity(chunks.len());
        for (keys, packed) in chunks {
            let plain = chunk::unpack(packed).map_err(unreadable)?;
            let start = chunk::start(packed).map_err(unreadable)?;
            replacements.push(scripts::replace_chunk(keys, start, packed, &plain));
        }
        for replaced in self.redis.call_all(replacements).await? {
            if replaced? {
                self.metrics.unpacked.inc();
            }
        }
        Ok(())
    }

    /// Plans the task that packs chunks while the service runs.
    pub fn plan(&self, tasks: &Tasks) {
        let (packer, board) = (self.clone(), tasks.clone());
        tasks.plan(NAME, move |stop| async move { packer.run(stop, &board).await });
    }

    async fn run(&self, stop: CancellationToken, board: &Tasks) {
        while let Some(series) = self.pending.next(&stop).await {
            let packed = self.pack(&series).await;
            board.report(NAME, packed.as_ref().map(|_| ()).map_err(ToString::to_string));
            let failed = packed.is_err();
            for keys in packed.unwrap_or_else(|_| series.iter().collect()) {
                self.note(keys);
            }
            if failed {
                pause(&stop).await;
            }
        }
    }

    /// Packs all plain chunks of the series.
    ///
    /// # Errors
    /// [`RedisFault`]; some chunks may be packed then.
    pub(super) async fn pack_all(&self, series: &[SeriesKeys]) -> Result<(), RedisFault> {
        while !self.pack(series).await?.is_empty() {}
        Ok(())
    }

    /// Packs some chunks of each series. Returns the series that have more, or of which a chunk changed during packing.
    async fn pack<'a>(&self, series: &'a [SeriesKeys]) -> Result<Vec<&'a SeriesKeys>, RedisFault> {
        let reads = series.iter().map(|keys| scripts::plain_chunks(keys, CHUNKS));
        let (mut packed, mut replacements) = (Vec::new(), Vec::new());
        let mut unfinished = Vec::new();
        for (keys, chunks) in series.iter().zip(self.redis.call_all(reads).await?) {
            let chunks = chunks?;
            if chunks.len() == CHUNKS {
                unfinished.push(keys);
            }
            for plain in chunks {
                let start = chunk::start(&plain).map_err(unreadable)?;
                let smaller = chunk::pack(&plain).map_err(unreadable)?;
                packed.push((keys, smaller.is_some()));
                replacements.push(scripts::replace_chunk(keys, start, &plain, &smaller.unwrap_or_default()));
                // A chunk takes about 0.1 ms; other tasks of this worker run in between.
                tokio::task::yield_now().await;
            }
        }
        for (replaced, (keys, is_packed)) in self.redis.call_all(replacements).await?.into_iter().zip(packed) {
            match (replaced?, is_packed) {
                (true, true) => self.metrics.packed.inc(),
                (true, false) => {}
                // A deletion changed the chunk: the list of plain chunks is read again.
                (false, _) => unfinished.push(keys),
            }
        }
        Ok(unfinished)
    }
}

fn unreadable(error: chunk::ChunkError) -> RedisFault {
    RedisFault::bad_reply(BadReply::new(error), Effect::Read)
}
