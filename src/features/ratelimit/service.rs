//! What limits are made of, and what admins do to them. Questions: `asking.rs`; decisions: `deciding.rs`.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::blocked::Blocked;
use super::config::RatelimitConfig;
use super::error::{BadAsk, LimitError};
use super::exceptions::Exceptions;
use super::index::Index;
use super::limiter::{Limiter, Limiters, SharedLimiters};
use super::local::LocalLimits;
use super::metrics::LimitMetrics;
use super::model::{Action, ExceptionRequest, ExceptionView, LimitKey, LimitStats, LimiterView};
use super::rule::Rule;
use super::strategy::{BadStrategy, MAX_WINDOW_MS};
use super::watch::Watch;
use crate::clock::{Clock, UnixMillis};
use crate::config::Config;
use crate::deps::Deps;
use crate::http::reply::Page;
use crate::redis::Redis;

#[derive(Clone, Debug)]
pub(super) struct LimitService(Arc<Inner>);

#[derive(Debug)]
pub(super) struct Inner {
    pub redis: Redis,
    pub clock: Clock,
    pub limiters: SharedLimiters,
    pub exceptions: Arc<Exceptions>,
    pub blocked: Arc<Blocked>,
    pub index: Index,
    pub local: LocalLimits,
    pub watch: Watch,
    pub metrics: LimitMetrics,
    pub open_timeout: Duration,
    /// How many reservations of a key may be open.
    pub open_reservations: usize,
    since: UnixMillis,
}

/// How long one request may go on resetting keys: below the deadline of requests, whatever a step takes.
const RESET_TIME: Duration = Duration::from_millis(500);

impl Deref for LimitService {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl LimitService {
    /// # Errors
    /// The limiter whose strategy is unusable.
    pub(super) fn new(deps: &Deps, config: &RatelimitConfig) -> Result<Self, BadStrategy> {
        let (redis, clock) = (deps.redis.state.clone(), deps.clock.clone());
        let metrics = LimitMetrics::new(&deps.metrics);
        let limiters = Arc::new(ArcSwap::from_pointee(Limiters::new(config, &metrics)?));
        let exceptions = Arc::new(Exceptions::new(&redis, &clock, &limiters, config.exceptions));
        let blocked = Arc::new(Blocked::new(config.blocked_keys, config.blocked_for.duration(), &clock));
        let watch = Watch::new(&exceptions, &blocked);
        let (looking, interval, tasks) = (watch.clone(), config.poll_interval.duration(), deps.tasks.clone());
        deps.tasks.plan("ratelimit.watch", move |stop| looking.run(interval, tasks, stop));
        let (index, keeper) = Index::new(&redis, &limiters, config, &deps.tasks);
        deps.tasks.plan("ratelimit.index", |stop| keeper.run(stop));
        Ok(Self(Arc::new(Inner {
            local: LocalLimits::new(config.local_keys, config.instances, &clock),
            open_timeout: config.open_timeout.duration(),
            open_reservations: config.open_reservations,
            since: clock.now(),
            redis,
            clock,
            limiters,
            exceptions,
            blocked,
            index,
            watch,
            metrics,
        })))
    }

    /// # Errors
    /// [`LimitError::UnknownLimiter`].
    pub(super) fn limiter(&self, name: &str) -> Result<Arc<Limiter>, LimitError> {
        let limiters = self.limiters.load();
        limiters.get(name).cloned().ok_or_else(|| LimitError::UnknownLimiter { name: name.to_owned() })
    }

    /// The rules in force.
    pub(super) fn views(&self) -> Vec<LimiterView> {
        self.limiters.load().iter().map(|limiter| limiter.view()).collect()
    }

    pub(super) fn stats(&self) -> LimitStats {
        LimitStats { since: self.since, limiters: self.limiters.load().iter().map(|limiter| limiter.stats()).collect() }
    }

    /// Puts the limiters of every further configuration into force, until `stop`; all other settings stay as they were
    /// at the start.
    pub(super) async fn follow(self, mut configs: watch::Receiver<Config>, stop: CancellationToken) {
        while let Some(Ok(())) = stop.run_until_cancelled(configs.changed()).await {
            let section = configs.borrow_and_update().section();
            let read = section.map_err(|error| error.to_string());
            let limiters = read.and_then(|config| Limiters::new(&config, &self.metrics).map_err(|bad| bad.to_string()));
            match limiters {
                Ok(limiters) => self.limiters.store(Arc::new(limiters)),
                // Checked before it was handed out.
                Err(error) => {
                    tracing::error!(error, "the former limiters stay in force");
                    continue;
                }
            }
            if let Err(fault) = self.watch.renew().await {
                tracing::warn!(%fault, "exceptions follow the new limiters when redis is back");
            }
        }
    }

