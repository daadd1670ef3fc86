//! Finds violations of a limit from bounds on the times of its decisions.
//!
//! A violation is reported only if it is one at every time within the bounds. Each call costs 1.

/// Bounds on the time of a decision on Redis's clock, Unix microseconds, both inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    pub earliest: u64,
    pub latest: u64,
}

impl Moment {
    pub fn overlaps(self, other: Self) -> bool {
        self.earliest <= other.latest && other.earliest <= self.latest
    }
}

/// The definition of a limit. Durations are in microseconds.
#[derive(Clone, Copy, Debug)]
pub enum Rate {
    /// At most `limit` in every interval of `window`, which includes its start and excludes its end.
    Sliding { limit: u64, window: u64 },
    /// At most `limit` in each `window`, aligned to 1970.
    Fixed { limit: u64, window: u64 },
    /// Each call adds a debt of `interval`, and the debt is at most `burst` intervals.
    Flow { burst: u64, interval: u64 },
}

impl Rate {
    /// The rate with a limit that is `by` higher.
    pub fn off_by(self, by: i64) -> Self {
        let changed = |limit: u64| limit.checked_add_signed(by).expect("a limit");
        match self {
            Self::Sliding { limit, window } => Self::Sliding { limit: changed(limit), window },
            Self::Fixed { limit, window } => Self::Fixed { limit: changed(limit), window },
            Self::Flow { burst, interval } => Self::Flow { burst: changed(burst), interval },
        }
    }

    /// The `admitted` calls, in Redis's order, that exceeded the limit after the calls before them.
    pub fn surplus(self, admitted: &[Moment]) -> Vec<Moment> {
        let mut free = 0;
        let mut did_not_fit = |nth: usize, call: &Moment| match self {
            Self::Sliding { limit, window } => {
                let surely_inside = |other: &&Moment| call.latest < other.earliest + window;
                count(admitted[..=nth].iter().filter(surely_inside)) > limit
            }
            Self::Fixed { limit, window } => {
                let number = call.earliest / window;
                let surely_inside =
                    |other: &&Moment| other.earliest / window == number && other.latest / window == number;
                surely_inside(&call) && count(admitted[..=nth].iter().filter(surely_inside)) > limit
            }
            Self::Flow { burst, interval } => {
                free = call.earliest.max(free) + interval;
                free > call.latest + burst * interval
            }
        };
        let numbered = admitted.iter().enumerate();
        numbered.filter(|(nth, call)| did_not_fit(*nth, call)).map(|(_, call)| *call).collect()
    }

    /// The `refused` calls that would have fit after all calls that may have been admitted.
    pub fn wrongly_refused(self, refused: &[Moment], possibly_admitted: &[Moment]) -> Vec<Moment> {
        let fitted = |call: &&Moment| {
            let before = possibly_admitted.iter().filter(|other| other.earliest <= call.latest);
            match self {
                Self::Sliding { limit, window } => {
                    count(before.filter(|other| other.latest + window > call.earliest)) < limit
                }
                Self::Fixed { limit, window } => (call.earliest / window..=call.latest / window).all(|number| {
                    let windows = |other: &Moment| other.earliest / window..=other.latest / window;
                    count(before.clone().filter(|other| windows(other).contains(&number))) < limit
                }),
                Self::Flow { burst, interval } => {
                    let mut latest: Vec<u64> = before.map(|other| other.latest.min(call.latest)).collect();
                    latest.sort_unstable();
                    let free = latest.into_iter().fold(0, |free, moment| moment.max(free) + interval);
                    free + interval <= call.earliest + burst * interval
                }
            }
        };
        refused.iter().filter(fitted).copied().collect()
    }
}

fn count<'a>(calls: impl Iterator<Item = &'a Moment>) -> u64 {
    u64::try_from(calls.count()).expect("few calls")
}

#[test]
fn a_violation_is_reported_only_if_it_is_certain() {
    let at = |earliest, latest| Moment { earliest, latest };
    let sliding = Rate::Sliding { limit: 2, window: 100 };
    assert_eq!(sliding.surplus(&[at(0, 0), at(1, 1), at(99, 99)]), [at(99, 99)]);
    assert_eq!(sliding.surplus(&[at(0, 0), at(1, 1), at(100, 100)]), []);
    assert_eq!(sliding.surplus(&[at(0, 0), at(1, 1), at(99, 100)]), []);
    let admitted = [at(0, 0), at(1, 1)];
    assert_eq!(sliding.wrongly_refused(&[at(99, 99), at(100, 100)], &admitted), [at(100, 100)]);
    assert_eq!(sliding.wrongly_refused(&[at(99, 100)], &admitted), []);
    let fixed = Rate::Fixed { limit: 1, window: 100 };
    assert_eq!(fixed.surplus(&[at(98, 98), at(99, 99), at(100, 100)]), [at(99, 99)]);
    assert_eq!(fixed.surplus(&[at(98, 98), at(99, 100)]), []);
    assert_eq!(fixed.wrongly_refused(&[at(99, 99), at(100, 100)], &[at(98, 98)]), [at(100, 100)]);
    assert_eq!(fixed.wrongly_refused(&[at(100, 100)], &[at(99, 100)]), []);
    let flow = Rate::Flow { burst: 2, interval: 50 };
    assert_eq!(flow.surplus(&[at(0, 0), at(0, 0), at(49, 49)]), [at(49, 49)]);
    assert_eq!(flow.surplus(&[at(0, 0), at(0, 0), at(50, 50)]), []);
    assert_eq!(flow.wrongly_refused(&[at(49, 49), at(50, 50)], &[at(0, 0), at(0, 0)]), [at(50, 50)]);
    assert_eq!(flow.wrongly_refused(&[at(50, 50)], &[at(0, 1), at(0, 1)]), []);
}
