//! Strategies: how calls are counted, and over which time.
//!
//! - `rule.rs` validates a strategy, prepares its numbers for the script and interprets the script's reply.
//! - `gcra.rs`: the arithmetic of GCRA and token buckets. `calendar.rs`: days and months of a time zone.

pub(super) mod calendar;
mod gcra;
pub(super) mod rule;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::features::ratelimit::strategy::calendar::Period;
use crate::http::integer::buffered;

/// The highest limit of a strategy other than a sliding window.
pub(in crate::features::ratelimit) const MAX_LIMIT: u64 = 1_000_000_000;
/// The highest limit of a sliding window. Each call of the window is stored: 12 bytes, up to 48 while the log grows, so
/// that one key takes up to 4.8 MB.
const MAX_SLIDING_LIMIT: u64 = 100_000;
/// The longest window, period, penalty and time to fill a bucket, in milliseconds: 366 days.
pub(in crate::features::ratelimit) const MAX_WINDOW_MS: u64 = 366 * 86_400_000;

/// How a limiter counts.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
#[schema(example = json!({ "kind": "gcra", "limit": 100, "period_ms": 60_000 }))]
#[schema(as = LimitStrategy)]
pub(in crate::features::ratelimit) enum Strategy {
    /// Exact: at most `limit` in any interval of `window_ms`. Stores each call of the window.
    #[schema(title = "LimitSlidingWindow")]
    SlidingWindow {
        #[serde(deserialize_with = "buffered::unsigned")]
        #[schema(minimum = 1, maximum = 1_000_000)]
        limit: u64,
        #[serde(deserialize_with = "buffered::unsigned")]
        #[schema(minimum = 1, maximum = 31_622_400_000_u64)]
        window_ms: u64,
    },
    /// At most `limit` in each window of `window_ms`, aligned to 1970, or in each day or month of a time zone.
    #[schema(title = "LimitFixedWindow")]
    FixedWindow {
        #[serde(deserialize_with = "buffered::unsigned")]
        #[schema(minimum = 1, maximum = 1_000_000_000)]
        limit: u64,
        #[serde(default, deserialize_with = "buffered::unsigned_if_given", skip_serializing_if = "Option::is_none")]
        #[schema(minimum = 1, maximum = 31_622_400_000_u64)]
        window_ms: Option<u64>,
        /// Replaces `window_ms`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        calendar: Option<Period>,
        /// IANA name of the time zone; required with `calendar`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schema(example = "Asia/Bangkok")]
        zone: Option<String>,
    },
    /// A bucket of `capacity` tokens that refills at `refill_per_second`; a call takes its cost out.
    #[schema(title = "LimitTokenBucket")]
    TokenBucket {
        #[serde(deserialize_with = "buffered::unsigned")]
        #[schema(minimum = 1, maximum = 1_000_000_000)]
        capacity: u64,
        /// At most three decimals.
        #[schema(minimum = 0.001, maximum = 1_000_000)]
        refill_per_second: f64,
    },
    /// `limit` in each `period_ms`, evenly spaced, of which `burst` (default: `limit`) may arrive at the same time.
    #[schema(title = "LimitGcra")]
    Gcra {
        #[serde(deserialize_with = "buffered::unsigned")]
        #[schema(minimum = 1, maximum = 1_000_000_000)]
        limit: u64,
        #[serde(deserialize_with = "buffered::unsigned")]
        #[schema(minimum = 1, maximum = 31_622_400_000_u64)]
        period_ms: u64,
        #[serde(default, deserialize_with = "buffered::unsigned_if_given", skip_serializing_if = "Option::is_none")]
        #[schema(minimum = 1, maximum = 1_000_000_000)]
        burst: Option<u64>,
    },
    /// At most `limit` in a window that begins with its first call. One more is a violation: it blocks the key for
    /// `window_ms`, the next violation for `factor` times as long, up to `maximum_ms`. Every `decay_ms` (default:
    /// `window_ms`) without a violation undoes one step.
    #[schema(title = "LimitExponentialBackoff")]
    ExponentialBackoff {
        #[serde(deserialize_with = "buffered::unsigned")]
        #[schema(minimum = 1, maximum = 1_000_000_000)]
        limit: u64,
        #[serde(deserialize_with = "buffered::unsigned")]
        #[schema(minimum = 1, maximum = 31_622_400_000_u64)]
        window_ms: u64,
        /// At most three decimals.
        #[schema(minimum = 1, maximum = 1_000)]
        factor: f64,
        #[serde(deserialize_with = "buffered::unsigned")]
        #[schema(minimum = 1, maximum = 31_622_400_000_u64)]
        maximum_ms: u64,
        #[serde(default, deserialize_with = "buffered::unsigned_if_given", skip_serializing_if = "Option::is_none")]
        #[schema(minimum = 1, maximum = 31_622_400_000_u64)]
        decay_ms: Option<u64>,
    },
}

impl Strategy {
    /// The name in responses, metrics and keys.
    pub(in crate::features::ratelimit) const fn kind(&self) -> &'static str {
        match self {
            Self::SlidingWindow { .. } => "sliding_window",
            Self::FixedWindow { .. } => "fixed_window",
            Self::TokenBucket { .. } => "token_bucket",
            Self::Gcra { .. } => "gcra",
            Self::ExponentialBackoff { .. } => "exponential_backoff",
        }
    }
}

/// A field of a request or of the configuration that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} {rule}")]
pub(in crate::features::ratelimit) struct InvalidField {
    /// Such as `cost` or `strategy/window_ms`. In a strategy: the name without the unit that it has in requests, such as
    /// `window`.
    pub field: String,
    /// The rule as the end of a sentence, such as `must be between 1 and 5, got 7`.
    pub rule: String,
}

impl InvalidField {
    pub(in crate::features::ratelimit) fn new(field: &str, rule: impl Into<String>) -> Self {
        Self { field: field.to_owned(), rule: rule.into() }
    }

    /// Turns a field of a strategy into the field of a request with this strategy.
    pub(in crate::features::ratelimit) fn of_request(self) -> Self {
        let is_duration = matches!(&*self.field, "window" | "period" | "maximum" | "decay");
        Self { field: format!("strategy/{}{}", self.field, if is_duration { "_ms" } else { "" }), rule: self.rule }
    }

    /// Makes the field one of the item `at` of a list.
    pub(in crate::features::ratelimit) fn within(self, list: &str, at: usize) -> Self {
        Self { field: format!("{list}/{at}/{}", self.field), ..self }
    }
}

/// The number, if it is between 1 and `max`.
///
/// # Errors
/// [`InvalidField`] naming the field.
pub(in crate::features::ratelimit) fn between(field: &str, number: u64, max: u64) -> Result<u64, InvalidField> {
    if (1..=max).contains(&number) {
        return Ok(number);
    }
    Err(InvalidField::new(field, format!("must be between 1 and {max}, got {number}")))
}
