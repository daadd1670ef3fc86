//! Errors of a configuration.

use std::borrow::Cow;

/// A rule of a section that its values violate.
#[derive(Debug)]
pub struct FieldError {
    pub(super) field: Cow<'static, str>,
    pub(super) reason: String,
}

impl FieldError {
    /// `field` is relative to its section, such as `port` or `keys[2].id`.
    pub fn new(field: impl Into<Cow<'static, str>>, reason: impl Into<String>) -> Self {
        Self { field: field.into(), reason: reason.into() }
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
}
