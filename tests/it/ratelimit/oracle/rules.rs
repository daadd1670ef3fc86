//! The limiters under load, for the configuration and for the oracle.

use std::time::Duration;

use super::rates::Rate;

/// Calls that each limiter admits in a second.
pub const PER_SECOND: u32 = 40;

#[derive(Clone, Debug)]
pub struct Rule {
    pub name: &'static str,
    strategy: String,
    pub rate: Rate,
    takes_reservations: bool,
}

impl Rule {
    /// One limiter of each strategy that admits a rate, with limits for this window.
    pub fn all(window: Duration) -> [Self; 4] {
        let length = u64::try_from(window.as_micros()).expect("short");
        let interval = 1_000_000 / u64::from(PER_SECOND);
        let limit = length / interval;
        let written = format!("\"{}ms\"", window.as_millis());
        let rule = |name, strategy, rate| Self { name, strategy, rate, takes_reservations: false };
        [
            rule(
                "sliding",
                format!("kind = \"sliding_window\", limit = {limit}, window = {written}"),
                Rate::Sliding { limit, window: length },
            ),
            rule(
                "fixed",
                format!("kind = \"fixed_window\", limit = {limit}, window = {written}"),
                Rate::Fixed { limit, window: length },
            ),
            rule(
                "gcra",
                format!("kind = \"gcra\", limit = {limit}, period = {written}"),
                Rate::Flow { burst: limit, interval },
            ),
            rule(
                "bucket",
                format!("kind = \"token_bucket\", capacity = {limit}, refill_per_second = {PER_SECOND}"),
                Rate::Flow { burst: limit, interval },
            ),
        ]
    }

    /// Makes the limiter take reservations, so that processes never refuse its keys from memory.
    pub fn decided_by_redis(self) -> Self {
        Self { takes_reservations: true, ..self }
    }

    /// A limiter of the configuration.
    pub fn limiter(&self) -> String {
        let reservations = if self.takes_reservations { ", reservations = \"1s\"" } else { "" };
        format!(
            "{{ name = \"{0}\", key = \"{1}{{key}}\", strategy = {{ {2} }}, without_redis = \"closed\"{reservations} }}",
            self.name,
            self.prefix(),
            self.strategy
        )
    }

    /// The prefix of its keys.
    pub fn prefix(&self) -> String {
        format!("rate_limit:{}:", self.name)
    }
}
