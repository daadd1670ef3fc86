//! `[streams]`: what streams keep.

use serde::Deserialize;

use crate::config::value::{ByteSize, Span};
use crate::config::{FieldError, Section};

/// How long a stream is remembered beyond its events, so that readers that come back find its version.
const REMEMBERED: Span = Span::from_millis(30 * 86_400_000);

/// The most events of a stream: a script walks over those that it trims.
const MAX_EVENTS: usize = 10_000_000;

/// Which events may be trimmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Retain {
    /// Those that every group has acknowledged. A full stream takes no further events.
    Acked,
    /// The oldest.
    Newest,
}

impl Retain {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Acked => "acked",
            Self::Newest => "newest",
        }
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StreamsConfig {
    /// The most streams.
    pub max_streams: usize,
    /// The most events of a stream.
    pub max_events: usize,
    /// How long events are kept.
    pub max_age: Span,
    pub retain: Retain,
    /// The most bytes of the data of an event.
    pub event_limit: ByteSize,
    /// A group that is not used for this time is deleted.
    pub group_idle: Span,
}

impl StreamsConfig {
    /// How long a stream is kept after its last append.
    pub(super) fn life_ms(&self) -> u64 {
        self.max_age.as_millis() + REMEMBERED.as_millis()
    }
}

impl Section for StreamsConfig {
    const NAME: &'static str = "streams";

    fn validate(&self) -> Result<(), FieldError> {
        FieldError::reject_zero([
            ("max_streams", self.max_streams == 0),
            ("max_age", self.max_age.as_millis() == 0),
            ("event_limit", self.event_limit.bytes() == 0),
            ("group_idle", self.group_idle.as_millis() == 0),
        ])?;
        if !(super::model::MAX_APPEND..=MAX_EVENTS).contains(&self.max_events) {
            let rule = format!("must be between {} and {MAX_EVENTS}", super::model::MAX_APPEND);
            return Err(FieldError::new("max_events", rule));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn an_unsafe_setting_is_refused_by_name() {
        for (overrides, field) in [
            ("max_events = 99", "streams.max_events"),
            ("max_streams = 0", "streams.max_streams"),
            ("group_idle = \"0s\"", "streams.group_idle"),
            ("retain = \"all\"", "streams.retain"),
        ] {
            let config = Config::with_overrides(&format!("[streams]\n{overrides}")).expect("TOML");
            let error = config.section::<StreamsConfig>().expect_err(overrides).to_string();
            assert!(error.contains(field), "{overrides}: {error}");
        }
    }
}
