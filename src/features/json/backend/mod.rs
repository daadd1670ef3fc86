//! Where documents are kept: the seam below which the two kinds of Redis differ.
//!
//! Paths, changes, conditions and limits are above it and the same for both. Below it, a document is read whole and
//! written whole by compare-and-swap:
//!
//! - native: one string, the document's text;
//! - module: a value of RedisJSON, so that other programs read and index it with the module's own commands. The module
//!   rounds numbers to 64 bits and writes them in its own way. Where that changes the text, the text as it was written is
//!   kept beside the value with a hash of what the module shows, and counts as long as the module shows just that.

mod native;

use super::keys::Place;
use super::scripts::Read;
use super::stored::Stored;
use crate::http::idempotent_operation::OperationId;
use crate::redis::{Backend, Redis, RedisFault, StoredKind};

pub(super) static DOCUMENTS: StoredKind =
    StoredKind { feature: "json", things: "documents", module: "RedisJSON", command: "JSON.SET", task: "json.backend" };

/// A document, and the answer that is kept for an operation.
pub(super) type Found = (Option<Stored>, Option<Vec<u8>>);

/// Reads a document in one round trip, with the answer of `operation` if there is one.
///
/// # Errors
/// [`RedisFault`]; its kind is `WrongType` for what is no document of this backend.
pub(super) async fn read(
    backend: Backend,
    redis: &Redis,
    place: &Place,
    operation: Option<&OperationId>,
) -> Result<Found, RedisFault> {
    match backend {
        Backend::Native => native::read(redis, place, operation).await,
        Backend::Module => redis.call(&Read { place, answer_key: &place.answer(operation) }).await,
    }
}
