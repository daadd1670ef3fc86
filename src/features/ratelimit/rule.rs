//! A strategy made ready: its numbers as the script takes them, and what the script's answers mean.

use super::calendar::Calendar;
use super::flow::{Exact, Flow};
use super::strategy::{BadStrategy, MAX_LIMIT, MAX_WINDOW_MS, Strategy};

/// A strategy whose numbers are checked.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    strategy: Strategy,
    pub plan: Plan,
}

/// What the script does; times in microseconds unless they say otherwise.
#[derive(Clone, Debug)]
pub(super) enum Plan {
    Flow(Flow),
    Fixed { limit: u64, length: u64 },
    Calendar { limit: u64, calendar: Calendar },
    Sliding { limit: u64, length: u64 },
    Backoff { limit: u64, window: u64, factor_milli: u64, longest_ms: u64, decay: u64, highest: u64 },
}

/// How a key stands with its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    /// Whether the cost that was asked for fits in, or was taken.
    pub fits: bool,
    /// Whether there was no state before.
    pub is_new: bool,
    pub remaining: u64,
    /// Microseconds until the whole limit is there again.
    pub reset: u64,
    /// Microseconds until more than `remaining` is there; 0 when all is.
    pub more: u64,
    /// Microseconds until the cost fits; 0 when it does.
    pub retry: u64,
}

impl Rule {
    /// Checks a strategy's numbers; a sliding window may have a limit of `log_limit`.
    ///
    /// # Errors
    /// [`BadStrategy`] naming the field.
    pub(super) fn new(strategy: Strategy, log_limit: u64) -> Result<Self, BadStrategy> {
        let plan = Plan::new(&strategy, log_limit)?;
        Ok(Self { strategy, plan })
    }

    pub(super) const fn strategy(&self) -> &Strategy {
        &self.strategy
    }

    /// The most that can be taken at once.
    pub(super) const fn limit(&self) -> u64 {
        match &self.plan {
            Plan::Flow(flow) => flow.capacity,
            Plan::Fixed { limit, .. }
            | Plan::Calendar { limit, .. }
            | Plan::Sliding { limit, .. }
            | Plan::Backoff { limit, .. } => *limit,
        }
    }

    /// The time for which [`Rule::limit`] stands, milliseconds rounded up; of a bucket, the time until it is full.
    pub(super) fn window_ms(&self) -> u64 {
        match &self.plan {
            Plan::Flow(flow) => flow.drained(flow.time(flow.capacity)).div_ceil(1_000),
            Plan::Calendar { calendar, .. } => calendar.longest_ms(),
            Plan::Fixed { length, .. } | Plan::Sliding { length, .. } => length / 1_000,
            Plan::Backoff { window, .. } => window / 1_000,
        }
    }
}

impl Plan {
    fn new(strategy: &Strategy, log_limit: u64) -> Result<Self, BadStrategy> {
        match *strategy {
            Strategy::SlidingWindow { limit, window_ms } => Ok(Self::Sliding {
                limit: between("limit", limit, log_limit)?,
                length: microseconds("window", window_ms)?,
            }),
            Strategy::FixedWindow { limit, window_ms, calendar, ref zone } => {
                let limit = between("limit", limit, MAX_LIMIT)?;
                match (window_ms, calendar, zone) {
                    (Some(ms), None, None) => Ok(Self::Fixed { limit, length: microseconds("window", ms)? }),
                    (None, Some(period), Some(zone)) => {
                        Ok(Self::Calendar { limit, calendar: Calendar::new(period, zone)? })
                    }
                    (None, Some(_), None) => Err(BadStrategy::new("zone", "is needed with `calendar`")),
                    (Some(_), None, Some(_)) => {
                        Err(BadStrategy::new("zone", "goes with `calendar`, not with a window"))
                    }
                    _ => Err(BadStrategy::new("window", "is needed, or `calendar` instead of it")),
                }
            }
            Strategy::TokenBucket { capacity, refill_per_second } => {
                let capacity = between("capacity", capacity, MAX_LIMIT)?;
                let per_thousand_seconds = thousandths("refill_per_second", refill_per_second, 1..=1_000_000_000)?;
                Flow::new(capacity, per_thousand_seconds, 1_000_000_000, "capacity").map(Self::Flow)
            }
            Strategy::Gcra { limit, period_ms, burst } => {
                let limit = between("limit", limit, MAX_LIMIT)?;
                let burst = between("burst", burst.unwrap_or(limit), MAX_LIMIT)?;
                Flow::new(burst, limit, microseconds("period", period_ms)?, "burst").map(Self::Flow)
            }
            Strategy::ExponentialBackoff { limit, window_ms, factor, maximum_ms, decay_ms } => {
                let window = microseconds("window", window_ms)?;
                if microseconds("maximum", maximum_ms)? < window {
                    return Err(BadStrategy::new("maximum", "must not be shorter than the window"));
                }
                let factor_milli = thousandths("factor", factor, 1_000..=1_000_000)?;
                let highest = steps(window_ms, factor_milli, maximum_ms)
                    .ok_or_else(|| BadStrategy::new("factor", "takes more than 1,000 violations to the maximum"))?;
                let decay = microseconds("decay", decay_ms.unwrap_or(window_ms))?;
                if decay * highest > MAX_WINDOW_MS * 1_000 {
                    return Err(BadStrategy::new("decay", "would remember violations for longer than 366 days"));
                }
                let limit = between("limit", limit, MAX_LIMIT)?;
                Ok(Self::Backoff { limit, window, factor_milli, longest_ms: maximum_ms, decay, highest })
            }
        }
    }

