//! Reference models: the definition of each strategy in a few lines, without regard for speed or memory.
//!
//! Times are milliseconds. Sums are exact: where a definition divides, both sides are multiplied instead.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

/// The expected result of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    pub allowed: bool,
    pub remaining: u128,
    pub reset_ms: u128,
    pub retry_after_ms: u128,
}

#[expect(clippy::cast_precision_loss, reason = "below 2^53")]
fn thousandths(count: u128) -> f64 {
    count as f64 / 1_000.0
}

/// A reference model of a strategy.
pub trait Model: std::fmt::Debug {
    /// The strategy as a request spells it.
    fn strategy(&self) -> Value;
    /// The largest cost of a call.
    fn max_cost(&self) -> u128;
    fn check(&mut self, now: u128, cost: u128) -> Expected;
}

/// A log of all admitted calls: the time and the cost of each.
#[derive(Debug)]
pub struct SlidingWindow {
    pub limit: u128,
    pub window: u128,
    pub admitted: Vec<(u128, u128)>,
}

impl SlidingWindow {
    fn used(&self, now: u128) -> u128 {
        self.admitted.iter().filter(|(time, _)| *time > now - self.window).map(|(_, cost)| cost).sum()
    }
}

impl Model for SlidingWindow {
    fn strategy(&self) -> Value {
        json!({ "kind": "sliding_window", "limit": self.limit, "window_ms": self.window })
    }

    fn max_cost(&self) -> u128 {
        self.limit
    }

    fn check(&mut self, now: u128, cost: u128) -> Expected {
        let allowed = self.used(now) + cost <= self.limit;
        if allowed {
            self.admitted.push((now, cost));
        }
        // The available cost changes only when a call leaves the window.
        let leaving = self.admitted.iter().map(|(time, _)| time + self.window).filter(|&end| end > now);
        let fits = |at: &u128| self.used(*at) + cost <= self.limit;
        Expected {
            allowed,
            remaining: self.limit - self.used(now),
            reset_ms: leaving.clone().max().map_or(0, |end| end - now),
            retry_after_ms: if allowed { 0 } else { leaving.filter(fits).min().expect("it fits eventually") - now },
        }
    }
}

/// The cost that was taken in the current window.
#[derive(Debug)]
pub struct FixedWindow {
    pub limit: u128,
    pub window: u128,
    pub current: u128,
    pub used: u128,
}

impl Model for FixedWindow {
    fn strategy(&self) -> Value {
        json!({ "kind": "fixed_window", "limit": self.limit, "window_ms": self.window })
    }

    fn max_cost(&self) -> u128 {
        self.limit
    }

    fn check(&mut self, now: u128, cost: u128) -> Expected {
        let current = now / self.window;
        if current != self.current {
            (self.current, self.used) = (current, 0);
        }
        take_in_window(&mut self.used, self.limit, cost, (current + 1) * self.window - now)
    }
}

/// The cost that was taken in the current day or month of a time zone, which is given by name.
#[derive(Debug)]
pub struct CalendarWindow {
    pub limit: u128,
    pub name: &'static str,
    pub zone: TimeZone,
    pub by_month: bool,
    pub current: Option<Date>,
    pub used: u128,
}

impl CalendarWindow {
    fn date(&self, at: u128) -> Date {
        let time = Timestamp::from_millisecond(i64::try_from(at).expect("a time")).expect("a time");
        let date = time.to_zoned(self.zone.clone()).date();
        if self.by_month { date.first_of_month() } else { date }
    }

    /// The first millisecond of another day or month, by bisection.
    fn end(&self, now: u128) -> u128 {
        let (mut inside, mut outside) = (now, now + 32 * 86_400_000);
        while outside - inside > 1 {
            let middle = u128::midpoint(inside, outside);
            if self.date(middle) == self.date(now) { inside = middle } else { outside = middle }
        }
        outside
    }
}

impl Model for CalendarWindow {
    fn strategy(&self) -> Value {
        let period = if self.by_month { "month" } else { "day" };
        json!({ "kind": "fixed_window", "limit": self.limit, "calendar": period, "zone": self.name })
    }

    fn max_cost(&self) -> u128 {
        self.limit
    }

    fn check(&mut self, now: u128, cost: u128) -> Expected {
        let current = self.date(now);
        if self.current != Some(current) {
            (self.current, self.used) = (Some(current), 0);
        }
        let left = self.end(now) - now;
        take_in_window(&mut self.used, self.limit, cost, left)
    }
}

fn take_in_window(used: &mut u128, limit: u128, cost: u128, left: u128) -> Expected {
    let allowed = *used + cost <= limit;
    if allowed {
        *used += cost;
    }
    Expected {
        allowed,
        remaining: limit - *used,
        reset_ms: if *used > 0 { left } else { 0 },
        retry_after_ms: if allowed { 0 } else { left },
    }
}

