//! A validated check: which limiter, which key, which cost, and whether an administrator's override decides it.

use std::sync::Arc;
use std::time::Duration;

use super::limiter::Limiter;
use super::model::LimitKey;

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
    /// The limiter's name and the key, which identify the check in memory.
    pub(super) fn id(&self) -> (&str, &str) {
        (&self.limiter.name, self.key.as_str())
    }

    /// Whether both checks count in the same Redis key.
    pub(super) fn shares_state_with(&self, other: &Self) -> bool {
        self.key == other.key && self.limiter.pattern == other.limiter.pattern
    }
}
