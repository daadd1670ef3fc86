//! The state of one condition for one subject: a state machine that neither flickers nor repeats itself.

use super::readings::Range;
use crate::clock::UnixMillis;

/// How long conditions last, milliseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// Before an alert fires. A rise of a counter fires at once.
    pub hold: i64,
    /// Before an alert ends.
    pub clear: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Quiet,
    /// The condition began at `since`; `under_since` is when it was last over, if it is.
    Pending {
        since: UnixMillis,
        under_since: Option<UnixMillis>,
    },
    Firing {
        since: UnixMillis,
        under_since: Option<UnixMillis>,
    },
    /// Another replica has ended the alert: it fires again only after the condition was over.
    Ended,
}

/// The phases of a condition.
#[derive(Clone, Debug)]
pub(super) struct Episode {
    phase: Phase,
    /// Whether the alert is stored, so that this replica and the others know it.
    pub is_stored: bool,
    /// Whether the log already has the beginning of the alert.
    pub is_logged: bool,
}

impl Episode {
    pub(super) const fn quiet() -> Self {
        Self { phase: Phase::Quiet, is_stored: false, is_logged: false }
    }

    /// The episode of an alert that another process, or this one before a restart, has reported.
    pub(super) const fn reported(since: UnixMillis) -> Self {
        Self { phase: Phase::Firing { since, under_since: None }, is_stored: true, is_logged: true }
    }

    /// When the alert that fires began.
    pub(super) const fn firing_since(&self) -> Option<UnixMillis> {
        if let Phase::Firing { since, .. } = self.phase { Some(since) } else { None }
    }

    /// Notes that another replica has ended the alert.
    pub(super) const fn end_elsewhere(&mut self) {
        *self = Self { phase: Phase::Ended, is_stored: false, is_logged: false };
    }

    /// Whether the episode says nothing that must be remembered.
    pub(super) fn is_quiet(&self) -> bool {
        self.phase == Phase::Quiet && !self.is_stored
    }

    /// Takes in a value at `now`.
    pub(super) fn step(&mut self, range: Range, now: UnixMillis, times: Times) {
        let under = |before: Option<UnixMillis>| match range {
            Range::Over => None,
            Range::Between => before,
            Range::Under => before.or(Some(now)),
        };
        self.phase = match self.phase {
            Phase::Ended if range == Range::Over => Phase::Ended,
            Phase::Quiet | Phase::Ended => match range {
                Range::Over if times.hold == 0 => Phase::Firing { since: now, under_since: None },
                Range::Over => Phase::Pending { since: now, under_since: None },
                _ => Phase::Quiet,
            },
            Phase::Pending { since, under_since } => match under(under_since) {
                // A condition that comes and goes is one condition.
                Some(at) if now - at >= times.hold => Phase::Quiet,
                under_since if range == Range::Over && now - since >= times.hold => {
                    Phase::Firing { since, under_since }
                }
                under_since => Phase::Pending { since, under_since },
            },
            Phase::Firing { since, under_since } => match under(under_since) {
                Some(at) if now - at >= times.clear => Phase::Quiet,
                under_since => Phase::Firing { since, under_since },
            },
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Range::{Between, Over, Under};

    const TIMES: Times = Times { hold: 10_000, clear: 30_000 };

    /// How often an alert begins when these values come every five seconds, and whether it fires at the end.
    fn alerts(values: impl IntoIterator<Item = Range>) -> (usize, bool) {
        let (mut episode, mut begun) = (Episode::quiet(), 0);
        for (nth, range) in (0..).zip(values) {
            let before = episode.firing_since();
            episode.step(range, nth * 5_000, TIMES);
            begun += usize::from(before.is_none() && episode.firing_since().is_some());
        }
        (begun, episode.firing_since().is_some())
    }

    #[test]
    fn a_condition_fires_after_its_time_and_ends_after_it_was_over() {
        assert_eq!(alerts([Over, Over]), (0, false));
        assert_eq!(alerts([Over, Over, Over]), (1, true));
        assert_eq!(alerts([[Over; 3], [Under; 3]].concat()), (1, true));
        assert_eq!(alerts([vec![Over; 3], vec![Under; 7]].concat()), (1, false));
        assert_eq!(alerts([vec![Over; 3], vec![Between; 100]].concat()), (1, true));
    }

    #[test]
    fn a_condition_that_toggles_for_ten_minutes_is_one_episode() {
        assert_eq!(alerts((0..120).map(|nth| if nth % 2 == 0 { Over } else { Under })), (1, true));
    }

    #[test]
    fn an_alert_that_another_replica_ended_begins_only_after_the_condition_was_over() {
        let mut episode = Episode::reported(0);
        episode.end_elsewhere();
        for at in 0..10 {
            episode.step(Over, at * 5_000, TIMES);
            assert_eq!(episode.firing_since(), None);
        }
        for (at, range) in [(60_000, Under), (65_000, Over), (75_000, Over)] {
            episode.step(range, at, TIMES);
        }
        assert_eq!(episode.firing_since(), Some(65_000));
    }
}
