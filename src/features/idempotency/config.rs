//! `[idempotency]`.

use serde::Deserialize;

use crate::config::value::{ByteSize, Span};
use crate::config::{FieldError, Section};

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct IdempotencyConfig {
    /// How long an answer is kept for repeats.
    pub retention: Span,
    /// How long a key stays taken by an attempt that is not heard of any more.
    pub pending_lease: Span,
    /// The largest answer that is kept.
    pub max_answer: ByteSize,
}

/// The lease is renewed in thirds; one that is shorter would be lost in a busy moment.
const MIN_LEASE: Span = Span::from_millis(1_000);

impl Section for IdempotencyConfig {
    const NAME: &'static str = "idempotency";

    fn validate(&self) -> Result<(), FieldError> {
        if self.pending_lease < MIN_LEASE {
            return Err(FieldError::new("pending_lease", format!("must be at least {MIN_LEASE}")));
        }
        if self.retention < self.pending_lease {
            return Err(FieldError::new("retention", "must not be shorter than pending_lease"));
        }
        Ok(())
    }
}
