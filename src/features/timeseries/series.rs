//! The parts of a series: its key, its samples, its definition.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::clock::UnixMillis;
use crate::http::portable_json::UniqueNames;

/// The newest timestamp. Scripts compare timestamps as Lua numbers, which are exact up to here.
pub(super) use crate::clock::MAX_TIMESTAMP;

/// The longest retention, milliseconds: 100 years.
pub(super) const MAX_RETENTION_MS: u64 = 100 * 31_557_600_000;

/// The longest key, bytes.
pub(super) const MAX_KEY_BYTES: usize = 512;

/// Keys that would collide with the routes beside `/timeseries/{key}`.
const RESERVED: &[&str] = &["samples", "query"];

/// The name of a series: 1 to 512 bytes of UTF-8 without control characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(try_from = "String")]
pub(super) struct SeriesKey(Arc<str>);

impl SeriesKey {
    /// # Errors
    /// The rule that `text` violates.
    pub(super) fn new(text: &str) -> Result<Self, &'static str> {
        if text.is_empty() {
            return Err("must not be empty");
        }
        if text.len() > MAX_KEY_BYTES {
            return Err("must not be longer than 512 bytes");
        }
        if text.chars().any(char::is_control) {
            return Err("must not contain control characters");
        }
        if RESERVED.contains(&text) {
            return Err("is reserved: `samples` and `query` are names of routes");
        }
        Ok(Self(text.into()))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for SeriesKey {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::new(&text)
    }
}

impl Borrow<str> for SeriesKey {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SeriesKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One measurement.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sample {
    /// Unix milliseconds, 0 to [`MAX_TIMESTAMP`].
    pub timestamp: UnixMillis,
    /// Finite.
    pub value: f64,
}

/// What happens to a sample whose timestamp already exists in the series.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = SeriesDuplicatePolicy)]
pub(super) enum DuplicatePolicy {
    /// A different value is refused.
    Block,
    /// The existing value is kept.
    First,
    /// The new value replaces the existing one, so a batch can be sent again.
    #[default]
    Last,
    /// The smaller value is kept.
    Min,
    /// The larger value is kept.
    Max,
    /// The values are added. This is the only policy under which a batch must not be sent again.
    Sum,
}

impl DuplicatePolicy {
    const ALL: [Self; 6] = [Self::Block, Self::First, Self::Last, Self::Min, Self::Max, Self::Sum];

    /// The name in requests, answers, scripts and Redis.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Block => "block",
            Self::First => "first",
            Self::Last => "last",
            Self::Min => "min",
            Self::Max => "max",
            Self::Sum => "sum",
        }
    }

    pub(super) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|policy| policy.name() == name)
    }
}

/// Names and values by which a series can be found, sorted by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "UniqueNames<String>")]
pub(super) struct Labels(BTreeMap<String, String>);

impl Labels {
    pub(super) const MAX_COUNT: usize = 32;
    pub(super) const MAX_NAME: usize = 64;
    pub(super) const MAX_VALUE: usize = 256;
    /// The pattern in the OpenAPI document, and the rule that [`valid_label_name`] checks.
    pub(super) const NAME_PATTERN: &str = "^[A-Za-z_][A-Za-z0-9_.-]*$";
    /// The pattern in the OpenAPI document, and the rule that [`valid_label_value`] checks.
    pub(super) const VALUE_PATTERN: &str = "^[^(),\\x00-\\x1F\\x7F-\\x9F]+$";

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Returns a copy with one more label, or `None` if that violates a rule.
    pub(super) fn with(&self, name: &str, value: &str) -> Option<Self> {
        let mut labels = self.0.clone();
        labels.insert(name.to_owned(), value.to_owned());
        Self::try_from(labels).ok()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl TryFrom<UniqueNames<String>> for Labels {
    type Error = String;

    fn try_from(UniqueNames(labels): UniqueNames<String>) -> Result<Self, String> {
        Self::try_from(labels)
    }
}

impl TryFrom<BTreeMap<String, String>> for Labels {
    type Error = String;

    fn try_from(labels: BTreeMap<String, String>) -> Result<Self, String> {
        if labels.len() > Self::MAX_COUNT {
            return Err(format!("must have at most {} labels, got {}", Self::MAX_COUNT, labels.len()));
        }
        for (name, value) in &labels {
            if !valid_label_name(name) {
                return Err(format!(
                    "the label name `{name}` must match {} and have at most {} characters",
                    Self::NAME_PATTERN,
                    Self::MAX_NAME
                ));
            }
            if !valid_label_value(value) {
                return Err(format!(
                    "the value of `{name}` must have 1 to {} characters without parentheses, commas and control characters",
                    Self::MAX_VALUE
                ));
            }
        }
        Ok(Self(labels))
    }
}

pub(super) fn valid_label_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    name.len() <= Labels::MAX_NAME
        && bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
}

/// Parentheses and commas are excluded, since filters use them.
pub(super) fn valid_label_value(value: &str) -> bool {
    let plain = |character: char| !character.is_control() && !matches!(character, '(' | ')' | ',');
    (1..=Labels::MAX_VALUE).contains(&value.chars().count()) && value.chars().all(plain)
}

/// The definition of a series.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Definition {
    /// Milliseconds before the newest sample, or before the clock if that is earlier, for which samples are visible, both
    /// ends included; 0 keeps all.
    pub retention_ms: u64,
    pub duplicate_policy: DuplicatePolicy,
    pub labels: Labels,
}

/// The definition of a series and the size of its stored samples.
#[derive(Clone, Debug)]
pub(super) struct Description {
    pub definition: Definition,
    pub created: UnixMillis,
    /// Samples within retention.
    pub count: u64,
    pub chunks: u64,
    /// The size of samples and chunks, without the overhead of Redis.
    pub bytes: u64,
    /// The oldest and the newest timestamp within retention; `None` for a series without samples.
    pub ends: Option<(UnixMillis, UnixMillis)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_short_and_printable_and_do_not_collide_with_routes() {
        for good in ["a", "energy:consumption:MTR-001", "é ü/%{}", &"x".repeat(512)] {
            assert!(SeriesKey::new(good).is_ok(), "{good}");
        }
        for bad in ["", "a\nb", "a\0", "\u{7f}", "\u{85}", "samples", "query", &"x".repeat(513), &"é".repeat(257)] {
            assert!(SeriesKey::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn labels_are_bounded() {
        let one = |name: &str, value: &str| Labels::try_from(BTreeMap::from([(name.to_owned(), value.to_owned())]));
        assert!(one("zone", "กรุงเทพ").is_ok());
        for name in ["", "1st", "a b", "é", &"x".repeat(65)] {
            assert!(one(name, "1").is_err(), "{name}");
        }
        for value in ["", "(a)", "a,b", "a\n", "a\0", &"x".repeat(257)] {
            assert!(one("zone", value).is_err(), "{value}");
        }
        let many = (0..33).map(|n| (format!("l{n}"), n.to_string())).collect::<BTreeMap<_, _>>();
        assert!(Labels::try_from(many).is_err());
    }

    #[test]
    fn policies_have_one_name() {
        for policy in DuplicatePolicy::ALL {
            assert_eq!(DuplicatePolicy::from_name(policy.name()), Some(policy));
            assert_eq!(serde_json::to_value(policy).ok(), Some(policy.name().into()));
        }
    }
}
