//! Reads the minutes in Redis.

use std::ops::Range;

use super::model::Order;
use crate::clock::UnixMillis;
use crate::redis::{Effect, Redis, RedisFault};
use crate::tape::{Symbol, WindowKeys, WindowMinute};

#[derive(Clone, Debug)]
pub(super) struct WindowReader {
    pub redis: Redis,
}

impl WindowReader {
    pub(super) fn keys(&self, symbol: &Symbol) -> WindowKeys {
        WindowKeys::new(self.redis.keys(), symbol.as_str())
    }

    /// The first `count` minutes that begin within a range, in the requested order.
    ///
    /// # Errors
    /// [`RedisFault`].
    pub(super) async fn read(
        &self,
        symbol: &Symbol,
        range: &Range<UnixMillis>,
        order: Order,
        count: usize,
    ) -> Result<Vec<(UnixMillis, WindowMinute)>, RedisFault> {
        let keys = self.keys(symbol);
        let end = format!("({}", range.end);
        let mut find = redis::cmd(if order == Order::Asc { "ZRANGEBYSCORE" } else { "ZREVRANGEBYSCORE" });
        find.arg(&keys.index);
        match order {
            Order::Asc => find.arg(range.start).arg(end),
            Order::Desc => find.arg(end).arg(range.start),
        };
        find.arg("LIMIT").arg(0).arg(count);
        let minutes: Vec<UnixMillis> = self.redis.query(&find, Effect::Read).await?;
        if minutes.is_empty() {
            return Ok(Vec::new());
        }
        let mut read = redis::cmd("HMGET");
        read.arg(&keys.minutes).arg(&minutes);
        let texts: Vec<Option<String>> = self.redis.query(&read, Effect::Read).await?;
        // A minute that was removed in between is in its file by now.
        let parsed = minutes.into_iter().zip(texts).filter_map(|(minute, text)| Some((minute, text?.parse().ok()?)));
        Ok(parsed.collect())
    }

    /// The oldest minutes of a window before a time, at most `count`.
    ///
    /// # Errors
    /// [`RedisFault`].
    pub(super) async fn minutes_before(
        &self,
        keys: &WindowKeys,
        before: UnixMillis,
        count: usize,
    ) -> Result<Vec<UnixMillis>, RedisFault> {
        let mut find = redis::cmd("ZRANGEBYSCORE");
        find.arg(&keys.index).arg("-inf").arg(format!("({before}")).arg("LIMIT").arg(0).arg(count);
        self.redis.query(&find, Effect::Read).await
    }
}
