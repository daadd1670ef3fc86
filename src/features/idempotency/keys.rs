//! The keys of the records.

use axum::http::Method;
use sha2::{Digest, Sha256};

use super::fingerprint::framed;
use crate::http::auth::Principal;
use crate::http::idempotent_operation::OperationId;
use crate::redis::{Key, KeySpace};

/// Identifies the operation that a caller means by `key` on a route: 32 hexadecimal digits.
pub(super) fn operation(caller: &Principal, method: &Method, path: &str, key: &str) -> OperationId {
    let parts = [caller.id.as_str(), method.as_str(), path, key];
    OperationId::new(&digits(parts.into_iter().chain(organisation(caller))))
}

/// A user may act for several organisations. The id of an API key names only one.
fn organisation(caller: &Principal) -> Option<&str> {
    caller.organisation.as_deref().filter(|_| caller.subject().is_some())
}

/// Half of a SHA-256, so no caller can choose a key that collides with another caller's record.
fn digits<'a>(parts: impl Iterator<Item = &'a str>) -> String {
    let hash = parts.fold(Sha256::new(), |hash, part| framed(hash, part.as_bytes()));
    let half = hash.finalize().iter().take(16).fold(0_u128, |number, byte| number << 8 | u128::from(*byte));
    format!("{half:032x}")
}

/// `idempotency:<operation>` - hash, see `claim.lua`. Expires after the claim or the retention; deleted by release.
pub(super) fn record(space: &KeySpace, operation: &OperationId) -> Key {
    space.key(format_args!("idempotency:{}", operation.as_str()))
}

/// `idempotency:kept:<hash of a caller>` - integer, the bytes of longer response bodies that were recorded for the caller.
/// Expires a retention after the first of them.
pub(super) fn kept(space: &KeySpace, caller: &Principal) -> Key {
    let caller = digits([caller.id.as_str()].into_iter().chain(organisation(caller)));
    space.key(format_args!("idempotency:kept:{caller}"))
}
