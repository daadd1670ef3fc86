//! Time. Only this module reads it, so tests can stop it.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970-01-01T00:00:00Z; negative before it.
pub type UnixMillis = i64;

/// The latest moment that a request may name: 2^53 - 1, the largest integer up to which every integer is a float.
pub const MAX_TIMESTAMP: UnixMillis = (1 << 53) - 1;

/// The source of the time of day.
#[derive(Clone, Debug)]
pub enum Clock {
    /// The machine's clock.
    System,
    /// A clock that stands still until a test advances it.
    Manual(Arc<AtomicI64>),
}

impl Clock {
    /// A manual clock standing at `now`.
    pub fn manual(now: UnixMillis) -> Self {
        Self::Manual(Arc::new(AtomicI64::new(now)))
    }

    /// The time of day.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the time of day")]
    pub fn now(&self) -> UnixMillis {
        match self {
            Self::System => {
                let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                UnixMillis::try_from(since_epoch.as_millis()).unwrap_or(UnixMillis::MAX)
            }
            Self::Manual(now) => now.load(Ordering::SeqCst),
        }
    }

    /// Time since an arbitrary moment, for measuring durations: setting the machine's clock does not change it.
    pub fn elapsed(&self) -> Duration {
        static BEGINNING: OnceLock<Instant> = OnceLock::new();
        match self {
            Self::System => BEGINNING.get_or_init(Instant::now).elapsed(),
            Self::Manual(now) => Duration::from_millis(now.load(Ordering::SeqCst).unsigned_abs()),
        }
    }

    /// Advances a manual clock; does nothing to the machine's clock.
    pub fn advance(&self, by: Duration) {
        if let Self::Manual(now) = self {
            now.fetch_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX), Ordering::SeqCst);
        }
    }

    /// The clock argument of a script: empty lets the script use Redis's own `TIME`, on which all replicas agree.
    pub fn redis_arg(&self) -> String {
        match self {
            Self::System => String::new(),
            Self::Manual(now) => now.load(Ordering::SeqCst).to_string(),
        }
    }
}