    /// Makes a key as if it had never been used, and leaves a line in the log; `by` is the caller's name.
    ///
    /// Other replicas may go on refusing it from memory until they look for changes.
    ///
    /// # Errors
    /// [`LimitError::Redis`].
    pub(super) async fn reset(&self, limiter: &Limiter, key: &LimitKey, by: &str) -> Result<(), LimitError> {
        self.index.reset(limiter, key).await?;
        self.exceptions.announce().await?;
        tracing::warn!(target: "audit", limiter = %limiter.name, key = key.as_str(), by, "limit reset");
        Ok(self.watch.look().await?)
    }

    /// The same for all keys that begin with `prefix`, as far as they are listed, behind the key `after`. Goes on for
    /// [`RESET_TIME`]; then the last key says where to go on.
    ///
    /// # Errors
    /// [`LimitError::Redis`]; the keys before the failure are reset.
    pub(super) async fn reset_all(
        &self,
        limiter: &Limiter,
        prefix: &str,
        after: Option<LimitKey>,
        by: &str,
    ) -> Result<(usize, Option<LimitKey>), LimitError> {
        let began = self.clock.elapsed();
        let (mut count, mut last) = (0, after);
        loop {
            let step = self.index.reset_some(limiter, prefix, last.as_ref().map(LimitKey::as_str)).await?;
            count += step.count;
            last = step.last;
            if last.is_none() || self.clock.elapsed() >= began + RESET_TIME {
                break;
            }
        }
        self.exceptions.announce().await?;
        tracing::warn!(target: "audit", limiter = %limiter.name, prefix, count, by, "limits reset");
        self.watch.look().await?;
        Ok((count, last))
    }

    /// Checks what an admin wants for a key.
    ///
    /// # Errors
    /// [`BadAsk`] naming the field.
    pub(super) fn check_exception(&self, request: &ExceptionRequest) -> Result<(), BadAsk> {
        match (request.action, &request.strategy) {
            (Action::Limit, Some(strategy)) => {
                Rule::new(strategy.clone(), self.limiters.load().sliding_limit).map_err(BadAsk::from)?;
            }
            (Action::Limit, None) => return Err(BadAsk::new("strategy", "is needed with `limit`")),
            (Action::Allow | Action::Deny, Some(_)) => {
                return Err(BadAsk::new("strategy", "goes with `limit` only"));
            }
            (Action::Allow | Action::Deny, None) => {}
        }
        match request.ttl_ms {
            Some(ttl) if !(1..=MAX_WINDOW_MS).contains(&ttl) => {
                Err(BadAsk::new("ttl_ms", "must be from 1 ms to 366 days"))
            }
            _ => Ok(()),
        }
    }

    /// Decides for a key at all replicas, and leaves a line in the log; `by` is the caller's name.
    ///
    /// # Errors
    /// [`LimitError::TooManyExceptions`], [`LimitError::Redis`].
    pub(super) async fn except(
        &self,
        limiter: &Limiter,
        key: &LimitKey,
        request: ExceptionRequest,
        by: &str,
    ) -> Result<ExceptionView, LimitError> {
        let ExceptionRequest { action, strategy, ttl_ms } = request;
        let life = Duration::from_millis(ttl_ms.unwrap_or_default());
        let exception = self.exceptions.decide(limiter, key, action, strategy, life).await?;
        tracing::warn!(
            target: "audit", limiter = %limiter.name, key = key.as_str(), ?action, ends_at = exception.ends_at, by,
            "limit excepted",
        );
        self.watch.look().await?;
        Ok(exception)
    }

    /// Takes a decision for a key back, and leaves a line in the log; `by` is the caller's name.
    ///
    /// # Errors
    /// [`LimitError::Redis`].
    pub(super) async fn take_back(&self, limiter: &Limiter, key: &LimitKey, by: &str) -> Result<(), LimitError> {
        self.exceptions.take_back(limiter, key).await?;
        tracing::warn!(target: "audit", limiter = %limiter.name, key = key.as_str(), by, "limit no longer excepted");
        Ok(self.watch.look().await?)
    }

    /// The decisions for a limiter's keys, after the key `after`.
    pub(super) fn list_exceptions(&self, limiter: &Limiter, after: Option<&str>, limit: usize) -> Page<ExceptionView> {
        self.exceptions.list(limiter, after, limit)
    }
}
