//! `[idempotency]`.

use serde::Deserialize;

use crate::config::value::Span;
use crate::config::{FieldError, Section};

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct IdempotencyConfig {
    /// How long a response is kept for repetitions.
    pub retention: Span,
}

/// A client needs this long to notice that its first request failed.
const MIN_RETENTION: Span = Span::from_millis(1_000);

impl Section for IdempotencyConfig {
    const NAME: &'static str = "idempotency";

    fn validate(&self) -> Result<(), FieldError> {
        if self.retention < MIN_RETENTION {
            return Err(FieldError::new("retention", format!("must be at least {MIN_RETENTION}")));
        }
        Ok(())
    }
}

/// What `[ratelimit]` says about operations that can be decided without Redis. That feature checks the section.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct OpenOperations {
    pub open_timeout: Span,
}

impl Section for OpenOperations {
    const NAME: &'static str = "ratelimit";
}
