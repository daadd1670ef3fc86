//! The order book service: one call of a script for each change, with the rules of the book.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::Notify;

use super::config::OrderBookConfig;
use super::error::BookError;
use super::keys::{self, BookKeys};
use super::metrics::BookMetrics;
use super::rules::{BookSettings, Rules};
use super::scripts::{self, BookCall, Reply, Target};
use super::state::SharedViews;
use crate::clock::Clock;
use crate::config::archive::ArchiveConfig;
use crate::config::http::HttpConfig;
use crate::deps::Deps;
use crate::events::Movements;
use crate::lifecycle::{Phase, Tasks};
use crate::redis::{Effect, FencingToken, Redis, RedisFault};
use crate::tape::{Listing, Symbol};

/// How often a call is repeated because orders have expired or rules have changed. Each round ends 64 orders.
const MAX_ROUNDS: usize = 2_000;
/// The most books whose rules are kept in memory.
const MAX_KNOWN: usize = 4_096;

/// Serves the order books. The other files of this folder add their operations.
#[derive(Debug)]
pub(super) struct OrderBookService {
    pub config: OrderBookConfig,
    pub redis: Redis,
    pub clock: Clock,
    pub metrics: BookMetrics,
    pub views: SharedViews,
    pub movements: Arc<Movements>,
    pub tapes: Listing,
    /// Tells the follower that this replica has listed a book.
    pub listed: Notify,
    pub phase: Phase,
    pub tasks: Tasks,
    /// The most bytes of a JSON snapshot, and the longest pause in a streamed one.
    pub body_limit: usize,
    pub body_idle: Duration,
    /// The minutes of trades in Redis at which no fill is applied.
    pub most_minutes: Option<u64>,
    /// The rules of books as this replica knows them. Scripts refuse calls with other rules than those of the book.
    known: RwLock<HashMap<Symbol, Arc<Rules>>>,
}

/// How a book was changed by its settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SettingsChange {
    Created,
    Changed,
    Unchanged,
}

impl OrderBookService {
    pub(super) fn new(deps: &Deps, config: OrderBookConfig, http: &HttpConfig, archive: &ArchiveConfig) -> Arc<Self> {
        let redis = deps.redis.state.clone();
        let (movements, subscriptions) = Movements::new();
        let (listening, connection) = (Arc::clone(&movements), redis.clone());
        deps.tasks.plan("orderbook.listen", |stop| listening.listen(connection, subscriptions, stop));
        Arc::new(Self {
            config,
            redis,
            clock: deps.clock.clone(),
            metrics: BookMetrics::new(&deps.metrics),
            views: SharedViews::default(),
            movements,
            tapes: deps.tapes.clone(),
            listed: Notify::new(),
            phase: deps.phase.clone(),
            tasks: deps.tasks.clone(),
            body_limit: http.body_limit.as_usize(),
            body_idle: http.body_idle_timeout.duration(),
            most_minutes: archive.most_minutes(),
            known: RwLock::default(),
        })
    }

    pub(super) fn keys<'a>(&'a self, symbol: &'a Symbol) -> BookKeys<'a> {
        BookKeys::new(self.redis.keys(), symbol, self.clock.now())
    }

