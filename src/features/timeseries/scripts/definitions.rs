//! Calls that create, change, describe and delete series.

use redis::Value;

use super::super::keys::SeriesKeys;
use super::super::model::Alteration;
use super::super::series::{Definition, Description, DuplicatePolicy};
use super::{ALTER, CREATE, DELETE, DESCRIBE, MIN_LIFE_MS, NO_SERIES, labels_json, with_definition};
use crate::redis::{BadReply, Fence, ScriptCall, flag};

/// Creates a series. Returns whether it is new, or `None` if it exists with another definition.
pub fn create(
    keys: &SeriesKeys,
    definition: &Definition,
    now: &str,
    fence: Option<&Fence>,
) -> ScriptCall<i64, Option<bool>> {
    with_definition(CREATE.guarded_write(fence, &keys.all()), definition)
        .arg(MIN_LIFE_MS)
        .arg(now)
        .arg(keys.layout.name())
        .returns(|raw| match raw {
            0 => Ok(None),
            1 => Ok(Some(true)),
            2 => Ok(Some(false)),
            other => Err(BadReply::new(other)),
        })
}

/// Changes parts of the definition of a series. Returns whether the series exists.
pub fn alter(keys: &SeriesKeys, change: &Alteration, now: &str, fence: Option<&Fence>) -> ScriptCall<i64, bool> {
    let Alteration { retention_ms, duplicate_policy, labels } = change;
    ALTER
        .guarded_write(fence, &keys.all())
        .arg(retention_ms.map(|retention| retention.0.to_string()).unwrap_or_default())
        .arg(duplicate_policy.map(DuplicatePolicy::name).unwrap_or_default())
        .arg(labels.as_ref().map(labels_json).unwrap_or_default())
        .arg(MIN_LIFE_MS)
        .arg(keys.layout.name())
        .arg(now)
        .returns(flag)
}

/// Deletes a series. Returns whether it existed.
pub fn delete(keys: &SeriesKeys, fence: Option<&Fence>) -> ScriptCall<i64, bool> {
    DELETE.guarded_write(fence, &keys.all()).arg(keys.layout.name()).returns(flag)
}

/// Describes a series; `None` if it does not exist. The bytes are the packed chunk of which a part has expired: all of its
/// samples are counted, and `ends` begins with the oldest timestamp within retention. They are empty if there is no such
/// chunk.
pub fn describe(keys: &SeriesKeys, now: &str) -> ScriptCall<Vec<Value>, Option<(Description, Vec<u8>)>> {
    DESCRIBE.read(&[&keys.hash, &keys.head, &keys.chunks]).arg(keys.layout.name()).arg(now).returns(decode_description)
}

fn decode_description(raw: Vec<Value>) -> Result<Option<(Description, Vec<u8>)>, BadReply> {
    use Value::{BulkString, Int};

    let [
        Int(retention_ms),
        BulkString(policy),
        BulkString(labels),
        Int(created),
        Int(count),
        Int(chunks),
        Int(bytes),
        ends @ ..,
    ] = raw.as_slice()
    else {
        return if raw == [Int(NO_SERIES)] { Ok(None) } else { Err(BadReply::new(raw)) };
    };
    let (ends, partly_expired) = match ends {
        [] => (None, Vec::new()),
        [Int(first), Int(last), BulkString(chunk)] => (Some((*first, *last)), chunk.clone()),
        other => return Err(BadReply::new(other)),
    };
    let definition = decode_definition(*retention_ms, policy, labels)?;
    let (count, chunks, bytes) = (count.unsigned_abs(), chunks.unsigned_abs(), bytes.unsigned_abs());
    Ok(Some((Description { definition, created: *created, count, chunks, bytes, ends }, partly_expired)))
}

/// Decodes the fields of a series' hash that are its definition.
///
/// # Errors
/// [`BadReply`] if the policy or the labels are not valid.
pub fn decode_definition(retention_ms: i64, policy: &[u8], labels: &[u8]) -> Result<Definition, BadReply> {
    let policy = String::from_utf8_lossy(policy);
    let duplicate_policy = DuplicatePolicy::from_name(&policy).ok_or_else(|| BadReply::new(policy))?;
    let labels = serde_json::from_slice(labels).map_err(BadReply::new)?;
    Ok(Definition { retention_ms: retention_ms.unsigned_abs(), duplicate_policy, labels })
}
