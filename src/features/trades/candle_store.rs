//! Reads stored candles, and builds the longer ones from them.

use std::ops::Range;

use jiff::tz::TimeZone;

use super::interval::{Period, Resolution, Stored};
use super::keys::TradeKeys;
use crate::clock::UnixMillis;
use crate::redis::{Effect, Key, Redis, RedisFault};
use crate::tape::{Candle, MINUTE, Symbol};

/// The most fields that one command names; beyond that, reading the whole hash is faster.
const NAMED_FIELDS: i64 = 480;

/// A candle and its beginning, Unix milliseconds.
pub(super) type Started = (UnixMillis, Candle);

#[derive(Clone, Debug)]
pub(super) struct CandleStore {
    pub redis: Redis,
    pub keys: TradeKeys,
    pub zone: TimeZone,
}

impl CandleStore {
    /// The newest candles that begin within `range`, at most `limit`, newest first. Candles that have expired at `now` are
    /// not there.
    ///
    /// Cost: one command for each day, month or year of stored candles, until there are enough.
    ///
    /// # Errors
    /// [`RedisFault`].
    pub(super) async fn newest(
        &self,
        symbol: &Symbol,
        resolution: Resolution,
        range: Range<UnixMillis>,
        limit: usize,
        now: UnixMillis,
    ) -> Result<Vec<Started>, RedisFault> {
        let stored = resolution.stored();
        let begin = resolution.next_start(range.start.max(now - stored.retention()), &self.zone);
        let mut end = resolution.next_start(range.end.min(now + stored.retention()), &self.zone);
        let mut found: Vec<Started> = Vec::new();
        while end > begin && found.len() < limit {
            let period = stored.period(end - 1, &self.zone);
            let wanted = period.begin.max(begin)..end;
            for (start, candle) in self.of_period(symbol, stored, &period, wanted).await?.into_iter().rev() {
                let start = resolution.start(start, &self.zone);
                match found.last_mut() {
                    Some((known, whole)) if *known == start => {
                        let later = std::mem::replace(whole, candle);
                        whole.add(&later);
                    }
                    _ => found.push((start, candle)),
                }
            }
            end = period.begin;
        }
        found.truncate(limit);
        Ok(found)
    }

    /// The stored candles of a period that begin within `wanted`, oldest first.
    async fn of_period(
        &self,
        symbol: &Symbol,
        stored: Stored,
        period: &Period,
        wanted: Range<UnixMillis>,
    ) -> Result<Vec<Started>, RedisFault> {
        let key = self.keys.candles(symbol, stored, period);
        let step = stored.resolution().minutes() * MINUTE;
        let mut candles: Vec<Started> = if stored != Stored::Days && (wanted.end - wanted.start) / step <= NAMED_FIELDS
        {
            let starts = std::iter::successors(Some(wanted.start), |start| Some(start + step));
            let starts: Vec<UnixMillis> = starts.take_while(|start| *start < wanted.end).collect();
            let found = self.read(&key, &starts).await?;
            starts.into_iter().zip(found).filter_map(|(start, candle)| Some((start, candle?))).collect()
        } else {
            let mut read = redis::cmd("HGETALL");
            read.arg(&key);
            let fields: Vec<(UnixMillis, String)> = self.redis.query(&read, Effect::Read).await?;
            let decoded = fields.into_iter().filter_map(|(start, text)| Some((start, Candle::decode(&text)?)));
            decoded.filter(|(start, _)| wanted.contains(start)).collect()
        };
        candles.sort_unstable_by_key(|(start, _)| *start);
        Ok(candles)
    }

    /// The candles with these beginnings in one hash.
    ///
    /// # Errors
    /// [`RedisFault`].
    pub(super) async fn read(&self, key: &Key, starts: &[UnixMillis]) -> Result<Vec<Option<Candle>>, RedisFault> {
        let mut read = redis::cmd("HMGET");
        read.arg(key).arg(starts);
        let texts: Vec<Option<String>> = self.redis.query(&read, Effect::Read).await?;
        Ok(texts.into_iter().map(|text| Candle::decode(&text?)).collect())
    }
}