    /// Calls a script of a book. `build` may run several times.
    ///
    /// # Errors
    /// [`BookError::BookNotFound`], the error of `build`, or a fault.
    pub(super) async fn call(
        &self,
        symbol: &Symbol,
        token: Option<FencingToken>,
        build: impl Fn(&Target<'_>) -> Result<BookCall, BookError>,
    ) -> Result<(Arc<Rules>, Reply), BookError> {
        let keys = self.keys(symbol);
        let fence = token.map(|token| self.redis.fence(keys.fence(), token));
        let now = self.clock.redis_arg();
        let (mut known, mut is_fresh) = (self.known_rules(symbol), false);
        for _ in 0..MAX_ROUNDS {
            let rules = if let Some(rules) = known.take() {
                rules
            } else {
                is_fresh = true;
                self.read_rules(symbol).await?
            };
            let life = self.config.book_life.as_millis();
            let target = Target { keys: &keys, rules: &rules, now: &now, life, fence: fence.as_ref() };
            let call = match build(&target) {
                // The book may have other rules by now.
                Err(error) if error.depends_on_rules() && !is_fresh => continue,
                call => call?,
            };
            let reply = self.redis.call(call).await?;
            match reply.status.as_str() {
                "missing" => {
                    self.forget(symbol);
                    return Err(BookError::BookNotFound { symbol: symbol.clone() });
                }
                "rules" => known = Some(self.learn(symbol, reply.word(0))?),
                "due" => known = Some(rules),
                _ => return Ok((rules, reply)),
            }
        }
        Err(BookError::Unsettled { symbol: symbol.clone() })
    }

    /// The rules of a book as Redis has them.
    ///
    /// # Errors
    /// [`BookError::BookNotFound`] or a fault.
    pub(super) async fn read_rules(&self, symbol: &Symbol) -> Result<Arc<Rules>, BookError> {
        let mut read = redis::cmd("HGET");
        read.arg(self.keys(symbol).state()).arg("rules");
        if let Some(text) = self.redis.query::<Option<String>>(&read, Effect::Read).await? {
            return self.learn(symbol, &text);
        }
        self.forget(symbol);
        Err(BookError::BookNotFound { symbol: symbol.clone() })
    }

    /// Creates a book, or changes its rules.
    ///
    /// # Errors
    /// [`BookError::BookMode`] or [`BookError::BookInUse`] if the book does not permit the change,
    /// [`BookError::Precondition`] if it exists and `create_only`, [`BookError::TooManyBooks`], or a fault.
    pub(super) async fn put_settings(
        &self,
        symbol: &Symbol,
        settings: &BookSettings,
        create_only: bool,
        token: Option<FencingToken>,
    ) -> Result<(SettingsChange, BookSettings), BookError> {
        let rules = Rules::new(settings)?;
        self.require_room(symbol).await?;
        // Expired orders must not keep the book from being empty.
        match self.sweep(symbol).await {
            Ok(_) | Err(BookError::BookNotFound { .. }) => {}
            Err(error) => return Err(error),
        }
        let keys = self.keys(symbol);
        let fence = token.map(|token| self.redis.fence(keys.fence(), token));
        let (now, life) = (self.clock.redis_arg(), self.config.book_life.as_millis());
        let call = scripts::settings(&keys, fence.as_ref(), &now, &rules, create_only, life);
        let reply = self.redis.call(call).await?;
        let change = match reply.status.as_str() {
            "created" => SettingsChange::Created,
            "changed" => SettingsChange::Changed,
            "same" => SettingsChange::Unchanged,
            "exists" => return Err(BookError::Precondition),
            "mode" => return Err(BookError::BookMode { symbol: symbol.clone() }),
            _ => return Err(BookError::BookInUse { symbol: symbol.clone() }),
        };
        self.learn(symbol, rules.text())?;
        self.list(std::slice::from_ref(symbol)).await.map_err(RedisFault::applied)?;
        Ok((change, rules.settings()))
    }

    /// # Errors
    /// [`BookError::TooManyBooks`] if the book would be one too many.
    async fn require_room(&self, symbol: &Symbol) -> Result<(), BookError> {
        let index = keys::index(self.redis.keys());
        let (mut count, mut score) = (redis::cmd("ZCARD"), redis::cmd("ZSCORE"));
        count.arg(&index);
        score.arg(&index).arg(symbol.as_str());
        let books: usize = self.redis.query(&count, Effect::Read).await?;
        let limit = self.config.max_books;
        if books < limit || self.redis.query::<Option<f64>>(&score, Effect::Read).await?.is_some() {
            return Ok(());
        }
        Err(BookError::TooManyBooks { limit })
    }

    /// Forgets the fencing tokens that a book has seen.
    ///
    /// # Errors
    /// [`RedisFault`].
    pub(super) async fn reset_fence(&self, symbol: &Symbol, by: &str) -> Result<(), RedisFault> {
        self.redis.reset_fence(&self.keys(symbol).fence(), by).await
    }

    /// Deletes a book with its orders. Deleting it again succeeds.
    ///
    /// # Errors
    /// A fault.
    pub(super) async fn delete(&self, symbol: &Symbol, token: Option<FencingToken>) -> Result<(), BookError> {
        let keys = self.keys(symbol);
        let fence = token.map(|token| self.redis.fence(keys.fence(), token));
        self.redis.call(scripts::delete(&keys, fence.as_ref())).await?;
        self.forget(symbol);
        // Deleting it again removes it from the list.
        Ok(self.unlist(symbol).await.map_err(RedisFault::applied)?)
    }

    /// Ends all expired orders of a book; returns the state after that.
    ///
    /// # Errors
    /// [`BookError::BookNotFound`] or a fault.
    pub(super) async fn sweep(&self, symbol: &Symbol) -> Result<Reply, BookError> {
        for _ in 0..MAX_ROUNDS {
            let (_, reply) = self.call(symbol, None, |target| Ok(scripts::sweep(target))).await?;
            self.metrics.swept.inc_by(reply.number(1));
            if reply.word(0) == "0" {
                return Ok(reply);
            }
        }
        Err(BookError::Unsettled { symbol: symbol.clone() })
    }

    fn known_rules(&self, symbol: &Symbol) -> Option<Arc<Rules>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).get(symbol).cloned()
    }

    fn learn(&self, symbol: &Symbol, text: &str) -> Result<Arc<Rules>, BookError> {
        let unreadable = || BookError::Unreadable { what: format!("rules of the book `{symbol}`") };
        let rules = Arc::new(Rules::stored(text).ok_or_else(unreadable)?);
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_KNOWN {
            known.clear();
        }
        known.insert(symbol.clone(), Arc::clone(&rules));
        Ok(rules)
    }

    fn forget(&self, symbol: &Symbol) {
        self.known.write().unwrap_or_else(PoisonError::into_inner).remove(symbol);
    }
}
