//! Rules: validated strategies, their numbers as the script takes them, and the meaning of the script's reply.

use super::calendar::Calendar;
use super::gcra::{ExactTime, Gcra};
use super::{InvalidStrategy, MAX_LIMIT, MAX_WINDOW_MS, Strategy};

/// A validated strategy.
#[derive(Clone, Debug)]
pub(in crate::features::ratelimit) struct Rule {
    strategy: Strategy,
    pub algorithm: Algorithm,
}

/// The algorithm that the script runs. Times are in microseconds unless their name states another unit.
#[derive(Clone, Debug)]
pub(in crate::features::ratelimit) enum Algorithm {
    Gcra(Gcra),
    Fixed { limit: u64, length: u64 },
    Calendar { limit: u64, calendar: Calendar },
    Sliding { limit: u64, length: u64 },
    Backoff { limit: u64, window: u64, factor_thousandths: u64, max_penalty_ms: u64, decay: u64, max_level: u64 },
}

/// How much of its limit a key has used, and when more becomes available.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::features::ratelimit) struct KeyUsage {
    /// Whether the cost fits, or was taken.
    pub fits: bool,
    /// Whether there was no state in Redis before.
    pub is_new: bool,
    pub remaining: u64,
    /// Microseconds until the whole limit is available again.
    pub reset: u64,
    /// Microseconds until more than `remaining` is available; 0 if the whole limit is.
    pub more: u64,
    /// Microseconds until the cost fits; 0 if it does.
    pub retry: u64,
}

impl Rule {
    /// Validates a strategy. `sliding_limit` is the highest limit of a sliding window.
    ///
    /// # Errors
    /// [`InvalidStrategy`] naming the field.
    pub(in crate::features::ratelimit) fn new(strategy: Strategy, sliding_limit: u64) -> Result<Self, InvalidStrategy> {
        let algorithm = Algorithm::new(&strategy, sliding_limit)?;
        Ok(Self { strategy, algorithm })
    }

    pub(in crate::features::ratelimit) const fn strategy(&self) -> &Strategy {
        &self.strategy
    }

    /// The largest cost that the rule allows.
    pub(in crate::features::ratelimit) const fn limit(&self) -> u64 {
        match &self.algorithm {
            Algorithm::Gcra(gcra) => gcra.capacity,
            Algorithm::Fixed { limit, .. }
            | Algorithm::Calendar { limit, .. }
            | Algorithm::Sliding { limit, .. }
            | Algorithm::Backoff { limit, .. } => *limit,
        }
    }

    /// The window that [`Rule::limit`] applies to, milliseconds rounded up. For a bucket: the time until it is full.
    pub(in crate::features::ratelimit) fn window_ms(&self) -> u64 {
        match &self.algorithm {
            Algorithm::Gcra(gcra) => gcra.drained(gcra.time(gcra.capacity)).div_ceil(1_000),
            Algorithm::Calendar { calendar, .. } => calendar.longest_ms(),
            Algorithm::Fixed { length, .. } | Algorithm::Sliding { length, .. } => length / 1_000,
            Algorithm::Backoff { window, .. } => window / 1_000,
        }
    }
}

impl Algorithm {
    fn new(strategy: &Strategy, sliding_limit: u64) -> Result<Self, InvalidStrategy> {
        match *strategy {
            Strategy::SlidingWindow { limit, window_ms } => Ok(Self::Sliding {
                limit: between("limit", limit, sliding_limit)?,
                length: microseconds("window", window_ms)?,
            }),
            Strategy::FixedWindow { limit, window_ms, calendar, ref zone } => {
                let limit = between("limit", limit, MAX_LIMIT)?;
                match (window_ms, calendar, zone) {
                    (Some(ms), None, None) => Ok(Self::Fixed { limit, length: microseconds("window", ms)? }),
                    (None, Some(period), Some(zone)) => {
                        Ok(Self::Calendar { limit, calendar: Calendar::new(period, zone)? })
                    }
                    (None, Some(_), None) => Err(InvalidStrategy::new("zone", "is required with calendar")),
                    (Some(_), None, Some(_)) => Err(InvalidStrategy::new("zone", "is only allowed with calendar")),
                    _ => Err(InvalidStrategy::new("window", "or calendar is required, and not both")),
                }
            }
            Strategy::TokenBucket { capacity, refill_per_second } => {
                let capacity = between("capacity", capacity, MAX_LIMIT)?;
                let per_thousand_seconds = thousandths("refill_per_second", refill_per_second, 1..=1_000_000_000)?;
                Gcra::new(capacity, per_thousand_seconds, 1_000_000_000, "capacity").map(Self::Gcra)
            }
            Strategy::Gcra { limit, period_ms, burst } => {
                let limit = between("limit", limit, MAX_LIMIT)?;
                let burst = between("burst", burst.unwrap_or(limit), MAX_LIMIT)?;
                Gcra::new(burst, limit, microseconds("period", period_ms)?, "burst").map(Self::Gcra)
            }
            Strategy::ExponentialBackoff { limit, window_ms, factor, maximum_ms, decay_ms } => {
                let window = microseconds("window", window_ms)?;
                if microseconds("maximum", maximum_ms)? < window {
                    return Err(InvalidStrategy::new("maximum", "must not be shorter than the window"));
                }
                let factor_thousandths = thousandths("factor", factor, 1_000..=1_000_000)?;
                let max_level = steps(window_ms, factor_thousandths, maximum_ms)
                    .ok_or_else(|| InvalidStrategy::new("factor", "must reach the maximum within 1,000 violations"))?;
                let decay = microseconds("decay", decay_ms.unwrap_or(window_ms))?;
                if decay * max_level > MAX_WINDOW_MS * 1_000 {
                    return Err(InvalidStrategy::new("decay", "must not keep violations for longer than 366 days"));
                }
                let limit = between("limit", limit, MAX_LIMIT)?;
                Ok(Self::Backoff { limit, window, factor_thousandths, max_penalty_ms: maximum_ms, decay, max_level })
            }
        }
    }

