//! The background task that polls Redis: have administrators changed anything, and does Redis respond?
//!
//! Every change of an administrator also changes a version in Redis. When the task sees a new version, it reloads the
//! overrides and clears the denial cache.
//!
//! A stopped Redis keeps its connections, so that every call would wait for its own timeout. A call that timed out wakes
//! the task. If the task gets no reply either, open limiters are decided without Redis until the task gets one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{Mutex, Notify};
use tokio_util::sync::CancellationToken;

use super::super::overrides::Overrides;
use super::denial_cache::DenialCache;
use crate::lifecycle::Tasks;
use crate::redis::{FaultKind, RedisFault};

/// Time between two polls. All replicas apply an administrator's change within a second, for about one small read per second
/// and replica.
const POLL_INTERVAL: Duration = Duration::from_millis(900);
/// Time between two polls while Redis is unavailable.
const RETRY_INTERVAL: Duration = Duration::from_millis(50);
const TASK: &str = "ratelimit.watch";

#[derive(Debug)]
pub(in super::super) struct RedisProbe {
    overrides: Arc<Overrides>,
    denials: Arc<DenialCache>,
    is_unresponsive: AtomicBool,
    timed_out: Notify,
    /// The version of the overrides in memory; `None` before the first read.
    version: Mutex<Option<String>>,
}

impl RedisProbe {
    pub(in super::super) fn new(overrides: &Arc<Overrides>, denials: &Arc<DenialCache>) -> Self {
        Self {
            overrides: Arc::clone(overrides),
            denials: Arc::clone(denials),
            is_unresponsive: AtomicBool::new(false),
            timed_out: Notify::new(),
            version: Mutex::default(),
        }
    }

    /// Whether Redis did not reply to the last poll.
    pub(in super::super) fn is_unresponsive(&self) -> bool {
        self.is_unresponsive.load(Ordering::Relaxed)
    }

    /// Wakes the task, because a call timed out.
    pub(in super::super) fn report_timeout(&self) {
        self.timed_out.notify_one();
    }

    fn record(&self, polled: &Result<(), RedisFault>) {
        match polled {
            Ok(()) if self.is_unresponsive.swap(false, Ordering::Relaxed) => {
                tracing::info!("Redis responds again: limits are counted in Redis");
            }
            Err(fault) if fault.kind == FaultKind::Timeout && !self.is_unresponsive.swap(true, Ordering::Relaxed) => {
                tracing::warn!("Redis does not respond: open limits are counted locally");
            }
            // Other faults arrive without delay, so checks can go on calling Redis.
            _ => {}
        }
    }

    /// Polls every [`POLL_INTERVAL`], and after each reported timeout, until `stop`.
    pub(in super::super) async fn run(self: Arc<Self>, tasks: Tasks, stop: CancellationToken) {
        loop {
            let polled = tokio::select! {
                () = stop.cancelled() => return,
                polled = self.refresh() => polled,
            };
            self.record(&polled);
            let pause = if polled.is_ok() { POLL_INTERVAL } else { RETRY_INTERVAL };
            // The Redis role's own report says if Redis cannot be reached.
            let report = match polled {
                Err(fault) if fault.kind != FaultKind::Unavailable => Err(fault.to_string()),
                _ => Ok(()),
            };
            tasks.report(TASK, report);
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
                () = self.timed_out.notified() => {}
            }
        }
    }

    /// Applies what administrators changed since the last call.
    ///
    /// # Errors
    /// [`RedisFault`]; the previous overrides stay in force.
    pub(in super::super) async fn refresh(&self) -> Result<(), RedisFault> {
        let mut known = self.version.lock().await;
        let version = self.overrides.version().await?;
        if known.as_ref() != Some(&version) {
            *known = Some(self.overrides.reload().await?);
            self.denials.clear();
        }
        Ok(())
    }

    /// Reloads all overrides, because their limiters have changed.
    ///
    /// # Errors
    /// [`RedisFault`]; the next poll tries again.
    pub(in super::super) async fn reload(&self) -> Result<(), RedisFault> {
        self.version.lock().await.take();
        self.refresh().await
    }
}
