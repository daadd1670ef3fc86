//! The result of a check.

use std::sync::Arc;
use std::time::Duration;

use super::check::Forced;
use super::limiter::Limiter;
use super::model::CheckReply;
use super::strategy::rule::KeyUsage;

/// A limit's decision. Milliseconds are rounded up, so that a caller who waits as long as stated is not refused.
#[derive(Clone, Debug)]
pub(super) struct Decision {
    pub limiter: Arc<Limiter>,
    pub allowed: bool,
    pub limit: u64,
    pub remaining: u64,
    pub reset_ms: u64,
    /// Time until more than `remaining` is available.
    pub more_ms: u64,
    /// `None`: waiting does not help.
    pub retry_after_ms: Option<u64>,
    pub degraded: bool,
    /// Allowed although the cost does not fit, because the limiter is in shadow mode.
    pub shadow: bool,
}

impl Decision {
    pub(super) fn new(limiter: &Arc<Limiter>, usage: KeyUsage) -> Self {
        let shadow = limiter.shadow && !usage.fits;
        let ms = |us: u64| us.div_ceil(1_000);
        Self {
            allowed: usage.fits || shadow,
            limit: limiter.rule.limit(),
            remaining: usage.remaining,
            reset_ms: ms(usage.reset),
            more_ms: ms(usage.more),
            retry_after_ms: Some(if shadow { 0 } else { ms(usage.retry) }),
            degraded: false,
            shadow,
            limiter: Arc::clone(limiter),
        }
    }

    /// The decision of an override at `now` of the process clock.
    pub(super) fn forced(limiter: &Arc<Limiter>, forced: Forced, now: Duration) -> Self {
        let Forced::Deny(until) = forced else {
            let remaining = limiter.rule.limit();
            return Self::new(limiter, KeyUsage { fits: true, remaining, ..KeyUsage::default() });
        };
        let left = until.map(|until| until.saturating_sub(now));
        let wait = left.map_or(0, |left| u64::try_from(left.as_micros()).unwrap_or(u64::MAX));
        let denied = KeyUsage { reset: wait, more: wait, retry: wait, ..KeyUsage::default() };
        let decision = Self::new(limiter, denied);
        let retry_after_ms = decision.retry_after_ms.filter(|_| left.is_some() || decision.allowed);
        Self { retry_after_ms, ..decision }
    }

    /// Counts the decision, which took this many seconds, in its limiter's metrics.
    pub(super) fn record(&self, seconds: f64) {
        let metrics = &self.limiter.metrics;
        if self.allowed { &metrics.allowed } else { &metrics.refused }.inc();
        for (counter, counts) in
            [(&metrics.near, self.is_near()), (&metrics.shadow, self.shadow), (&metrics.degraded, self.degraded)]
        {
            if counts {
                counter.inc();
            }
        }
        metrics.latency.observe(seconds);
    }

    /// Whether the call was allowed and little is left.
    fn is_near(&self) -> bool {
        self.allowed && !self.shadow && self.remaining <= self.limiter.near_remaining(self.limit)
    }
}

impl From<&Decision> for CheckReply {
    fn from(decision: &Decision) -> Self {
        Self {
            allowed: decision.allowed,
            limit: decision.limit,
            remaining: decision.remaining,
            reset_ms: decision.reset_ms,
            retry_after_ms: decision.retry_after_ms,
            degraded: decision.degraded,
            shadow: decision.shadow,
        }
    }
}