    /// Interprets a check's numbers in the script's reply, which describe the state before the check; `None` if some are
    /// missing. If `granted`, the costs that fit were taken.
    pub(in crate::features::ratelimit) fn usage(
        &self,
        numbers: &mut impl Iterator<Item = u64>,
        cost: u64,
        granted: bool,
    ) -> Option<KeyUsage> {
        let code = numbers.next()?;
        let fits = code > 0;
        let taken = if fits && granted { cost } else { 0 };
        let usage = KeyUsage { fits, is_new: code == 2, remaining: 0, reset: 0, more: 0, retry: 0 };
        Some(match self {
            Self::Gcra(gcra) => {
                let debt = gcra.after(ExactTime { whole: numbers.next()?, parts: numbers.next()? }, taken);
                let remaining = gcra.remaining(debt);
                KeyUsage {
                    remaining,
                    reset: gcra.drained(debt),
                    more: if remaining < gcra.capacity { gcra.wait(debt, remaining + 1) } else { 0 },
                    retry: if fits { 0 } else { gcra.wait(debt, cost) },
                    ..usage
                }
            }
            Self::Fixed { limit, .. } | Self::Calendar { limit, .. } => {
                let (used, end) = (numbers.next()? + taken, numbers.next()?);
                let reset = if used > 0 { end } else { 0 };
                let retry = if fits { 0 } else { end };
                KeyUsage { remaining: limit.saturating_sub(used), reset, more: reset, retry, ..usage }
            }
            Self::Sliding { limit, length } => {
                let (before, all_gone, oldest_gone) = (numbers.next()?, numbers.next()?, numbers.next()?);
                let retry = numbers.next()?;
                let reset = if taken > 0 { *length } else { all_gone };
                let more = if before > 0 { oldest_gone } else { reset };
                KeyUsage { remaining: limit.saturating_sub(before + taken), reset, more, retry, ..usage }
            }
            Self::Backoff { limit, .. } => {
                let (used, end, blocked_for) = (numbers.next()? + taken, numbers.next()?, numbers.next()?);
                if blocked_for > 0 {
                    return Some(KeyUsage { reset: blocked_for, more: blocked_for, retry: blocked_for, ..usage });
                }
                let reset = if used > 0 { end } else { 0 };
                let retry = if fits { 0 } else { end };
                KeyUsage { remaining: limit.saturating_sub(used), reset, more: reset, retry, ..usage }
            }
        })
    }
}

/// The maximum number of steps of a back-off: the script multiplies once per step.
const MAX_STEPS: u64 = 1_000;

/// The number of violations after which penalties stop growing; `None` if it is above the maximum.
fn steps(window_ms: u64, factor_thousandths: u64, maximum_ms: u64) -> Option<u64> {
    let (mut penalty, mut steps) = (window_ms, 0);
    while penalty < maximum_ms {
        let next = (penalty * factor_thousandths / 1_000).min(maximum_ms);
        // The factor is so small that rounding undoes it.
        if next == penalty {
            break;
        }
        penalty = next;
        steps += 1;
        if steps > MAX_STEPS {
            return None;
        }
    }
    Some(steps)
}

fn between(field: &'static str, number: u64, max: u64) -> Result<u64, InvalidStrategy> {
    if (1..=max).contains(&number) {
        return Ok(number);
    }
    Err(InvalidStrategy::new(field, format!("must be between 1 and {max}, got {number}")))
}

fn microseconds(field: &'static str, ms: u64) -> Result<u64, InvalidStrategy> {
    if (1..=MAX_WINDOW_MS).contains(&ms) {
        return Ok(ms * 1_000);
    }
    Err(InvalidStrategy::new(field, format!("must be between 1 ms and 366 days, got {ms} ms")))
}

/// Converts a number with at most three decimals to a whole number of thousandths.
fn thousandths(field: &'static str, number: f64, range: std::ops::RangeInclusive<u64>) -> Result<u64, InvalidStrategy> {
    let scaled = (number * 1_000.0).round();
    let (min, max) = range.into_inner();
    #[expect(clippy::cast_precision_loss, reason = "at most 10^9")]
    let is_in_range = scaled >= min as f64 && scaled <= max as f64;
    if !is_in_range || (scaled / 1_000.0 - number).abs() > f64::EPSILON * number.abs() {
        return Err(InvalidStrategy::new(
            field,
            format!("must be between {} and {} with at most three decimals, got {number}", decimal(min), decimal(max)),
        ));
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole, and in the range")]
    Ok(scaled as u64)
}

fn decimal(thousandths: u64) -> String {
    match thousandths % 1_000 {
        0 => (thousandths / 1_000).to_string(),
        rest => format!("{}.{rest:03}", thousandths / 1_000),
    }
}
