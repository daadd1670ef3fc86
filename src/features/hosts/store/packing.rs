//! Hours that are over are packed and rolled up, days rolled up.
//!
//! Whatever is written to an hour marks it, and what is packed marks its day; a mark goes with the very step that has dealt
//! with it, and only if it is still the one that was there before the samples were read. So late samples, replicas that
//! cross each other and processes that die leave marks and never a rollup that is believed and wrong.

use std::collections::BTreeMap;

use crate::clock::UnixMillis;
use crate::features::hosts::error::HostsError;
use crate::features::hosts::ingest::writer::AFTERLIFE;
use crate::features::hosts::model::HostId;
use crate::features::hosts::service::{HostService, signed};
use crate::features::hosts::store::chunk;
use crate::features::hosts::store::chunk::{DAY, HOUR, day_of};
use crate::features::hosts::store::history::Order;
use crate::features::hosts::store::keys::{HistoryKeys, LAST_CHUNK};
use crate::features::hosts::store::rollup::{Collector, Rollup};
use crate::features::hosts::store::scripts::{Keeping, Pack, Roll};
use crate::redis::{Effect, Key};

/// Samples of a packed chunk: an hour of one every 5 s is one chunk, of 20 a second eighteen.
const PACKED_SAMPLES: usize = 4_096;

impl HostService {
    /// Deals with every hour and every day of a host that is marked and over.
    ///
    /// # Errors
    /// [`HostsError::Redis`], [`HostsError::Unreadable`]; what is not done stays marked.
    pub(in crate::features::hosts) async fn settle_marks(
        &self,
        id: &HostId,
        keys: &HistoryKeys,
    ) -> Result<(), HostsError> {
        let done = self.clock.now() - signed(self.config.pack_after.as_millis());
        let mut failure = None;
        for (&hour, &number) in self.marks(&keys.hours).await?.range(..=done - HOUR) {
            // Chunks of one hour that cannot be read are not the others' trouble.
            failure = self.pack_hour(id, keys, hour, number).await.err().or(failure);
        }
        for (&day, &number) in self.marks(&keys.days).await?.range(..=done - DAY) {
            failure = self.roll_day(id, keys, day, number).await.err().or(failure);
        }
        failure.map_or(Ok(()), Err)
    }

    /// The hours or days that are marked, and their marks.
    ///
    /// # Errors
    /// [`HostsError::Redis`].
    pub(in crate::features::hosts) async fn marks(&self, key: &Key) -> Result<BTreeMap<UnixMillis, u64>, HostsError> {
        let mut read = redis::cmd("HGETALL");
        read.arg(key);
        let fields: Vec<(String, u64)> = self.redis.query(&read, Effect::Read).await?;
        let mark = |(field, number): (String, u64)| Some((field.parse().ok()?, number));
        Ok(fields.into_iter().filter(|(field, _)| field != LAST_CHUNK).filter_map(mark).collect())
    }

    /// Puts packed chunks and a rollup in the place of all chunks of an hour; one that is written to meanwhile is left for
    /// later.
    async fn pack_hour(
        &self,
        id: &HostId,
        keys: &HistoryKeys,
        hour: UnixMillis,
        number: u64,
    ) -> Result<(), HostsError> {
        let samples = self.history.read(id, hour..=hour + HOUR - 1, Order::Ascending, usize::MAX).await?;
        let unreadable = |cause| HostsError::Unreadable { id: id.clone(), cause };
        let mut chunks = Vec::new();
        for part in samples.chunks(PACKED_SAMPLES) {
            if let Some(first) = part.first() {
                chunks.push((first.timestamp, chunk::pack(part).map_err(unreadable)?));
            }
            // A chunk takes a few milliseconds: requests of this thread go in between.
            tokio::task::yield_now().await;
        }
        let mut collector = Collector::new();
        collector.add(samples.iter());
        let rollup = collector.finish(hour).await.as_ref().map(Rollup::encode).unwrap_or_default();
        let keeping = self.keeping();
        self.redis.call(&Pack { keys, hour, number, rollup: &rollup, keeping, chunks: &chunks }).await?;
        Ok(())
    }

    /// Rolls a day up; one of which an hour is packed meanwhile is left for later.
    async fn roll_day(&self, id: &HostId, keys: &HistoryKeys, day: UnixMillis, number: u64) -> Result<(), HostsError> {
        let mut collector = Collector::new();
        for hour in 0..DAY / HOUR {
            let begin = day + hour * HOUR;
            let samples = self.history.read(id, begin..=begin + HOUR - 1, Order::Ascending, usize::MAX).await?;
            collector.add(samples.iter());
        }
        let rollup = collector.finish(day).await.as_ref().map(Rollup::encode).unwrap_or_default();
        self.redis.call(&Roll { keys, day, number, rollup: &rollup, keeping: self.keeping() }).await?;
        Ok(())
    }

    pub(in crate::features::hosts) fn keeping(&self) -> Keeping {
        let retention = self.config.rollup_retention.as_millis();
        Keeping { oldest: day_of(self.clock.now().saturating_sub_unsigned(retention)), life: retention + AFTERLIFE }
    }
}
