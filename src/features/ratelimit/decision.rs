//! What became of a cost.

use std::sync::Arc;

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
    pub retry_after_ms: u64,
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
            retry_after_ms: if shadow { 0 } else { ms(standing.retry) },
            degraded: false,
            shadow,
            limiter: Arc::clone(limiter),
        }
    }

    /// Whether it was allowed, and little is left.
    pub(super) fn is_near(&self) -> bool {
        self.allowed && !self.shadow && self.remaining <= self.limiter.near_remaining(self.limit)
    }
}
