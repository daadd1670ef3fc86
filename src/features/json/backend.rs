//! The two storage backends of documents, behind one read.
//!
//! Paths, changes, conditions and limits are implemented above this module and are the same for both backends. Here a
//! document is read whole, and written whole by compare-and-swap:
//!
//! - native: a string with the document's text;
//! - module: a `RedisJSON` value, so that other programs read and index it with the module's own commands. The module
//!   rounds numbers to 64 bits and formats them its own way. If that changes the text, the service also stores the text
//!   as written, with a hash of what the module returns; it counts as long as the module returns exactly that.

use bytes::Bytes;
use redis::{Cmd, Pipeline, Value};

use super::keys::KeySet;
use super::scripts;
use super::stored::{ReadReply, StoredDocument};
use crate::http::idempotent_operation::OperationId;
use crate::redis::{Backend, Effect, Key, Redis, RedisFault, StoredKind};

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
    if backend == Backend::Module {
        return redis.call(scripts::read(keys, operation)).await;
    }
    // The version comes before the text. A write between the two makes the version too old, which no compare-and-swap
    // accepts; an old text never appears under a new version.
    let mut commands = Pipeline::with_capacity(4);
    commands.add_command(command("GET", &keys.version));
    commands.add_command(command("GET", &keys.document));
    commands.add_command(command("PTTL", &keys.document));
    if operation.is_some() {
        commands.add_command(command("GET", &keys.answer(operation)));
    }
    let mut replies = redis.query_together(&commands, Effect::Read).await?.into_iter();
    let document = stored(&mut replies);
    Ok(ReadReply { document, answer: replies.next().and_then(text) })
}

/// The document that the first three replies describe. An empty string is not a document.
fn stored(replies: &mut impl Iterator<Item = Value>) -> Option<StoredDocument> {
    let (version, document, ttl) = (replies.next()?, replies.next()?, replies.next()?);
    let document = text(document).filter(|text| !text.is_empty())?;
    let version = text(version).and_then(|digits| std::str::from_utf8(&digits).ok()?.parse().ok());
    let ttl = if let Value::Int(ttl) = ttl { u64::try_from(ttl).ok() } else { None };
    Some(StoredDocument { text: Bytes::from(document), version: version.unwrap_or(0), ttl })
}

fn text(value: Value) -> Option<Vec<u8>> {
    if let Value::BulkString(text) = value { Some(text) } else { None }
}

fn command(name: &str, key: &Key) -> Cmd {
    let mut command = Cmd::with_capacity(2, name.len() + key.as_str().len());
    command.arg(name).arg(key.as_str());
    command
}
