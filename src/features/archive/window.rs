//! Reads the minutes in Redis.

use std::collections::HashMap;
use std::ops::Range;

use super::model::MAX_PAGE_LEVELS;
use super::model::Order;
use crate::clock::UnixMillis;
use crate::redis::{Effect, Key, Redis, RedisFault};
use crate::tape::{Generation, Symbol, WindowKeys, WindowMinute};

/// How many minutes are read at a time: decoding them takes a few milliseconds if they have many levels.
const PART: usize = 16;

/// What Redis knows about a window as a whole.
#[derive(Clone, Debug, Default)]
pub(super) struct WindowState {
    pub generation: Option<Generation>,
    /// The id of the directory that keeps the files.
    pub store: Option<String>,
    /// When the window began.
    pub since: Option<UnixMillis>,
    /// The latest minute that left Redis because a file has it.
    pub dropped: Option<UnixMillis>,
}

#[derive(Clone, Debug)]
pub(super) struct WindowReader {
    pub redis: Redis,
}

impl WindowReader {
    pub(super) fn keys(&self, symbol: &Symbol) -> WindowKeys {
        WindowKeys::new(self.redis.keys(), symbol.as_str())
    }

    /// The first `count` minutes that begin within a range, in the requested order, and where they end if they have too many
    /// levels: at the last minute that was looked at.
    ///
    /// # Errors
    /// [`RedisFault`].
    pub(super) async fn read(
        &self,
        symbol: &Symbol,
        range: &Range<UnixMillis>,
        order: Order,
        count: usize,
    ) -> Result<(Vec<(UnixMillis, WindowMinute)>, Option<UnixMillis>), RedisFault> {
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
        let (mut found, mut levels, mut last) = (Vec::new(), 0, None);
        for part in minutes.chunks(PART) {
            if levels > MAX_PAGE_LEVELS {
                return Ok((found, last));
            }
            // A minute that was removed in between is in its file by now.
            let read = self.read_minutes(&keys, part).await?;
            levels += read.iter().map(|(_, minute)| minute.trades.levels.by_price.len()).sum::<usize>();
            found.extend(read);
            last = part.last().copied();
            tokio::task::yield_now().await;
        }
        Ok((found, None))
    }

    /// These minutes, except those that are not in the window.
    ///
    /// # Errors
    /// [`RedisFault`].
    pub(super) async fn read_minutes(
        &self,
        keys: &WindowKeys,
        minutes: &[UnixMillis],
    ) -> Result<Vec<(UnixMillis, WindowMinute)>, RedisFault> {
        let texts = self.fields(&keys.minutes, minutes).await?;
        let parsed = minutes.iter().zip(texts).filter_map(|(minute, text)| Some((*minute, text?.parse().ok()?)));
        Ok(parsed.collect())
    }

    /// Which file has each of these minutes, in the form of a mark; minutes without one are left out.
    ///
    /// # Errors
    /// [`RedisFault`].
    pub(super) async fn marks(
        &self,
        keys: &WindowKeys,
        minutes: &[UnixMillis],
    ) -> Result<HashMap<UnixMillis, String>, RedisFault> {
        let texts = self.fields(&keys.archived, minutes).await?;
        Ok(minutes.iter().zip(texts).filter_map(|(minute, text)| Some((*minute, text?))).collect())
    }

    async fn fields(&self, hash: &Key, minutes: &[UnixMillis]) -> Result<Vec<Option<String>>, RedisFault> {
        if minutes.is_empty() {
            return Ok(Vec::new());
        }
        let mut read = redis::cmd("HMGET");
        read.arg(hash).arg(minutes);
        self.redis.query(&read, Effect::Read).await
    }

    /// The first minutes of a sorted set from `from` to before `before`, at most `count`.
    ///
    /// # Errors
    /// [`RedisFault`].
    pub(super) async fn minutes(
        &self,
        set: &Key,
        from: UnixMillis,
        before: UnixMillis,
        count: usize,
    ) -> Result<Vec<UnixMillis>, RedisFault> {
        let mut find = redis::cmd("ZRANGEBYSCORE");
        find.arg(set).arg(from).arg(format!("({before}")).arg("LIMIT").arg(0).arg(count);
        self.redis.query(&find, Effect::Read).await
    }

    /// The number of minutes in a sorted set.
    ///
    /// # Errors
    /// [`RedisFault`].
    pub(super) async fn count(&self, set: &Key) -> Result<u64, RedisFault> {
        let mut count = redis::cmd("ZCARD");
        count.arg(set);
        self.redis.query(&count, Effect::Read).await
    }

    /// What Redis knows about a window as a whole.
    ///
    /// # Errors
    /// [`RedisFault`].
    pub(super) async fn state(&self, keys: &WindowKeys) -> Result<WindowState, RedisFault> {
        let mut read = redis::cmd("HMGET");
        read.arg(&keys.state).arg("generation").arg("store").arg("since").arg("dropped");
        let fields: [Option<String>; 4] = self.redis.query(&read, Effect::Read).await?;
        let [generation, store, since, dropped] = fields;
        let time = |text: Option<String>| text.and_then(|text| text.parse().ok());
        let generation = generation.and_then(|text| text.parse().ok());
        Ok(WindowState { generation, store, since: time(since), dropped: time(dropped) })
    }

    /// Makes a directory the one that keeps the files, unless there is one.
    ///
    /// # Errors
    /// [`RedisFault`].
    pub(super) async fn claim(&self, keys: &WindowKeys, store: &str) -> Result<(), RedisFault> {
        let mut claim = redis::cmd("HSETNX");
        claim.arg(&keys.state).arg("store").arg(store);
        self.redis.query::<i64>(&claim, Effect::Write).await.map(|_| ())
    }

    /// Makes a directory the one that keeps the files, instead of another one.
    ///
    /// # Errors
    /// [`RedisFault`].
    pub(super) async fn adopt(&self, keys: &WindowKeys, store: &str) -> Result<(), RedisFault> {
        let mut adopt = redis::cmd("HSET");
        adopt.arg(&keys.state).arg("store").arg(store);
        self.redis.query::<i64>(&adopt, Effect::Write).await.map(|_| ())
    }
}
