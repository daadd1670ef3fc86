//! The keys of the records.

use axum::http::Method;
use sha2::{Digest, Sha256};

use super::fingerprint::framed;
use crate::http::idempotent_operation::OperationId;
use crate::redis::{Key, KeySpace};

/// Identifies the operation that a caller means by `key` on a route: 32 hexadecimal digits.
///
/// Half of a SHA-256, so no caller can choose a key that collides with another caller's record.
pub(super) fn operation(principal: &str, method: &Method, path: &str, key: &str) -> OperationId {
    let parts = [principal, method.as_str(), path, key];
    let hash = parts.iter().fold(Sha256::new(), |hash, part| framed(hash, part.as_bytes()));
    let half = hash.finalize().iter().take(16).fold(0_u128, |number, byte| number << 8 | u128::from(*byte));
    OperationId::new(&format!("{half:032x}"))
}

/// `idempotency:<operation>` - hash, see `claim.lua`. Expires after the claim or the retention; deleted by release.
pub(super) fn record(space: &KeySpace, operation: &OperationId) -> Key {
    space.key(format_args!("idempotency:{}", operation.as_str()))
}
