//! The two storage backends of documents, behind one read.
//!
//! Paths, changes, conditions and limits are implemented above this module and are the same for both backends. Here a
//! document is read whole, and written whole by compare-and-swap:
//!
//! - native: a string with the document's text;
//! - module: a `RedisJSON` value, so that other programs read and index it with the module's own commands. The module
//!   rounds numbers to 64 bits and formats them its own way. If that changes the text, the service also stores the text
//!   as written, with a hash of what the module returns; it counts as long as the module returns exactly that.

mod native;

use super::keys::KeySet;
use super::scripts::Read;
use super::stored::ReadReply;
use crate::http::idempotent_operation::OperationId;
use crate::redis::{Backend, Redis, RedisFault, StoredKind};

pub(super) static DOCUMENTS: StoredKind =
    StoredKind { feature: "json", things: "documents", module: "RedisJSON", command: "JSON.SET", task: "json.backend" };

/// Reads a document, and the stored answer of `operation` if one is given, in one round trip.
///
/// # Errors
/// [`RedisFault`]; its kind is `WrongType` if the key does not hold a document of this backend.
pub(super) async fn read(
    backend: Backend,
    redis: &Redis,
    keys: &KeySet,
    operation: Option<&OperationId>,
) -> Result<ReadReply, RedisFault> {
    match backend {
        Backend::Native => native::read(redis, keys, operation).await,
        Backend::Module => redis.call(&Read { keys, answer_key: &keys.answer(operation) }).await,
    }
}
