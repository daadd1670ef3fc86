//! Samples that a series refuses.

/// Why a sample was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RefusalReason {
    /// It is older than the retention, counted back from the newest sample.
    TooOld,
    /// The series has another value at this timestamp, and the policy is `block`.
    Duplicate,
    /// The policy is `sum`, and the sum of both values is not a finite number.
    SumOutOfRange,
}

/// A refused sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RefusedSample {
    /// Its position in the batch, from 0.
    pub at: usize,
    pub reason: RefusalReason,
}
