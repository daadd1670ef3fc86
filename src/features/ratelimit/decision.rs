//! What became of a cost.

use std::sync::Arc;
use std::time::Duration;

use super::limiter::Limiter;
use super::rule::Standing;

/// A limit's answer, milliseconds rounded up, so that who waits as long as it says is not refused.
#[derive(Clone, Debug)]
pub(super) struct Decision {
    pub limiter: Arc<Limiter>,
    pub allowed: bool,
    pub limit: u64,
    pub remaining: u64,
    pub reset_ms: u64,
    /// Until more than `remaining` is there.
    pub more_ms: u64,
    /// `None`: waiting does not help.
    pub retry_after_ms: Option<u64>,
    pub degraded: bool,
    /// Allowed although it does not fit: the limiter only watches.
    pub shadow: bool,
}

impl Decision {
    pub(super) fn new(limiter: &Arc<Limiter>, standing: Standing) -> Self {
        let shadow = limiter.shadow && !standing.fits;
        let ms = |us: u64| us.div_ceil(1_000);
        Self {
            allowed: standing.fits || shadow,
            limit: limiter.rule.limit(),
            remaining: standing.remaining,
            reset_ms: ms(standing.reset),
            more_ms: ms(standing.more),
            retry_after_ms: Some(if shadow { 0 } else { ms(standing.retry) }),
            degraded: false,
            shadow,
            limiter: Arc::clone(limiter),
        }
    }

    /// An admin lets the key pass, whatever it has used.
    pub(super) fn excepted(limiter: &Arc<Limiter>) -> Self {
        let untouched =
            Standing { fits: true, is_new: false, remaining: limiter.rule.limit(), reset: 0, more: 0, retry: 0 };
        Self::new(limiter, untouched)
    }

    /// An admin bars the key, for another `left` or until the decision is taken back.
    pub(super) fn barred(limiter: &Arc<Limiter>, left: Option<Duration>) -> Self {
        let wait = left.map_or(0, |left| u64::try_from(left.as_micros()).unwrap_or(u64::MAX));
        let barred = Standing { fits: false, is_new: false, remaining: 0, reset: wait, more: wait, retry: wait };
        let decision = Self::new(limiter, barred);
        let retry_after_ms = decision.retry_after_ms.filter(|_| left.is_some() || decision.allowed);
        Self { retry_after_ms, ..decision }
    }

    /// Whether it was allowed, and little is left.
    pub(super) fn is_near(&self) -> bool {
        self.allowed && !self.shadow && self.remaining <= self.limiter.near_remaining(self.limit)
    }
}
