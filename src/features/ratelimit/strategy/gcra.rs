//! The generic cell rate algorithm (GCRA) in exact arithmetic, for GCRA limits and token buckets.
//!
//! A unit of cost is a duration of `numerator / denominator` microseconds, and the state in Redis is the time at which no
//! debt is left. A bucket of n tokens that refills at r per second admits the same calls as a GCRA with emission interval
//! 1/r and a tolerance of n intervals (ITU-T I.371, Annex A: continuous-state leaky bucket and virtual scheduling). The
//! script only adds and compares; this file multiplies and divides, in 128 bits.
//!
//! A 128-bit duration or debt is a number of parts, of which `denominator` make a microsecond. The script takes and returns
//! whole microseconds and the remaining parts.

use super::{InvalidField, MAX_WINDOW_MS};

/// The rate and the capacity of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::features::ratelimit) struct Gcra {
    /// Microseconds in which `denominator` units of cost drain; the two have no common divisor. Also the number of parts that
    /// make a unit of cost.
    pub numerator: u64,
    /// The number of parts that make a microsecond.
    pub denominator: u64,
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
        capacity_field: &str,
    ) -> Result<Self, InvalidField> {
        let divisor = greatest_common_divisor(span_us, units).max(1);
        let gcra = Self { numerator: span_us / divisor, denominator: units / divisor, capacity };
        if gcra.split(gcra.time(capacity)).0 > MAX_WINDOW_MS * 1_000 {
            return Err(InvalidField::new(capacity_field, "must be available again in full within 366 days"));
        }
        Ok(gcra)
    }

    /// The time in which `units` drain.
    pub(in crate::features::ratelimit) fn time(&self, units: u64) -> u128 {
        u128::from(units) * u128::from(self.numerator)
    }

    /// The whole microseconds of a time, and the remaining parts.
    pub(in crate::features::ratelimit) fn split(&self, time: u128) -> (u64, u64) {
        let denominator = u128::from(self.denominator);
        (narrow(time / denominator), narrow(time % denominator))
    }

    /// The time that [`Gcra::split`] splits.
    pub(in crate::features::ratelimit) fn join(&self, whole: u64, parts: u64) -> u128 {
        u128::from(whole) * u128::from(self.denominator) + u128::from(parts)
    }

    /// The units that are available at a debt.
    pub(in crate::features::ratelimit) fn remaining(&self, debt: u128) -> u64 {
        narrow(self.time(self.capacity).saturating_sub(debt) / u128::from(self.numerator))
    }

    /// Microseconds until `units` are available at a debt, rounded up.
    pub(in crate::features::ratelimit) fn wait(&self, debt: u128, units: u64) -> u64 {
        self.microseconds((debt + self.time(units)).saturating_sub(self.time(self.capacity)))
    }

    /// A time in microseconds, rounded up.
    pub(in crate::features::ratelimit) fn microseconds(&self, time: u128) -> u64 {
        narrow(time.div_ceil(u128::from(self.denominator)))
    }
}

fn narrow(number: u128) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
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
        let debt = gcra.time(1) + gcra.time(1) + gcra.time(1);
        assert_eq!(gcra.split(debt), (1_000_000, 0));
        assert_eq!((gcra.remaining(debt), gcra.wait(debt, 1), gcra.microseconds(debt)), (0, 333_334, 1_000_000));
    }

    #[test]
    fn a_unit_may_be_shorter_than_a_microsecond() {
        let gcra = Gcra::new(1_000_000, 1_000_000, 1_000, "limit").expect("short");
        let debt = gcra.join(0, 1);
        assert_eq!(debt, gcra.time(1));
        assert_eq!(gcra.remaining(debt), 999_999);
    }

    #[test]
    fn a_capacity_that_takes_years_to_drain_is_rejected() {
        let invalid = Gcra::new(1_000_000_000, 1, 1_000_000, "capacity").expect_err("32 years");
        assert_eq!(invalid.field, "capacity");
    }
}
