//! `[erasure]`: how long it is remembered who was erased.

use serde::Deserialize;

use crate::config::value::Span;
use crate::config::{FieldError, Section};

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ErasureConfig {
    /// How long a tombstone is kept: longer than the oldest backup that may be restored.
    pub tombstone_life: Span,
}

impl Section for ErasureConfig {
    const NAME: &'static str = "erasure";

    fn validate(&self) -> Result<(), FieldError> {
        FieldError::reject_zero([("tombstone_life", self.tombstone_life.as_millis() == 0)])
    }
}
