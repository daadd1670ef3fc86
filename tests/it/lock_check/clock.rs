//! One monotonic clock for all processes of the load, microseconds since the machine started.

use rustix::time::{ClockId, Timespec, clock_gettime};

pub fn now() -> u64 {
    micros(clock_gettime(ClockId::Monotonic))
}

/// A moment of the day, Unix milliseconds, on the monotonic clock.
pub fn moment(unix_ms: i64) -> u64 {
    // In this order: a process that is paused in between takes the moment for earlier than it is, never for later.
    let here = now();
    let time_of_day = micros(clock_gettime(ClockId::Realtime));
    let then = u64::try_from(unix_ms).expect("a moment after 1970") * 1_000;
    (here + then).saturating_sub(time_of_day)
}

fn micros(time: Timespec) -> u64 {
    let part = |number: i64| u64::try_from(number).expect("a time after the epoch");
    part(time.tv_sec) * 1_000_000 + part(time.tv_nsec) / 1_000
}
