//! Rules: validated strategies, their numbers as the script takes them, and the meaning of the script's reply.

use super::calendar::Calendar;
use super::gcra::Gcra;
use super::{InvalidField, MAX_LIMIT, MAX_SLIDING_LIMIT, MAX_WINDOW_MS, Strategy, between};

/// A validated strategy.
#[derive(Clone, Debug)]
pub(in crate::features::ratelimit) struct Rule {
    pub strategy: Strategy,
    /// The largest cost that the rule allows.
    pub limit: u64,
    pub algorithm: Algorithm,
}

/// The algorithm that the script runs. Times are in microseconds unless their name states another unit.
#[derive(Clone, Debug, Hash)]
pub(in crate::features::ratelimit) enum Algorithm {
    Gcra(Gcra),
    Fixed { length: u64 },
    Calendar(Calendar),
    Sliding { length: u64 },
    Backoff { window: u64, factor_thousandths: u64, max_penalty_ms: u64, decay: u64, max_level: u64 },
}

impl Rule {
    /// Whether both rules can count in one state, and each leaves there what the other one needs.
    pub(in crate::features::ratelimit) fn can_share_state_of(&self, other: &Self) -> bool {
        match (&self.algorithm, &other.algorithm) {
            (Algorithm::Gcra(_), Algorithm::Gcra(_)) => true,
            // A log of a longer interval contains that of a shorter one.
            (Algorithm::Sliding { length }, Algorithm::Sliding { length: other }) => length >= other,
            _ => self.strategy.kind() == other.strategy.kind() && self.window() == other.window(),
        }
    }

    /// The window and the penalties as part of a key; `None` for buckets and GCRA, whose states suit every rule.
    pub(in crate::features::ratelimit) fn window(&self) -> Option<String> {
        match &self.algorithm {
            Algorithm::Gcra(_) => None,
            Algorithm::Calendar(calendar) => Some(calendar.name()),
            Algorithm::Fixed { length } | Algorithm::Sliding { length } => Some((length / 1_000).to_string()),
            Algorithm::Backoff { window, factor_thousandths, max_penalty_ms, decay, .. } => {
                Some(format!("{}-{factor_thousandths}-{max_penalty_ms}-{}", window / 1_000, decay / 1_000))
            }
        }
    }
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
    /// # Errors
    /// [`InvalidField`] naming the field of the strategy.
    pub(in crate::features::ratelimit) fn new(strategy: Strategy) -> Result<Self, InvalidField> {
        let (limit, algorithm) = match strategy {
            Strategy::SlidingWindow { limit, window_ms } => (
                between("limit", limit, MAX_SLIDING_LIMIT)?,
                Algorithm::Sliding { length: microseconds("window", window_ms)? },
            ),
            Strategy::FixedWindow { limit, window_ms, calendar, ref zone } => {
                let limit = between("limit", limit, MAX_LIMIT)?;
                let algorithm = match (window_ms, calendar, zone) {
                    (Some(ms), None, None) => Algorithm::Fixed { length: microseconds("window", ms)? },
                    (None, Some(period), Some(zone)) => Algorithm::Calendar(Calendar::new(period, zone)?),
                    (None, Some(_), None) => return Err(InvalidField::new("zone", "is required with calendar")),
                    (Some(_), None, Some(_)) => {
                        return Err(InvalidField::new("zone", "is only allowed with calendar"));
                    }
                    _ => return Err(InvalidField::new("window", "or calendar is required, and not both")),
                };
                (limit, algorithm)
            }
            Strategy::TokenBucket { capacity, refill_per_second } => {
                let capacity = between("capacity", capacity, MAX_LIMIT)?;
                let per_thousand_seconds = thousandths("refill_per_second", refill_per_second, 1..=1_000_000_000)?;
                let gcra = Gcra::new(capacity, per_thousand_seconds, 1_000_000_000, "capacity")?;
                (capacity, Algorithm::Gcra(gcra))
            }
            Strategy::Gcra { limit, period_ms, burst } => {
                let limit = between("limit", limit, MAX_LIMIT)?;
                let burst = between("burst", burst.unwrap_or(limit), MAX_LIMIT)?;
                let gcra = Gcra::new(burst, limit, microseconds("period", period_ms)?, "burst")?;
                (burst, Algorithm::Gcra(gcra))
            }
            Strategy::ExponentialBackoff { limit, window_ms, factor, maximum_ms, decay_ms } => {
                let window = microseconds("window", window_ms)?;
                if microseconds("maximum", maximum_ms)? < window {
                    return Err(InvalidField::new("maximum", "must not be shorter than the window"));
                }
                let factor_thousandths = thousandths("factor", factor, 1_000..=1_000_000)?;
                let max_level = steps(window_ms, factor_thousandths, maximum_ms)
                    .ok_or_else(|| InvalidField::new("factor", "must reach the maximum within 1,000 violations"))?;
                let decay = microseconds("decay", decay_ms.unwrap_or(window_ms))?;
                if decay * max_level > MAX_WINDOW_MS * 1_000 {
                    return Err(InvalidField::new("decay", "must not keep violations for longer than 366 days"));
                }
                let max_penalty_ms = maximum_ms;
                let limit = between("limit", limit, MAX_LIMIT)?;
                (limit, Algorithm::Backoff { window, factor_thousandths, max_penalty_ms, decay, max_level })
            }
        };
        Ok(Self { strategy, limit, algorithm })
    }

