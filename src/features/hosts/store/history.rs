//! Reads the history of a host from Redis: chunks of samples, hour by hour.
//!
//! Until an hour is packed, its chunks may overlap, and a batch that was written twice is stored twice. An hour may be packed
//! at any time, so it is always fetched as a whole, and duplicates are removed. Chunks are decoded one by one, and only as
//! many as needed.

use std::cmp::Reverse;
use std::ops::RangeInclusive;

use super::super::error::HostsError;
use super::super::model::HostId;
use super::super::sample::{Sample, SampleId};
use super::chunk::{self, HOUR, Head, hour_of};
use super::keys::HostKeys;
use crate::clock::UnixMillis;
use crate::redis::{Effect, Key, Redis};

/// The number of chunks in the first fetch of a page, and in the largest one. The current hour of an ordinary host has up to
/// 120 chunks, a packed hour has one.
const FIRST_CHUNKS: usize = 16;
const MOST_CHUNKS: usize = 256;

/// The end of the window from which it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Order {
    Ascending,
    Descending,
}

#[derive(Clone, Debug)]
pub(in super::super) struct History {
    redis: Redis,
    keys: HostKeys,
}

impl History {
    pub(in super::super) fn new(redis: Redis, keys: HostKeys) -> Self {
        Self { redis, keys }
    }

    /// At least `limit` samples of the window, or all of them, counted from its start or end; sorted and without duplicates.
    ///
    /// # Errors
    /// [`HostsError::Redis`], or [`HostsError::Unreadable`] if a stored value is not a chunk.
    pub(in super::super) async fn read(
        &self,
        host: &HostId,
        window: RangeInclusive<UnixMillis>,
        order: Order,
        limit: usize,
    ) -> Result<Vec<Sample>, HostsError> {
        let key = self.keys.history(host).chunks;
        let (mut from, mut to) = (hour_of(*window.start()), *window.end());
        let mut samples: Vec<Sample> = Vec::new();
        let mut most = if limit == usize::MAX { MOST_CHUNKS } else { FIRST_CHUNKS };
        while from <= to && samples.len() < limit {
            let mut chunks = self.chunks(&key, from..=to, order, Some(most)).await?;
            let is_complete = chunks.len() < most;
            most = MOST_CHUNKS.min(2 * most);
            if let (false, Some(last)) = (is_complete, chunks.last()) {
                // The last hour may have more chunks than were fetched.
                let hour = hour_of(start(host, last)?);
                let mut whole = Vec::with_capacity(chunks.len());
                for chunk in chunks {
                    if hour_of(start(host, &chunk)?) != hour {
                        whole.push(chunk);
                    }
                }
                chunks = whole;
                let is_alone = chunks.is_empty();
                if is_alone {
                    let hour_alone = hour.max(from)..=(hour + HOUR - 1).min(to);
                    chunks = self.chunks(&key, hour_alone, order, None).await?;
                }
                match order {
                    Order::Ascending => from = if is_alone { hour + HOUR } else { hour },
                    Order::Descending => to = if is_alone { hour - 1 } else { hour + HOUR - 1 },
                }
            }
            unpack(host, &chunks, &window, order, limit, &mut samples)?;
            if is_complete {
                break;
            }
        }
        Ok(samples)
    }

    /// The chunks that start in a window.
    async fn chunks(
        &self,
        key: &Key,
        starts: RangeInclusive<UnixMillis>,
        order: Order,
        limit: Option<usize>,
    ) -> Result<Vec<Vec<u8>>, HostsError> {
        let (name, begin, end) = match order {
            Order::Ascending => ("ZRANGEBYSCORE", starts.start(), starts.end()),
            Order::Descending => ("ZREVRANGEBYSCORE", starts.end(), starts.start()),
        };
        let mut command = redis::cmd(name);
        command.arg(key).arg(*begin).arg(*end);
        if let Some(limit) = limit {
            command.arg("LIMIT").arg(0).arg(limit);
        }
        Ok(self.redis.query(&command, Effect::Read).await?)
    }
}

