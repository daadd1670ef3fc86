//! One log line for a failure of many requests, instead of one for each.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// During an episode, a line follows at most this often.
const INTERVAL: Duration = Duration::from_secs(10);

static EPISODES: Episodes = Episodes(Mutex::new(BTreeMap::new()));

/// Counts a failure. Returns the number of failures of this kind since its last line if it is time for a line: at the
/// beginning of an episode, and at most every ten seconds after that.
///
/// Only for lines that a single client can cause with every request. Failures that each need attention, such as an
/// internal error, have a line of their own.
pub fn next(kind: &'static str) -> Option<u64> {
    EPISODES.next(kind, Instant::now())
}

/// The last line about each kind of failure, and the failures since.
#[derive(Debug)]
struct Episodes(Mutex<BTreeMap<&'static str, (Instant, u64)>>);

impl Episodes {
    fn next(&self, kind: &'static str, now: Instant) -> Option<u64> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match last.get_mut(kind) {
            Some((at, repeated)) if now.saturating_duration_since(*at) < INTERVAL => {
                *repeated += 1;
                None
            }
            Some(entry) => Some(std::mem::replace(entry, (now, 0)).1),
            None => {
                last.insert(kind, (now, 0));
                Some(0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_episode_has_a_line_at_its_beginning_and_then_every_ten_seconds() {
        let (episodes, start) = (Episodes(Mutex::default()), Instant::now());
        let at = |kind, seconds| episodes.next(kind, start + Duration::from_secs(seconds));
        assert_eq!((at("a", 0), at("a", 1), at("b", 2), at("a", 9)), (Some(0), None, Some(0), None));
        assert_eq!((at("a", 10), at("a", 11), at("b", 60), at("a", 20)), (Some(2), None, Some(0), Some(1)));
    }
}
