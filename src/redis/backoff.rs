//! The delay before a retry that several clients may make at the same time.

use std::time::Duration;

use crate::random;

/// Exponential back-off with full jitter: a random time between zero and a bound that doubles.
///
/// Source: Marc Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    bound: Duration,
}

impl Backoff {
    pub fn new(min: Duration, max: Duration) -> Self {
        Self { min, max, bound: min }
    }

    pub fn reset(&mut self) {
        self.bound = self.min;
    }

    /// The next delay.
    pub fn pause(&mut self) -> Duration {
        let bound = self.bound;
        self.bound = (bound * 2).min(self.max);
        bound.mul_f64(random::fraction())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_stay_below_a_bound_that_doubles_up_to_its_maximum() {
        let mut backoff = Backoff::new(Duration::from_millis(10), Duration::from_millis(35));
        for bound in [10, 20, 35, 35, 35] {
            assert!(backoff.pause() < Duration::from_millis(bound));
        }
        backoff.reset();
        assert!(backoff.pause() < Duration::from_millis(10));
    }
}