/// Adds the samples of chunks until at least `limit` samples come before all samples of the remaining chunks, in the given
/// order; otherwise adds all of them.
fn unpack(
    host: &HostId,
    chunks: &[Vec<u8>],
    window: &RangeInclusive<UnixMillis>,
    order: Order,
    limit: usize,
    samples: &mut Vec<Sample>,
) -> Result<(), HostsError> {
    let mut heads = Vec::with_capacity(chunks.len());
    for chunk in chunks {
        let head = Head::read(chunk).map_err(HostsError::unreadable(host))?;
        if head.first <= *window.end() && head.last >= *window.start() {
            heads.push((head, chunk));
        }
    }
    match order {
        Order::Ascending => heads.sort_by_key(|(head, _)| head.first),
        Order::Descending => heads.sort_by_key(|(head, _)| Reverse(head.last)),
    }
    for (head, chunk) in heads {
        if samples.len() >= limit {
            distinct(samples);
            let is_final = |sample: &Sample| match order {
                Order::Ascending => sample.timestamp < head.first,
                Order::Descending => sample.timestamp > head.last,
            };
            if samples.iter().filter(|sample| is_final(sample)).count() >= limit {
                samples.retain(is_final);
                return Ok(());
            }
        }
        let unpacked = chunk::decode(chunk).map_err(HostsError::unreadable(host))?;
        samples.extend(unpacked.into_iter().filter(|sample| window.contains(&sample.timestamp)));
    }
    distinct(samples);
    Ok(())
}

fn start(host: &HostId, chunk: &[u8]) -> Result<UnixMillis, HostsError> {
    Head::read(chunk).map(|head| head.first).map_err(HostsError::unreadable(host))
}

/// Sorts samples by timestamp and sequence number, and removes duplicates.
pub(in super::super) fn distinct<T: AsRef<Sample>>(samples: &mut Vec<T>) {
    let id = |sample: &T| -> SampleId { sample.as_ref().id() };
    if !samples.is_sorted_by(|before, after| id(before) < id(after)) {
        samples.sort_by_key(id);
        samples.dedup_by_key(|sample| id(sample));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Overlapping chunks of an hour, against a sorted list.
        #[test]
        fn what_is_unpacked_is_complete_up_to_the_limit(
            parts in prop::collection::vec(prop::collection::btree_set((0_i64..60, 0_u64..2), 1..20), 1..12),
            from in 0_i64..60,
            length in 0_i64..60,
            limit in 1_usize..60,
            is_ascending in any::<bool>(),
        ) {
            let of = |&(timestamp, seq): &(i64, u64)| Sample { timestamp, seq, ..Sample::default() };
            let encoded = |part: &std::collections::BTreeSet<(i64, u64)>| chunk::encode(&part.iter().map(of).collect::<Vec<_>>());
            let chunks: Vec<Vec<u8>> = parts.iter().map(encoded).collect::<Result<_, _>>().expect("chunks");
            let window = from..=from + length;
            let mut all: Vec<SampleId> = parts
                .iter()
                .flatten()
                .filter(|(timestamp, _)| window.contains(timestamp))
                .map(|sample| of(sample).id())
                .collect();
            all.sort();
            all.dedup();
            let order = if is_ascending { Order::Ascending } else { Order::Descending };
            let mut samples = Vec::new();
            let host = HostId::new("web-1").expect("a name");
            unpack(&host, &chunks, &window, order, limit, &mut samples).expect("samples");
            let found: Vec<SampleId> = samples.iter().map(Sample::id).collect();
            prop_assert!(found.len() >= limit.min(all.len()));
            let expected = match order {
                Order::Ascending => all.get(..found.len()),
                Order::Descending => all.get(all.len() - found.len()..),
            };
            prop_assert_eq!(Some(found.as_slice()), expected);
        }
    }
}
