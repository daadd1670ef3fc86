//! The symbols that have a tape.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::scripts;
use super::symbol::Symbol;
use crate::clock::{Clock, UnixMillis};
use crate::redis::{Effect, Key, Redis, RedisFault};

/// How often a replica lists a symbol that it writes to.
const RELIST: Duration = Duration::from_secs(3_600);

/// The most symbols whose last listing a replica remembers.
const REMEMBERED: usize = 10_000;

/// How long a symbol stays in the list after its last trade, milliseconds: as long as its candles of 15 minutes.
const LISTED: i64 = 400 * 86_400_000;

/// The list of symbols. Clones share what the replica remembers.
#[derive(Clone, Debug)]
pub struct Listing {
    redis: Redis,
    /// `market:symbols` - sorted set, symbol by the time of its last listing, Unix ms. Trimmed to [`LISTED`]; expires with
    /// its last entry.
    key: Key,
    clock: Clock,
    /// When this replica last listed a symbol.
    listed: Arc<Mutex<HashMap<Symbol, Duration>>>,
    added: Arc<Notify>,
}

impl Listing {
    pub fn new(redis: &Redis, clock: &Clock) -> Self {
        let key = redis.keys().key("market:symbols");
        Self { redis: redis.clone(), key, clock: clock.clone(), listed: Arc::default(), added: Arc::default() }
    }

    /// Lists a symbol, at most once an hour. A writer calls this before its first trade, so that no tape is forgotten if
    /// the writer crashes in between.
    ///
    /// # Errors
    /// [`RedisFault`].
    pub async fn list(&self, symbol: &Symbol) -> Result<(), RedisFault> {
        let now = self.clock.elapsed();
        let is_recent = |listed: &Duration| now.saturating_sub(*listed) < RELIST;
        if self.remembered().get(symbol).is_some_and(is_recent) {
            return Ok(());
        }
        self.redis.call(scripts::list(&self.key, symbol.as_str(), self.clock.now(), LISTED)).await?;
        let mut remembered = self.remembered();
        if remembered.len() >= REMEMBERED {
            remembered.clear();
        }
        remembered.insert(symbol.clone(), now);
        self.added.notify_one();
        Ok(())
    }

    /// Resolves when this replica has listed a symbol; one task may wait.
    pub async fn added(&self) {
        self.added.notified().await;
    }

    /// At most `count` symbols that were listed since `since`, the latest first.
    ///
    /// # Errors
    /// [`RedisFault`].
    pub async fn symbols(&self, since: UnixMillis, count: usize) -> Result<Vec<Symbol>, RedisFault> {
        let mut read = redis::cmd("ZREVRANGEBYSCORE");
        read.arg(&self.key).arg("+inf").arg(since).arg("LIMIT").arg(0).arg(count);
        let names: Vec<String> = self.redis.query(&read, Effect::Read).await?;
        Ok(names.into_iter().filter_map(|name| Symbol::try_from(name).ok()).collect())
    }

    fn remembered(&self) -> std::sync::MutexGuard<'_, HashMap<Symbol, Duration>> {
        self.listed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
