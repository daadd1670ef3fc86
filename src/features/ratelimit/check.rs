//! Checks and their results: a validated check, how it is decided, and the decision.

use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use utoipa::ToSchema;

use super::limiter::Limiter;
use super::model::LimitKey;
use super::strategy::rule::KeyUsage;

/// A cost to take from one key of a limiter. [`super::service::LimitService::resolve`] makes it from a request.
#[derive(Clone, Debug)]
pub(super) struct ResolvedCheck {
    pub limiter: Arc<Limiter>,
    pub key: LimitKey,
    pub cost: u64,
    /// The result, if an override of the key decides the check by itself.
    pub forced: Option<Forced>,
}

/// The result of a check that an override decides.
#[derive(Clone, Copy, Debug)]
pub(super) enum Forced {
    Allow,
    /// Denied until this time of the process clock; `None`: until the override is deleted.
    Deny(Option<Duration>),
}

impl ResolvedCheck {
    /// The state that the check counts in, which identifies its key in memory.
    pub(super) fn state_id(&self) -> impl Hash + '_ {
        (self.limiter.pattern.as_str(), self.key.as_str())
    }

    /// The state and the rule that is applied to it. Another rule may allow what this one refuses.
    pub(super) fn rule_id(&self) -> impl Hash + '_ {
        (self.state_id(), self.limiter.rule.limit, &self.limiter.rule.algorithm)
    }

    /// Whether both checks count in the same Redis key.
    pub(super) fn shares_state_with(&self, other: &Self) -> bool {
        self.key == other.key && self.limiter.pattern == other.limiter.pattern
    }
}

/// Whether a decision takes the costs that it grants.
#[derive(Clone, Copy, Debug)]
pub(super) enum Mode<'a> {
    Take,
    Peek,
    /// Takes the cost of a single check, and records under `secret` that it is to be settled within `hold_ms`.
    Reserve {
        secret: &'a str,
        hold_ms: u64,
        /// How many reservations of a key may be open.
        max_open: usize,
    },
}

/// The decision of one limit.
// Milliseconds are rounded up, so that a caller who waits as long as stated is not refused.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = LimitCheckReply)]
pub(super) struct Decision {
    #[serde(skip)]
    pub limiter: Arc<Limiter>,
    pub allowed: bool,
    /// The largest cost that the limit allows.
    pub limit: u64,
    /// The cost that is still available after this call.
    pub remaining: u64,
    /// Time until the whole limit is available again, milliseconds.
    pub reset_ms: u64,
    /// Time until more than `remaining` is available, milliseconds.
    #[serde(skip)]
    pub more_ms: u64,
    /// Time until the limit allows the same call, milliseconds; 0 if it was allowed, null if waiting does not help.
    #[schema(required = true)]
    pub retry_after_ms: Option<u64>,
    /// Whether the decision was made without Redis.
    pub degraded: bool,
    /// The limiter is in shadow mode and would otherwise have refused this call.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub shadow: bool,
}

impl Decision {
    pub(super) fn new(limiter: &Arc<Limiter>, usage: KeyUsage) -> Self {
        let shadow = limiter.shadow && !usage.fits;
        let ms = |us: u64| us.div_ceil(1_000);
        Self {
            allowed: usage.fits || shadow,
            limit: limiter.rule.limit,
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
            let remaining = limiter.rule.limit;
            return Self::new(limiter, KeyUsage { fits: true, remaining, ..KeyUsage::default() });
        };
        let wait = until.map_or(0, |until| microseconds(until.saturating_sub(now)));
        let denied = KeyUsage { reset: wait, more: wait, retry: wait, ..KeyUsage::default() };
        let decision = Self::new(limiter, denied);
        let retry_after_ms = decision.retry_after_ms.filter(|_| until.is_some() || decision.allowed);
        Self { retry_after_ms, ..decision }
    }

    /// Counts the decision, which took this many seconds, in its limiter's metrics.
    pub(super) fn record(&self, seconds: f64) {
        let metrics = &self.limiter.metrics;
        if self.allowed { &metrics.allowed } else { &metrics.refused }.inc();
        let is_near = self.allowed && !self.shadow && self.remaining <= self.limiter.near_remaining(self.limit);
        for (counter, counts) in
            [(&metrics.near, is_near), (&metrics.shadow, self.shadow), (&metrics.degraded, self.degraded)]
        {
            if counts {
                counter.inc();
            }
        }
        metrics.latency.observe(seconds);
    }
}

pub(super) fn microseconds(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// Whether all checks of a call are allowed; if not, nothing was taken.
pub(super) fn all_allowed(decisions: &[Decision]) -> bool {
    decisions.iter().all(|decision| decision.allowed)
}

/// The decisions of one call for several limits.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = LimitCheckAllReply)]
pub(super) struct CheckAllReply {
    /// Whether all checks were allowed. If not, no cost was taken.
    pub allowed: bool,
    /// In the order of the checks. `allowed` says whether the check would have been allowed alone.
    pub results: Vec<Decision>,
}

/// The decision, and the reservation if the cost was taken.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = LimitReserveReply)]
pub(super) struct ReserveReply {
    #[serde(flatten)]
    pub decision: Decision,
    /// The id that settles the reservation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reservation: Option<String>,
    /// Time until an unsettled reservation is returned, milliseconds from now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold_ms: Option<u64>,
}
