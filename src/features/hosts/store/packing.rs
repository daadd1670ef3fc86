//! Packs the hours that are over, and computes the rollups of hours and days.
//!
//! A write marks its hour, and packing an hour marks its day. The script that stores a rollup also removes the mark, but
//! only if the mark has not changed since the samples were read. Late samples, concurrent replicas and crashed processes
//! therefore leave a mark behind, never a wrong rollup without one.

use std::collections::BTreeMap;

use super::super::error::HostsError;
use super::super::ingest::memory::Host;
use super::super::model::HostId;
use super::super::service::HostService;
use super::chunk::{self, DAY, HOUR, day_of};
use super::history::{Order, distinct};
use super::keys::{EXPIRY_MARGIN, HistoryKeys, LAST_CHUNK};
use super::rollup::{Collector, Rollup};
use super::scripts;
use crate::clock::UnixMillis;
use crate::redis::{Effect, Key};

/// How long after its end an hour or a day is processed, milliseconds. Most late samples arrive by then; a later one marks
/// the hour again and costs a second packing.
const PACK_AFTER: i64 = 5 * 60 * 1_000;

/// Samples of a packed chunk: an hour of one every 5 s is one chunk, of 20 a second eighteen.
const PACKED_SAMPLES: usize = 4_096;

impl HostService {
    /// Packs and rolls up every hour of a host that is marked and over, and rolls up such days.
    ///
    /// # Errors
    /// [`HostsError::Redis`], [`HostsError::Unreadable`]; an hour or day that fails stays marked.
    pub(in super::super) async fn process_marks(&self, id: &HostId, keys: &HistoryKeys) -> Result<(), HostsError> {
        let done = self.clock.now() - PACK_AFTER;
        let mut failure = None;
        for (&hour, &number) in self.marks(&keys.hours).await?.range(..=done - HOUR) {
            // Unreadable chunks of one hour must not block the other hours.
            failure = self.pack_hour(id, keys, hour, number).await.err().or(failure);
        }
        for (&day, &number) in self.marks(&keys.days).await?.range(..=done - DAY) {
            failure = self.roll_day(id, keys, day, number).await.err().or(failure);
        }
        failure.map_or(Ok(()), Err)
    }

    /// The marked hours or days, and their marks.
    ///
    /// # Errors
    /// [`HostsError::Redis`].
    pub(in super::super) async fn marks(&self, key: &Key) -> Result<BTreeMap<UnixMillis, u64>, HostsError> {
        let mut read = redis::cmd("HGETALL");
        read.arg(key);
        let fields: Vec<(String, u64)> = self.redis.query(&read, Effect::Read).await?;
        let mark = |(field, number): (String, u64)| Some((field.parse().ok()?, number));
        Ok(fields.into_iter().filter(|(field, _)| field != LAST_CHUNK).filter_map(mark).collect())
    }

    /// Replaces all chunks of an hour by packed ones, and stores its rollup; does nothing if the hour is written to in the
    /// meantime.
    async fn pack_hour(
        &self,
        id: &HostId,
        keys: &HistoryKeys,
        hour: UnixMillis,
        number: u64,
    ) -> Result<(), HostsError> {
        let samples = self.history.read(id, hour..=hour + HOUR - 1, Order::Ascending, usize::MAX).await?;
        let mut chunks = Vec::new();
        for part in samples.chunks(PACKED_SAMPLES) {
            if let Some(first) = part.first() {
                chunks.push((first.timestamp, chunk::pack(part).map_err(HostsError::unreadable(id))?));
            }
            // Packing takes a few milliseconds per chunk: let requests on this thread run in between.
            tokio::task::yield_now().await;
        }
        let mut collector = Collector::new();
        collector.add(&samples);
        let rollup = collector.finish(hour).await.as_ref().map(Rollup::encode).unwrap_or_default();
        let (oldest, ttl_ms) = self.rollup_retention();
        self.redis.call(scripts::pack(keys, hour, number, &rollup, oldest, ttl_ms, &chunks)).await?;
        Ok(())
    }

    /// Stores the rollup of a day; does nothing if an hour of the day is packed in the meantime.
    async fn roll_day(&self, id: &HostId, keys: &HistoryKeys, day: UnixMillis, number: u64) -> Result<(), HostsError> {
        let rollup = self.compute_rollup(None, id, day, DAY).await?.as_ref().map(Rollup::encode).unwrap_or_default();
        let (oldest, ttl_ms) = self.rollup_retention();
        self.redis.call(scripts::roll(keys, day, number, &rollup, oldest, ttl_ms)).await?;
        Ok(())
    }

    /// Computes the rollup of an hour or a day, `length` milliseconds long, from samples in memory and in Redis.
    ///
    /// # Errors
    /// [`HostsError::Redis`], [`HostsError::Unreadable`].
    pub(in super::super) async fn compute_rollup(
        &self,
        host: Option<&Host>,
        id: &HostId,
        start: UnixMillis,
        length: i64,
    ) -> Result<Option<Rollup>, HostsError> {
        let mut collector = Collector::new();
        for hour in 0..length / HOUR {
            let begin = start + hour * HOUR;
            let end = begin + HOUR - 1;
            let in_memory = host.map(|host| host.window(begin, end)).unwrap_or_default();
            let mut samples = self.history.read(id, begin..=end, Order::Ascending, usize::MAX).await?;
            samples.extend(in_memory.iter().map(|sample| **sample));
            distinct(&mut samples);
            collector.add(&samples);
        }
        Ok(collector.finish(start).await)
    }

    /// The time before which rollups are trimmed, and the TTL of their keys, milliseconds.
    pub(in super::super) fn rollup_retention(&self) -> (UnixMillis, u64) {
        let retention = self.config.rollup_retention.as_millis();
        (day_of(self.clock.now().saturating_sub_unsigned(retention)), retention + EXPIRY_MARGIN)
    }
}