    /// Reads a check's numbers, as they were before it, from the script's answer; `None` when some are missing.
    ///
    /// `taken` says that the cost was taken.
    pub(super) fn standing(
        &self,
        numbers: &mut impl Iterator<Item = u64>,
        cost: u64,
        granted: bool,
    ) -> Option<Standing> {
        let verdict = numbers.next()?;
        let fits = verdict > 0;
        let taken = if fits && granted { cost } else { 0 };
        let standing = Standing { fits, is_new: verdict == 2, remaining: 0, reset: 0, more: 0, retry: 0 };
        Some(match self {
            Self::Flow(flow) => {
                let debt = flow.after(Exact { whole: numbers.next()?, parts: numbers.next()? }, taken);
                let remaining = flow.remaining(debt);
                Standing {
                    remaining,
                    reset: flow.drained(debt),
                    more: if remaining < flow.capacity { flow.wait(debt, remaining + 1) } else { 0 },
                    retry: if fits { 0 } else { flow.wait(debt, cost) },
                    ..standing
                }
            }
            Self::Fixed { limit, .. } | Self::Calendar { limit, .. } => {
                let (used, end) = (numbers.next()? + taken, numbers.next()?);
                let reset = if used > 0 { end } else { 0 };
                let retry = if fits { 0 } else { end };
                Standing { remaining: limit.saturating_sub(used), reset, more: reset, retry, ..standing }
            }
            Self::Sliding { limit, length } => {
                let (before, all_gone, oldest_gone) = (numbers.next()?, numbers.next()?, numbers.next()?);
                let retry = numbers.next()?;
                let reset = if taken > 0 { *length } else { all_gone };
                let more = if before > 0 { oldest_gone } else { reset };
                Standing { remaining: limit.saturating_sub(before + taken), reset, more, retry, ..standing }
            }
            Self::Backoff { limit, .. } => {
                let (used, end, barred) = (numbers.next()? + taken, numbers.next()?, numbers.next()?);
                if barred > 0 {
                    return Some(Standing { reset: barred, more: barred, retry: barred, ..standing });
                }
                let reset = if used > 0 { end } else { 0 };
                let retry = if fits { 0 } else { end };
                Standing { remaining: limit.saturating_sub(used), reset, more: reset, retry, ..standing }
            }
        })
    }
}

/// The most steps that a back-off may take to its maximum: the script multiplies them up.
const MAX_STEPS: u64 = 1_000;

/// Violations until penalties stop to grow; `None` when they are too many.
fn steps(window_ms: u64, factor_milli: u64, maximum_ms: u64) -> Option<u64> {
    let (mut penalty, mut steps) = (window_ms, 0);
    while penalty < maximum_ms {
        let next = (penalty * factor_milli / 1_000).min(maximum_ms);
        // A factor so small that rounding undoes it.
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

fn between(field: &'static str, number: u64, most: u64) -> Result<u64, BadStrategy> {
    if (1..=most).contains(&number) {
        return Ok(number);
    }
    Err(BadStrategy::new(field, format!("must be from 1 to {most}")))
}

fn microseconds(field: &'static str, ms: u64) -> Result<u64, BadStrategy> {
    if (1..=MAX_WINDOW_MS).contains(&ms) {
        return Ok(ms * 1_000);
    }
    Err(BadStrategy::new(field, "must be from 1 ms to 366 days"))
}

/// A decimal number with at most three decimals as a whole number of thousandths.
fn thousandths(field: &'static str, number: f64, range: std::ops::RangeInclusive<u64>) -> Result<u64, BadStrategy> {
    let scaled = (number * 1_000.0).round();
    let (least, most) = range.into_inner();
    #[expect(clippy::cast_precision_loss, reason = "at most 10^9")]
    let is_in_range = scaled >= least as f64 && scaled <= most as f64;
    if !is_in_range || (scaled / 1_000.0 - number).abs() > f64::EPSILON * number.abs() {
        return Err(BadStrategy::new(
            field,
            format!("must be from {} to {}, with at most three decimals", decimal(least), decimal(most)),
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
