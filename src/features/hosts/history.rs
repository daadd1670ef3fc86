//! What Redis keeps of a host: chunks, read by the hour.
//!
//! Chunks of one hour may overlap, and a batch that was written twice is there twice, until the hour is packed; so an
//! hour is always read as a whole, and of equal samples one is taken.

use std::ops::RangeInclusive;

use super::chunk::{self, HOUR, Head, hour_of};
use super::error::HostsError;
use super::keys::HostKeys;
use super::model::HostId;
use super::sample::{Sample, SampleId};
use crate::clock::UnixMillis;
use crate::redis::{Effect, Key, Redis};

/// Chunks of one read: an open hour of an ordinary host has 120 of them.
const CHUNKS: usize = 256;

/// From which end a window is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Ascending,
    Descending,
}

#[derive(Clone, Debug)]
pub(super) struct History {
    redis: Redis,
    keys: HostKeys,
}

impl History {
    pub(super) fn new(redis: Redis, keys: HostKeys) -> Self {
        Self { redis, keys }
    }

    /// The samples of the window, from its beginning or its end on, until there are at least `limit` of them; sorted
    /// and distinct.
    ///
    /// # Errors
    /// [`HostsError::Redis`], or [`HostsError::Unreadable`] when there is something else than chunks.
    pub(super) async fn read(
        &self,
        host: &HostId,
        window: RangeInclusive<UnixMillis>,
        order: Order,
        limit: usize,
    ) -> Result<Vec<Sample>, HostsError> {
        let key = self.keys.history(host).chunks;
        let (mut from, mut to) = (hour_of(*window.start()), *window.end());
        let mut samples: Vec<Sample> = Vec::new();
        while from <= to && samples.len() < limit {
            let mut chunks = self.chunks(&key, from..=to, order, Some(CHUNKS)).await?;
            let is_complete = chunks.len() < CHUNKS;
            if let (false, Some(last)) = (is_complete, chunks.last()) {
                // The last hour may have more chunks than came.
                let hour = hour_of(start(host, last)?);
                let mut whole = Vec::with_capacity(chunks.len());
                for chunk in chunks {
                    if hour_of(start(host, &chunk)?) != hour {
                        whole.push(chunk);
                    }
                }
                chunks = whole;
                if chunks.is_empty() {
                    let hour_alone = hour.max(from)..=(hour + HOUR - 1).min(to);
                    chunks = self.chunks(&key, hour_alone, order, None).await?;
                    match order {
                        Order::Ascending => from = hour + HOUR,
                        Order::Descending => to = hour - 1,
                    }
                } else {
                    match order {
                        Order::Ascending => from = hour,
                        Order::Descending => to = hour + HOUR - 1,
                    }
                }
            }
            for chunk in &chunks {
                let head = Head::read(chunk).map_err(|cause| unreadable(host, cause))?;
                if head.first <= *window.end() && head.last >= *window.start() {
                    let read = chunk::decode(chunk).map_err(|cause| unreadable(host, cause))?;
                    samples.extend(read.into_iter().filter(|sample| window.contains(&sample.timestamp)));
                }
            }
            distinct(&mut samples);
            if is_complete {
                break;
            }
        }
        Ok(samples)
    }

    /// The chunks that begin in a window.
    async fn chunks(
        &self,
        key: &Key,
        starts: RangeInclusive<UnixMillis>,
        order: Order,
        limit: Option<usize>,
    ) -> Result<Vec<Vec<u8>>, HostsError> {
        let mut command = match order {
            Order::Ascending => redis::cmd("ZRANGEBYSCORE"),
            Order::Descending => redis::cmd("ZREVRANGEBYSCORE"),
        };
        command.arg(key);
        match order {
            Order::Ascending => command.arg(*starts.start()).arg(*starts.end()),
            Order::Descending => command.arg(*starts.end()).arg(*starts.start()),
        };
        if let Some(limit) = limit {
            command.arg("LIMIT").arg(0).arg(limit);
        }
        Ok(self.redis.query(&command, Effect::Read).await?)
    }
}

fn start(host: &HostId, chunk: &[u8]) -> Result<UnixMillis, HostsError> {
    Head::read(chunk).map(|head| head.first).map_err(|cause| unreadable(host, cause))
}

fn unreadable(host: &HostId, cause: chunk::ChunkError) -> HostsError {
    HostsError::Unreadable { id: host.clone(), cause }
}

/// Sorts samples by timestamp and number, and keeps one of equal ones.
pub(super) fn distinct<T: AsRef<Sample>>(samples: &mut Vec<T>) {
    let id = |sample: &T| -> SampleId { sample.as_ref().id() };
    if !samples.is_sorted_by(|before, after| id(before) < id(after)) {
        samples.sort_by_key(id);
        samples.dedup_by_key(|sample| id(sample));
    }
}
