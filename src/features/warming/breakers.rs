//! Leaves sources alone that keep failing.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A source that failed so often in a row is left alone for a while ...
const BREAKS_AFTER: u32 = 5;
/// ... so long.
const BREAK: Duration = Duration::from_secs(30);

/// The failures of each source. Each replica has its own: a source may fail for only one of them.
#[derive(Debug, Default)]
pub(super) struct Breakers(Mutex<HashMap<String, Breaker>>);

/// The failures of a source in a row.
#[derive(Clone, Copy, Debug, Default)]
struct Breaker {
    failures: u32,
    /// When it may be asked again.
    until: Duration,
}

impl Breakers {
    /// How long a source is left alone from `now`, the time since any fixed moment; `None` if it may be asked.
    pub(super) fn left(&self, source: &str, now: Duration) -> Option<Duration> {
        let until = self.all().get(source).map(|breaker| breaker.until)?;
        until.checked_sub(now).filter(|left| !left.is_zero())
    }

    /// Notes whether a source has answered.
    pub(super) fn note(&self, source: &str, has_answered: bool, now: Duration) {
        let mut breakers = self.all();
        let breaker = breakers.entry(source.to_owned()).or_default();
        if has_answered {
            *breaker = Breaker::default();
            return;
        }
        breaker.failures += 1;
        if breaker.failures >= BREAKS_AFTER {
            // After the break one failure is enough to begin the next one.
            breaker.until = now + BREAK;
        }
    }

    fn all(&self) -> MutexGuard<'_, HashMap<String, Breaker>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_left_alone_until_one_attempt_succeeds() {
        let (breakers, second) = (Breakers::default(), Duration::from_secs(1));
        for _ in 0..4 {
            breakers.note("a", false, second);
        }
        assert_eq!(breakers.left("a", second), None);
        breakers.note("a", false, second);
        assert_eq!((breakers.left("a", second), breakers.left("b", second)), (Some(BREAK), None));
        assert_eq!(breakers.left("a", second + BREAK), None);
        breakers.note("a", false, second + BREAK);
        assert_eq!(breakers.left("a", second + BREAK), Some(BREAK));
        breakers.note("a", true, second + BREAK);
        breakers.note("a", false, second + BREAK);
        assert_eq!(breakers.left("a", second + BREAK), None);
    }
}
