//! The native storage backend: documents as strings.

use bytes::Bytes;
use redis::{Cmd, Pipeline, Value};

use crate::features::json::keys::KeySet;
use crate::features::json::stored::{ReadReply, StoredDocument};
use crate::http::idempotent_operation::OperationId;
use crate::redis::{Effect, Key, Redis, RedisFault};

/// Reads the version before the text. A write between the two then makes the version too old, which no compare-and-swap
/// accepts; an old text never appears under a new version.
pub(super) async fn read(
    redis: &Redis,
    keys: &KeySet,
    operation: Option<&OperationId>,
) -> Result<ReadReply, RedisFault> {
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
