//! A level that drains evenly: what a token bucket and GCRA have in common, in exact numbers.
//!
//! A unit of cost is a length of time, `numerator / denominator` microseconds, and the state in Redis is the moment at
//! which no debt is left. A bucket of n tokens that refills by r a second and a GCRA with emission interval 1/r and a
//! tolerance of n intervals admit the same calls (ITU-T I.371, Annex A: continuous-state leaky bucket and virtual
//! scheduling). The script only adds and compares; what multiplies and divides is here, in 128 bits.

use super::strategy::{BadStrategy, MAX_WINDOW_MS};

/// A length of time: whole microseconds, and parts of one, of which `denominator` make a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Exact {
    pub whole: u64,
    pub parts: u64,
}

/// What a cost takes, and how much fits in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Flow {
    /// Microseconds that `denominator` units of cost take; the two have no common divisor.
    numerator: u64,
    denominator: u64,
    /// Units of cost.
    pub capacity: u64,
}

impl Flow {
    /// `capacity` units, of which `units` drain in `span_us` microseconds.
    ///
    /// # Errors
    /// When it takes longer than 366 days until a full one is empty; the field is `capacity_field`.
    pub(super) fn new(
        capacity: u64,
        units: u64,
        span_us: u64,
        capacity_field: &'static str,
    ) -> Result<Self, BadStrategy> {
        let divisor = greatest_common_divisor(span_us, units).max(1);
        let flow = Self { numerator: span_us / divisor, denominator: units / divisor, capacity };
        if flow.time(capacity).whole > MAX_WINDOW_MS * 1_000 {
            return Err(BadStrategy::new(capacity_field, "would take longer than 366 days to come back in full"));
        }
        Ok(flow)
    }

    /// Parts of a microsecond that make a whole one.
    pub(super) const fn denominator(&self) -> u64 {
        self.denominator
    }

    /// How long `units` take to drain.
    pub(super) fn time(&self, units: u64) -> Exact {
        self.exact(u128::from(units) * u128::from(self.numerator))
    }

    /// The units that fit in beside a debt.
    pub(super) fn remaining(&self, debt: Exact) -> u64 {
        let room = self.parts(self.time(self.capacity)).saturating_sub(self.parts(debt));
        u64::try_from(room / u128::from(self.numerator)).unwrap_or(u64::MAX)
    }

    /// The debt after one more cost.
    pub(super) fn after(&self, debt: Exact, units: u64) -> Exact {
        self.exact(self.parts(debt) + self.parts(self.time(units)))
    }

    /// Microseconds until `units` fit in beside a debt, rounded up.
    pub(super) fn wait(&self, debt: Exact, units: u64) -> u64 {
        let needed = self.parts(debt) + self.parts(self.time(units));
        self.round_up(needed.saturating_sub(self.parts(self.time(self.capacity))))
    }

    /// Microseconds until no debt is left, rounded up.
    pub(super) fn drained(&self, debt: Exact) -> u64 {
        self.round_up(self.parts(debt))
    }

    fn parts(&self, time: Exact) -> u128 {
        u128::from(time.whole) * u128::from(self.denominator) + u128::from(time.parts)
    }

    fn exact(&self, parts: u128) -> Exact {
        let denominator = u128::from(self.denominator);
        let narrow = |number: u128| u64::try_from(number).unwrap_or(u64::MAX);
        Exact { whole: narrow(parts / denominator), parts: narrow(parts % denominator) }
    }

    fn round_up(&self, parts: u128) -> u64 {
        u64::try_from(parts.div_ceil(u128::from(self.denominator))).unwrap_or(u64::MAX)
    }
}

const fn greatest_common_divisor(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thirds_of_a_second_add_up_to_a_second() {
        let flow = Flow::new(3, 3, 1_000_000, "limit").expect("short");
        let mut debt = Exact { whole: 0, parts: 0 };
        for _ in 0..3 {
            debt = flow.after(debt, 1);
        }
        assert_eq!(debt, Exact { whole: 1_000_000, parts: 0 });
        assert_eq!((flow.remaining(debt), flow.wait(debt, 1), flow.drained(debt)), (0, 333_334, 1_000_000));
    }

    #[test]
    fn a_unit_may_be_shorter_than_a_microsecond() {
        let flow = Flow::new(1_000_000, 1_000_000, 1_000, "limit").expect("short");
        let debt = flow.time(1);
        assert_eq!(debt, Exact { whole: 0, parts: 1 });
        assert_eq!(flow.remaining(debt), 999_999);
    }

    #[test]
    fn what_takes_years_is_refused() {
        let refused = Flow::new(1_000_000_000, 1, 1_000_000, "capacity").expect_err("32 years");
        assert_eq!(refused.field, "capacity");
    }
}
