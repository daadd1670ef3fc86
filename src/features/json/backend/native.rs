//! Documents as strings.

use bytes::Bytes;
use redis::{Cmd, Pipeline, Value};

use super::Found;
use crate::features::json::keys::Place;
use crate::features::json::stored::Stored;
use crate::http::idempotent_operation::OperationId;
use crate::redis::{Effect, Key, Redis, RedisFault};

/// The version is read first: a write between the two then shows as a version that is too old, which no
/// compare-and-swap takes, and never as an old text under a new version.
pub(super) async fn read(redis: &Redis, place: &Place, operation: Option<&OperationId>) -> Result<Found, RedisFault> {
    let mut commands = Pipeline::with_capacity(4);
    commands.add_command(command("GET", &place.version));
    commands.add_command(command("GET", &place.document));
    commands.add_command(command("PTTL", &place.document));
    if operation.is_some() {
        commands.add_command(command("GET", &place.answer(operation)));
    }
    let mut answers = redis.query_together(&commands, Effect::Read).await?.into_iter();
    let stored = stored(&mut answers);
    Ok((stored, answers.next().and_then(text)))
}

/// What the first three answers say; an empty string is no document.
fn stored(answers: &mut impl Iterator<Item = Value>) -> Option<Stored> {
    let (version, document, ttl) = (answers.next()?, answers.next()?, answers.next()?);
    let document = text(document).filter(|text| !text.is_empty())?;
    let version = text(version).and_then(|digits| std::str::from_utf8(&digits).ok()?.parse().ok());
    let ttl = if let Value::Int(ttl) = ttl { u64::try_from(ttl).ok() } else { None };
    Some(Stored { text: Bytes::from(document), version: version.unwrap_or(0), ttl })
}

fn text(value: Value) -> Option<Vec<u8>> {
    if let Value::BulkString(text) = value { Some(text) } else { None }
}

fn command(name: &str, key: &Key) -> Cmd {
    let mut command = Cmd::with_capacity(2, name.len() + key.as_str().len());
    command.arg(name).arg(key.as_str());
    command
}
