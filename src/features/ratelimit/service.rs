//! The service behind the routes: its parts, its limiters, and what administrators do. `resolve.rs` turns requests into
//! checks, `engine.rs` decides them.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::config::RatelimitConfig;
use super::error::{InvalidCheck, LimitError};
use super::key_index::KeyIndex;
use super::limiter::{Limiter, Limiters, SharedLimiters};
use super::metrics::LimitMetrics;
use super::model::{LimitKey, LimitStats, LimiterView, OverrideAction, OverrideRequest, OverrideView};
use super::overrides::Overrides;
use super::strategy::rule::Rule;
use super::strategy::{InvalidStrategy, MAX_WINDOW_MS};
use super::without_redis::denial_cache::DenialCache;
use super::without_redis::local_limits::LocalLimits;
use super::without_redis::redis_probe::RedisProbe;
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
    pub overrides: Arc<Overrides>,
    pub denials: Arc<DenialCache>,
    pub index: KeyIndex,
    pub local: LocalLimits,
    pub probe: RedisProbe,
    pub metrics: LimitMetrics,
    pub open_timeout: Duration,
    /// Open reservations that a key may have.
    pub open_reservations: usize,
    since: UnixMillis,
}

/// Time for which one request resets keys. It is far below the deadline of requests, whatever a step takes.
const RESET_TIME: Duration = Duration::from_millis(500);

/// The result of a reset by prefix.
#[derive(Debug)]
pub(super) struct ResetProgress {
    pub count: usize,
    /// The key after which another call continues; `None` if all keys were reset.
    pub next: Option<LimitKey>,
}

impl Deref for LimitService {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl LimitService {
    /// # Errors
    /// [`InvalidStrategy`] of the first limiter whose strategy is invalid.
    pub(super) fn new(deps: &Deps, config: &RatelimitConfig) -> Result<Self, InvalidStrategy> {
        let (redis, clock) = (deps.redis.state.clone(), deps.clock.clone());
        let metrics = LimitMetrics::new(&deps.metrics);
        let limiters = Arc::new(ArcSwap::from_pointee(Limiters::new(config, &metrics)?));
        let overrides = Arc::new(Overrides::new(&redis, &clock, &limiters));
        let denials = Arc::new(DenialCache::new(&clock));
        let probe = RedisProbe::new(&overrides, &denials);
        let (runner, tasks) = (probe.clone(), deps.tasks.clone());
        deps.tasks.plan("ratelimit.watch", move |stop| runner.run(tasks, stop));
        let (index, worker) = KeyIndex::new(&redis, &limiters, config.index_limit, &deps.tasks);
        deps.tasks.plan("ratelimit.index", |stop| worker.run(stop));
        Ok(Self(Arc::new(Inner {
            local: LocalLimits::new(config.local_keys, config.instances, &clock),
            open_timeout: config.open_timeout.duration(),
            open_reservations: config.open_reservations,
            since: clock.now(),
            redis,
            clock,
            limiters,
            overrides,
            denials,
            index,
            probe,
            metrics,
        })))
    }

    /// Finds a limiter by name.
    ///
    /// # Errors
    /// [`LimitError::UnknownLimiter`].
    pub(super) fn limiter(&self, name: &str) -> Result<Arc<Limiter>, LimitError> {
        let limiters = self.limiters.load();
        limiters.get(name).cloned().ok_or_else(|| LimitError::UnknownLimiter { name: name.to_owned() })
    }

    /// The limiters in force.
    pub(super) fn views(&self) -> Vec<LimiterView> {
        self.limiters.load().iter().map(|limiter| limiter.view()).collect()
    }

    pub(super) fn stats(&self) -> LimitStats {
        LimitStats { since: self.since, limiters: self.limiters.load().iter().map(|limiter| limiter.stats()).collect() }
    }

    /// Applies the limiters of each reloaded configuration until `stop`. Other settings need a restart.
    pub(super) async fn follow(self, mut configs: watch::Receiver<Config>, stop: CancellationToken) {
        while let Some(Ok(())) = stop.run_until_cancelled(configs.changed()).await {
            let section = configs.borrow_and_update().section();
            let read = section.map_err(|error| error.to_string());
            let limiters =
                read.and_then(|config| Limiters::new(&config, &self.metrics).map_err(|invalid| invalid.to_string()));
            match limiters {
                Ok(limiters) => self.limiters.store(Arc::new(limiters)),
                // Unexpected: a reload validates the configuration first.
                Err(error) => {
                    tracing::error!(error, "invalid limiters ignored: the previous limiters stay in force");
                    continue;
                }
            }
            if let Err(fault) = self.probe.reload().await {
                tracing::warn!(%fault, "exceptions not reloaded: they follow the new limiters once Redis responds");
            }
        }
    }

