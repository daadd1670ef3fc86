//! The service behind the routes: its parts, its limiters, and what administrators do. `resolve.rs` turns requests into
//! checks, `engine.rs` decides them.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::config::RatelimitConfig;
use super::error::LimitError;
use super::key_index::KeyIndex;
use super::limiter::{Limiter, Limiters, SharedLimiters};
use super::metrics::{EXCEPTIONS, LimitMetrics};
use super::model::{LimitKey, LimitStats, LimiterView, OverrideRequest, OverrideView, ResetReply};
use super::overrides::Overrides;
use super::strategy::InvalidField;
use super::without_redis::denial_cache::DenialCache;
use super::without_redis::local_limits::LocalLimits;
use super::without_redis::redis_probe::RedisProbe;
use crate::clock::{Clock, UnixMillis};
use crate::close_matches::close_matches;
use crate::config::Config;
use crate::deps::Deps;
use crate::features::feature::StartError;
use crate::redis::Redis;

/// The most credentials whose requests are counted at a time, 32 bytes each, allocated by eights on first use. Beyond them,
/// counting begins again for those whose window ends first.
const MAX_CALLERS: usize = 1 << 16;

#[derive(Debug)]
pub(super) struct LimitService {
    pub redis: Redis,
    pub clock: Clock,
    pub limiters: SharedLimiters,
    pub overrides: Arc<Overrides>,
    pub denials: Arc<DenialCache>,
    pub index: KeyIndex,
    pub local: LocalLimits,
    /// The requests of this service's own callers.
    pub callers: LocalLimits,
    pub probe: Arc<RedisProbe>,
    pub metrics: LimitMetrics,
    pub open_timeout: Duration,
    replica: Arc<str>,
    since: UnixMillis,
}

impl LimitService {
    /// # Errors
    /// [`InvalidField`] of the first limiter whose strategy is invalid.
    pub(super) fn new(deps: &Deps, config: &RatelimitConfig) -> Result<Self, InvalidField> {
        let (redis, clock) = (deps.redis.state.clone(), deps.clock.clone());
        let metrics = LimitMetrics::new(&deps.metrics);
        let limiters = Arc::new(ArcSwap::from_pointee(Limiters::new(config, &metrics)?));
        let overrides = Arc::new(Overrides::new(&redis, &clock, &limiters));
        let counted = Arc::clone(&overrides);
        deps.metrics.on_scrape([EXCEPTIONS], move || Some([counted.count()]));
        let denials = Arc::new(DenialCache::new(&clock));
        let probe = Arc::new(RedisProbe::new(&overrides, &denials));
        let (runner, tasks) = (Arc::clone(&probe), deps.tasks.clone());
        deps.tasks.plan("ratelimit.watch", |stop| runner.run(tasks, stop));
        let (index, worker) = KeyIndex::new(&redis, &limiters, &deps.tasks);
        deps.tasks.plan("ratelimit.index", |stop| worker.run(stop));
        Ok(Self {
            local: LocalLimits::new(config.local_keys, config.instances, &clock),
            callers: LocalLimits::new(MAX_CALLERS, 1, &clock),
            open_timeout: config.open_timeout.duration(),
            replica: Arc::clone(&deps.replica),
            since: clock.now(),
            redis,
            clock,
            limiters,
            overrides,
            denials,
            index,
            probe,
            metrics,
        })
    }

    /// Finds a limiter by name.
    ///
    /// # Errors
    /// [`LimitError::UnknownLimiter`] with the close matches among all limiters.
    pub(super) fn limiter(&self, name: &str) -> Result<Arc<Limiter>, LimitError> {
        let limiters = self.limiters.load();
        limiters.get(name).cloned().ok_or_else(|| {
            let close = close_matches(name, limiters.iter().map(|limiter| &*limiter.name));
            LimitError::UnknownLimiter { name: name.to_owned(), close: close.into_iter().map(str::to_owned).collect() }
        })
    }

    /// The limiters in force.
    pub(super) fn views(&self) -> Vec<LimiterView> {
        self.limiters.load().iter().map(|limiter| limiter.view()).collect()
    }

    pub(super) fn stats(&self) -> LimitStats {
        let limiters = self.limiters.load().iter().map(|limiter| limiter.stats()).collect();
        LimitStats { replica: self.replica.to_string(), since: self.since, limiters }
    }

    /// Applies the limiters of each reloaded configuration until `stop`. Other settings need a restart.
    pub(super) async fn follow(self: Arc<Self>, mut configs: watch::Receiver<Config>, stop: CancellationToken) {
        while let Some(Ok(())) = stop.run_until_cancelled(configs.changed()).await {
            let section = configs.borrow_and_update().section::<RatelimitConfig>().map_err(StartError::from);
            let limiters = section.and_then(|config| Ok(Limiters::new(&config, &self.metrics)?));
            match limiters {
                Ok(limiters) => {
                    self.limiters.store(Arc::new(limiters));
                    self.denials.clear();
                }
                // Unexpected: a reload validates the configuration first.
                Err(error) => {
                    tracing::error!(%error, "invalid limiters ignored: the previous limiters stay in force");
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
    /// [`LimitError::UnknownLimiter`], [`LimitError::Redis`]; with an unknown outcome if the key is reset and other replicas
    /// may not notice.
    pub(super) async fn reset(&self, limiter: &str, key: &LimitKey, by: &str) -> Result<(), LimitError> {
        let limiter = self.limiter(limiter)?;
        self.index.reset(&limiter, std::slice::from_ref(key)).await?;
        tracing::warn!(target: "audit", limiter = %limiter.name, key = key.as_str(), by, "limit reset");
        self.overrides.bump_version().await.map_err(LimitError::partly_applied)?;
        self.follow_change().await
    }

    /// Resets the next indexed keys that begin with `prefix`, after the key `after`, and writes an audit record.
    ///
    /// # Errors
    /// [`LimitError::UnknownLimiter`], [`LimitError::Redis`]; with an unknown outcome if some keys are reset.
    pub(super) async fn reset_all(
        &self,
        limiter: &str,
        prefix: &str,
        after: Option<LimitKey>,
        by: &str,
    ) -> Result<ResetReply, LimitError> {
        let limiter = self.limiter(limiter)?;
        let reply = self.index.reset_all(&limiter, prefix, after, &self.clock).await?;
        tracing::warn!(target: "audit", limiter = %limiter.name, prefix, count = reply.reset, by, "limits reset");
        let bumped = self.overrides.bump_version().await;
        bumped.map_err(|error| if reply.reset > 0 { error.partly_applied() } else { error })?;
        self.follow_change().await?;
        Ok(reply)
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
        let view = self.overrides.set(limiter, key, request).await?;
        tracing::warn!(
            target: "audit", limiter = %limiter.name, key = key.as_str(), action = ?view.action, ends_at = view.ends_at, by,
            "limit exception set",
        );
        self.follow_change().await?;
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
        self.follow_change().await
    }

    /// Makes this replica follow a change that was applied.
    async fn follow_change(&self) -> Result<(), LimitError> {
        self.probe.refresh().await.map_err(|fault| LimitError::Redis(fault).applied())
    }
}