/// A level of tokens that rises to the capacity; in millionths of a token.
#[derive(Debug)]
pub struct TokenBucket {
    pub capacity: u128,
    /// Tokens in a thousand seconds, which is millionths of a token in a millisecond.
    pub refill: u128,
    pub level: u128,
    pub at: u128,
}

const TOKEN: u128 = 1_000_000;

impl Model for TokenBucket {
    fn strategy(&self) -> Value {
        let refill = thousandths(self.refill);
        json!({ "kind": "token_bucket", "capacity": self.capacity, "refill_per_second": refill })
    }

    fn max_cost(&self) -> u128 {
        self.capacity
    }

    fn check(&mut self, now: u128, cost: u128) -> Expected {
        self.level = (self.level + (now - self.at) * self.refill).min(self.capacity * TOKEN);
        self.at = now;
        let allowed = self.level >= cost * TOKEN;
        if allowed {
            self.level -= cost * TOKEN;
        }
        let wait = |level: u128| level.saturating_sub(self.level).div_ceil(self.refill);
        Expected {
            allowed,
            remaining: self.level / TOKEN,
            reset_ms: wait(self.capacity * TOKEN),
            retry_after_ms: if allowed { 0 } else { wait(cost * TOKEN) },
        }
    }
}

/// The theoretical arrival time of the standard, multiplied by the limit.
#[derive(Debug)]
pub struct Gcra {
    pub limit: u128,
    pub period: u128,
    pub burst: u128,
    pub arrival: u128,
}

impl Model for Gcra {
    fn strategy(&self) -> Value {
        json!({ "kind": "gcra", "limit": self.limit, "period_ms": self.period,
                "burst": self.burst })
    }

    fn max_cost(&self) -> u128 {
        self.burst
    }

    fn check(&mut self, now: u128, cost: u128) -> Expected {
        let now = now * self.limit;
        let next = self.arrival.max(now) + cost * self.period;
        let latest = now + self.burst * self.period;
        let allowed = next <= latest;
        if allowed {
            self.arrival = next;
        }
        let arrival = self.arrival.max(now);
        Expected {
            allowed,
            remaining: (latest - arrival) / self.period,
            reset_ms: (arrival - now).div_ceil(self.limit),
            retry_after_ms: if allowed { 0 } else { (next - latest).div_ceil(self.limit) },
        }
    }
}

/// A count since the first call of the window, and a penalty that grows with each violation.
#[derive(Debug)]
pub struct Backoff {
    pub limit: u128,
    pub window: u128,
    /// Thousandths.
    pub factor: u128,
    pub maximum: u128,
    pub decay: u128,
    pub began: Option<u128>,
    pub used: u128,
    pub blocked_until: u128,
    /// Violations that have not been undone by decay.
    pub violations: u128,
}

impl Model for Backoff {
    fn strategy(&self) -> Value {
        let factor = thousandths(self.factor);
        json!({ "kind": "exponential_backoff", "limit": self.limit, "window_ms": self.window,
                "factor": factor, "maximum_ms": self.maximum, "decay_ms": self.decay })
    }

    fn max_cost(&self) -> u128 {
        self.limit
    }

    fn check(&mut self, now: u128, cost: u128) -> Expected {
        let blocked =
            |until: u128| Expected { allowed: false, remaining: 0, reset_ms: until - now, retry_after_ms: until - now };
        if now < self.blocked_until {
            return blocked(self.blocked_until);
        }
        if self.began.is_none_or(|began| now >= began + self.window) {
            (self.began, self.used) = (Some(now), 0);
        }
        if self.used + cost <= self.limit {
            self.used += cost;
            let left = self.began.unwrap_or(now) + self.window - now;
            return Expected { allowed: true, remaining: self.limit - self.used, reset_ms: left, retry_after_ms: 0 };
        }
        let undone = (now - self.blocked_until) / self.decay;
        let counted = self.violations.saturating_sub(undone);
        let penalty = (0..counted).fold(self.window, |penalty, _| self.next_penalty(penalty));
        // Once the maximum is reached, further violations do not count.
        let most = self.steps();
        self.violations = (counted + 1).min(most);
        (self.began, self.used, self.blocked_until) = (None, 0, now + penalty);
        blocked(self.blocked_until)
    }
}

impl Backoff {
    fn next_penalty(&self, penalty: u128) -> u128 {
        (penalty * self.factor / 1_000).min(self.maximum)
    }

    fn steps(&self) -> u128 {
        let (mut penalty, mut steps) = (self.window, 0);
        while self.next_penalty(penalty) > penalty {
            penalty = self.next_penalty(penalty);
            steps += 1;
        }
        steps
    }
}