    /// Resets a key as if it had never been used, and writes an audit record; `by` is the caller's name.
    ///
    /// Other replicas may refuse the key from memory until they notice the change.
    ///
    /// # Errors
    /// [`LimitError::UnknownLimiter`], [`LimitError::Redis`].
    pub(super) async fn reset(&self, limiter: &str, key: &LimitKey, by: &str) -> Result<(), LimitError> {
        let limiter = self.limiter(limiter)?;
        self.index.reset(&limiter, key).await?;
        self.overrides.bump_version().await?;
        tracing::warn!(target: "audit", limiter = %limiter.name, key = key.as_str(), by, "limit reset");
        Ok(self.probe.refresh().await?)
    }

    /// Resets the indexed keys that begin with `prefix`, after the key `after`, for at most [`RESET_TIME`].
    ///
    /// # Errors
    /// [`LimitError::UnknownLimiter`], [`LimitError::Redis`]; the keys before the failure are reset.
    pub(super) async fn reset_all(
        &self,
        limiter: &str,
        prefix: &str,
        after: Option<LimitKey>,
        by: &str,
    ) -> Result<ResetProgress, LimitError> {
        let limiter = self.limiter(limiter)?;
        let began = self.clock.elapsed();
        let mut progress = ResetProgress { count: 0, next: after };
        loop {
            let after = progress.next.as_ref().map(LimitKey::as_str);
            let step = self.index.reset_step(&limiter, prefix, after).await?;
            progress = ResetProgress { count: progress.count + step.count, next: step.last };
            if progress.next.is_none() || self.clock.elapsed() >= began + RESET_TIME {
                break;
            }
        }
        self.overrides.bump_version().await?;
        let count = progress.count;
        tracing::warn!(target: "audit", limiter = %limiter.name, prefix, count, by, "limits reset");
        self.probe.refresh().await?;
        Ok(progress)
    }

    /// Checks the strategy and the lifetime of an override.
    ///
    /// # Errors
    /// [`InvalidCheck`] naming the field.
    pub(super) fn validate_override(&self, request: &OverrideRequest) -> Result<(), InvalidCheck> {
        match (request.action, &request.strategy) {
            (OverrideAction::Limit, Some(strategy)) => {
                Rule::new(strategy.clone(), self.limiters.load().sliding_limit).map_err(InvalidCheck::from)?;
            }
            (OverrideAction::Limit, None) => {
                return Err(InvalidCheck::new("strategy", "is required with the action limit"));
            }
            (OverrideAction::Allow | OverrideAction::Deny, Some(_)) => {
                return Err(InvalidCheck::new("strategy", "is only allowed with the action limit"));
            }
            (OverrideAction::Allow | OverrideAction::Deny, None) => {}
        }
        match request.ttl_ms {
            Some(ttl) if !(1..=MAX_WINDOW_MS).contains(&ttl) => {
                Err(InvalidCheck::new("ttl_ms", format!("must be between 1 and {MAX_WINDOW_MS}, got {ttl}")))
            }
            _ => Ok(()),
        }
    }

    /// Overrides the limiter for a key at all replicas, and writes an audit record; `by` is the caller's name.
    ///
    /// # Errors
    /// [`LimitError::TooManyOverrides`], [`LimitError::Redis`].
    pub(super) async fn set_override(
        &self,
        limiter: &Limiter,
        key: &LimitKey,
        request: OverrideRequest,
        by: &str,
    ) -> Result<OverrideView, LimitError> {
        let OverrideRequest { action, strategy, ttl_ms } = request;
        let ttl = Duration::from_millis(ttl_ms.unwrap_or_default());
        let view = self.overrides.set(limiter, key, action, strategy, ttl).await?;
        tracing::warn!(
            target: "audit", limiter = %limiter.name, key = key.as_str(), ?action, ends_at = view.ends_at, by,
            "limit exception set",
        );
        self.probe.refresh().await?;
        Ok(view)
    }

    /// Deletes the override of a key, and writes an audit record; `by` is the caller's name.
    ///
    /// # Errors
    /// [`LimitError::UnknownLimiter`], [`LimitError::Redis`].
    pub(super) async fn delete_override(&self, limiter: &str, key: &LimitKey, by: &str) -> Result<(), LimitError> {
        let limiter = self.limiter(limiter)?;
        self.overrides.delete(&limiter, key).await?;
        tracing::warn!(target: "audit", limiter = %limiter.name, key = key.as_str(), by, "limit exception deleted");
        Ok(self.probe.refresh().await?)
    }

    /// Lists the overrides of a limiter's keys, after the key `after`.
    ///
    /// # Errors
    /// [`LimitError::UnknownLimiter`].
    pub(super) fn list_overrides(
        &self,
        limiter: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<OverrideView>, LimitError> {
        Ok(self.overrides.list(&*self.limiter(limiter)?, after, limit))
    }
}
