//! Errors of a configuration.

use std::borrow::Cow;

use super::value::Span;

/// The shortest time between two runs of work in the background: a shorter one keeps a core and Redis busy.
const MIN_INTERVAL: Span = Span::from_millis(10);

/// A rule of a section that its values violate.
#[derive(Debug, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct FieldError {
    pub(super) field: Cow<'static, str>,
    pub(super) reason: String,
}

impl FieldError {
    /// `field` is relative to its section, such as `port` or `keys[2].id`.
    pub fn new(field: impl Into<Cow<'static, str>>, reason: impl Into<String>) -> Self {
        Self { field: field.into(), reason: reason.into() }
    }

    /// Rejects the first field that is 0; each field comes with whether it is.
    ///
    /// # Errors
    /// That the field must be greater than 0.
    pub fn reject_zero<const N: usize>(fields: [(&'static str, bool); N]) -> Result<(), Self> {
        let zero = fields.into_iter().find(|(_, is_zero)| *is_zero);
        zero.map_or(Ok(()), |(field, _)| Err(Self::new(field, "must be greater than 0")))
    }

    /// Rejects the first interval of work in the background that is too short.
    ///
    /// # Errors
    /// That the field must be at least 10 ms.
    pub fn reject_short<const N: usize>(intervals: [(&'static str, Span); N]) -> Result<(), Self> {
        let short = intervals.into_iter().find(|(_, interval)| *interval < MIN_INTERVAL);
        let rule = |got| format!("must be at least {MIN_INTERVAL}, got {got}");
        short.map_or(Ok(()), |(field, got)| Err(Self::new(field, rule(got))))
    }
}

/// Why the service cannot start with this configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("{file} cannot be read: {reason}")]
    Unreadable { file: String, reason: String },
    #[error("{file} is not valid TOML: {reason}")]
    Syntax { file: String, reason: String },
    #[error("`{field}` (from {origin}): {reason}")]
    Field { origin: String, field: String, reason: String },
    #[error("{name} {rule}")]
    Variable { name: String, rule: String },
}

impl ConfigError {
    /// An environment variable that violates a rule; `rule` starts with a verb.
    pub(super) fn variable(name: &str, rule: &str) -> Self {
        Self::Variable { name: name.to_owned(), rule: rule.to_owned() }
    }
}