    /// The window that the limit applies to, milliseconds rounded up. For a bucket: the time until it is full.
    pub(in crate::features::ratelimit) fn window_ms(&self) -> u64 {
        match &self.algorithm {
            Algorithm::Gcra(gcra) => gcra.microseconds(gcra.time(gcra.capacity)).div_ceil(1_000),
            Algorithm::Calendar(calendar) => calendar.longest_ms(),
            Algorithm::Fixed { length } | Algorithm::Sliding { length } => length / 1_000,
            Algorithm::Backoff { window, .. } => window / 1_000,
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
        let usage = KeyUsage { fits, is_new: code == 2, ..KeyUsage::default() };
        Some(match &self.algorithm {
            Algorithm::Gcra(gcra) => {
                let debt = gcra.join(numbers.next()?, numbers.next()?) + gcra.time(taken);
                let remaining = gcra.remaining(debt);
                let more = if remaining < self.limit { gcra.wait(debt, remaining + 1) } else { 0 };
                let retry = if fits { 0 } else { gcra.wait(debt, cost) };
                KeyUsage { remaining, reset: gcra.microseconds(debt), more, retry, ..usage }
            }
            Algorithm::Fixed { .. } | Algorithm::Calendar(_) | Algorithm::Backoff { .. } => {
                let (used, end) = (numbers.next()? + taken, numbers.next()?);
                let is_backoff = matches!(self.algorithm, Algorithm::Backoff { .. });
                let blocked_for = if is_backoff { numbers.next()? } else { 0 };
                if blocked_for > 0 {
                    return Some(KeyUsage { reset: blocked_for, more: blocked_for, retry: blocked_for, ..usage });
                }
                let reset = if used > 0 { end } else { 0 };
                let retry = if fits { 0 } else { end };
                KeyUsage { remaining: self.limit.saturating_sub(used), reset, more: reset, retry, ..usage }
            }
            Algorithm::Sliding { length } => {
                let (before, all_gone, oldest_gone) = (numbers.next()?, numbers.next()?, numbers.next()?);
                let retry = numbers.next()?;
                let reset = if taken > 0 { *length } else { all_gone };
                let more = if before > 0 { oldest_gone } else { reset };
                KeyUsage { remaining: self.limit.saturating_sub(before + taken), reset, more, retry, ..usage }
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

fn microseconds(field: &str, ms: u64) -> Result<u64, InvalidField> {
    if (1..=MAX_WINDOW_MS).contains(&ms) {
        return Ok(ms * 1_000);
    }
    Err(InvalidField::new(field, format!("must be between 1 ms and 366 days, got {ms} ms")))
}

/// Converts a number with at most three decimals to a whole number of thousandths.
fn thousandths(field: &str, number: f64, range: std::ops::RangeInclusive<u32>) -> Result<u64, InvalidField> {
    let scaled = (number * 1_000.0).round();
    let (min, max) = (f64::from(*range.start()), f64::from(*range.end()));
    if !(min..=max).contains(&scaled) || (scaled / 1_000.0 - number).abs() > f64::EPSILON * number.abs() {
        let (min, max) = (min / 1_000.0, max / 1_000.0);
        let rule = format!("must be between {min} and {max} with at most three decimals, got {number}");
        return Err(InvalidField::new(field, rule));
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole, and in the range")]
    Ok(scaled as u64)
}
