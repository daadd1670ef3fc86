//! `[idempotency]`.

use serde::Deserialize;

use crate::config::value::{ByteSize, Span};
use crate::config::{FieldError, Section};

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct IdempotencyConfig {
    /// How long a response is kept for repetitions.
    pub retention: Span,
    /// How long a key stays claimed by an attempt that no longer renews its claim.
    pub pending_lease: Span,
    /// The largest response body that is kept.
    pub max_answer: ByteSize,
}

/// The claim is renewed at thirds of its length; a busy process would lose a shorter one.
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
