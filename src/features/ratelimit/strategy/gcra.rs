//! The generic cell rate algorithm (GCRA) in exact arithmetic, for GCRA limits and token buckets.
//!
//! A unit of cost is a duration of `numerator / denominator` microseconds, and the state in Redis is the time at which no
//! debt is left. A bucket of n tokens that refills at r per second admits the same calls as a GCRA with emission interval
//! 1/r and a tolerance of n intervals (ITU-T I.371, Annex A: continuous-state leaky bucket and virtual scheduling). The
//! script only adds and compares; this file multiplies and divides, in 128 bits.

use super::{InvalidStrategy, MAX_WINDOW_MS};

/// A duration: whole microseconds, and parts of a microsecond, of which `denominator` make one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::features::ratelimit) struct ExactTime {
    pub whole: u64,
    pub parts: u64,
}

/// The rate and the capacity of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::features::ratelimit) struct Gcra {
    /// Microseconds in which `denominator` units of cost drain; the two have no common divisor.
    numerator: u64,
    denominator: u64,
    /// Units of cost.
    pub capacity: u64,
}

impl Gcra {
    /// Makes a limit of `capacity` units, of which `units` drain in `span_us` microseconds.
    ///
    /// # Errors
    /// If draining the whole capacity takes longer than 366 days; the error names `capacity_field`.
    pub(in crate::features::ratelimit) fn new(
        capacity: u64,
        units: u64,
        span_us: u64,
        capacity_field: &'static str,
    ) -> Result<Self, InvalidStrategy> {
        let divisor = greatest_common_divisor(span_us, units).max(1);
        let gcra = Self { numerator: span_us / divisor, denominator: units / divisor, capacity };
        if gcra.time(capacity).whole > MAX_WINDOW_MS * 1_000 {
            return Err(InvalidStrategy::new(capacity_field, "must be available again in full within 366 days"));
        }
        Ok(gcra)
    }

    /// The number of parts that make a microsecond.
    pub(in crate::features::ratelimit) const fn denominator(&self) -> u64 {
        self.denominator
    }

    /// The time in which `units` drain.
    pub(in crate::features::ratelimit) fn time(&self, units: u64) -> ExactTime {
        self.exact(u128::from(units) * u128::from(self.numerator))
    }

    /// The units that are available at a debt.
    pub(in crate::features::ratelimit) fn remaining(&self, debt: ExactTime) -> u64 {
        let room = self.parts(self.time(self.capacity)).saturating_sub(self.parts(debt));
        u64::try_from(room / u128::from(self.numerator)).unwrap_or(u64::MAX)
    }

    /// The debt after a further cost.
    pub(in crate::features::ratelimit) fn after(&self, debt: ExactTime, units: u64) -> ExactTime {
        self.exact(self.parts(debt) + self.parts(self.time(units)))
    }

    /// Microseconds until `units` are available at a debt, rounded up.
    pub(in crate::features::ratelimit) fn wait(&self, debt: ExactTime, units: u64) -> u64 {
        let needed = self.parts(debt) + self.parts(self.time(units));
        self.round_up(needed.saturating_sub(self.parts(self.time(self.capacity))))
    }

    /// Microseconds until no debt is left, rounded up.
    pub(in crate::features::ratelimit) fn drained(&self, debt: ExactTime) -> u64 {
        self.round_up(self.parts(debt))
    }

    fn parts(&self, time: ExactTime) -> u128 {
        u128::from(time.whole) * u128::from(self.denominator) + u128::from(time.parts)
    }

    fn exact(&self, parts: u128) -> ExactTime {
        let denominator = u128::from(self.denominator);
        let narrow = |number: u128| u64::try_from(number).unwrap_or(u64::MAX);
        ExactTime { whole: narrow(parts / denominator), parts: narrow(parts % denominator) }
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
        let gcra = Gcra::new(3, 3, 1_000_000, "limit").expect("short");
        let mut debt = ExactTime { whole: 0, parts: 0 };
        for _ in 0..3 {
            debt = gcra.after(debt, 1);
        }
        assert_eq!(debt, ExactTime { whole: 1_000_000, parts: 0 });
        assert_eq!((gcra.remaining(debt), gcra.wait(debt, 1), gcra.drained(debt)), (0, 333_334, 1_000_000));
    }

    #[test]
    fn a_unit_may_be_shorter_than_a_microsecond() {
        let gcra = Gcra::new(1_000_000, 1_000_000, 1_000, "limit").expect("short");
        let debt = gcra.time(1);
        assert_eq!(debt, ExactTime { whole: 0, parts: 1 });
        assert_eq!(gcra.remaining(debt), 999_999);
    }

    #[test]
    fn what_takes_years_is_refused() {
        let refused = Gcra::new(1_000_000_000, 1, 1_000_000, "capacity").expect_err("32 years");
        assert_eq!(refused.field, "capacity");
    }
}
