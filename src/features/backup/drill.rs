//! Proves that a backup restores: writes it to an empty server, reads every value back, and compares.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use age::x25519::Identity;
use redis::{Cmd, Value, from_redis_value};
use tokio::sync::mpsc;
use xxhash_rust::xxh3::xxh3_64;

use super::collector::DIGESTED;
use super::digest::{self, Sum, ValueDigest, score};
use super::error::BackupError;
use super::job::blocking;
use super::model::{Drill, Manifest};
use super::record::Record;
use super::restore::{read_rounds, restore_command};
use super::verify::verify;
use crate::clock::Clock;
use crate::holdings::Owners;
use crate::random::hex;
use crate::redis::{Effect, Redis};

/// Keys that one round trip reads, and the bytes of their values after which it has no more of them.
const ROUND: usize = 200;
const ROUND_BYTES: usize = 8 << 20;

/// A value that was written.
struct Written {
    key: Vec<u8>,
    holding: &'static str,
    size: usize,
    digest: [u8; 32],
}

/// Restores a backup to the empty server `scratch`, without expiry, and compares every value with what is in the file, and
/// the sums of the values with the manifest.
///
/// # Errors
/// [`BackupError::Drill`], naming the first difference by the capability and a hash of the key.
pub async fn drill(
    scratch: &Redis,
    owners: Owners,
    file: &Path,
    identities: Vec<Identity>,
    shown: impl Fn(u64),
) -> Result<Drill, BackupError> {
    let started = Clock::System.elapsed();
    let manifest = verify(file, &identities, Arc::default()).await?;
    let owners = owners.with_prefix(&manifest.key_prefix);
    let (sender, mut rounds) = mpsc::channel::<Vec<Record>>(2);
    let file = file.to_owned();
    let reading = blocking(move || read_rounds(&file, &identities, 0, &sender));
    let compare = async move {
        let mut sums: BTreeMap<&'static str, Sum> = BTreeMap::new();
        let mut done = 0;
        while let Some(round) = rounds.recv().await {
            done += round.len() as u64;
            let written = write(scratch, &owners, &manifest, round).await?;
            for values in groups(&written) {
                check(scratch, values).await?;
            }
            for Written { holding, digest, .. } in &written {
                sums.entry(*holding).or_default().add(digest);
            }
            shown(done);
        }
        let total: u64 = scratch.query(&redis::cmd("DBSIZE"), Effect::Read).await?;
        if total != done {
            return Err(BackupError::Drill(format!("the server has {total} keys, and the backup {done}")));
        }
        for (name, holding) in &manifest.holdings {
            let found = sums.get(name.as_str()).map_or_else(|| Sum::default().hex(), Sum::hex);
            if found != holding.digest {
                return Err(BackupError::Drill(format!("{name}: the sum of the values is not that of the manifest")));
            }
        }
        Ok((manifest.id, done))
    };
    let (read, compared) = tokio::join!(reading, compare);
    let (id, keys) = compared?;
    read?;
    let duration = Clock::System.elapsed().saturating_sub(started);
    let duration_ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    Ok(Drill { id, passed: Clock::System.now(), keys, duration_ms })
}

/// Writes records. Returns those whose values can be compared.
async fn write(
    scratch: &Redis,
    owners: &Owners,
    manifest: &Manifest,
    round: Vec<Record>,
) -> Result<Vec<Written>, BackupError> {
    let mut written = Vec::new();
    let mut commands = Vec::new();
    for mut record in round {
        // Otherwise records would vanish during the drill.
        record.expires = None;
        commands.push(restore_command(&record, manifest.rdb_version, false));
        let holding = owners.holding(&record.key).map_or("other", |holding| holding.name);
        let digest = Some(&record.value).filter(|value| value.len() <= DIGESTED);
        if let Some(digest) = digest.and_then(|value| digest::of_stored(&record.key, value)) {
            written.push(Written { size: record.value.len(), key: record.key, holding, digest });
        }
    }
    for reply in scratch.query_all(&commands, Effect::Write).await? {
        reply.map_err(|fault| BackupError::Drill(format!("Redis does not accept a value: {}", fault.with_causes())))?;
    }
    Ok(written)
}

/// Cuts values into groups whose replies are not too large.
fn groups(written: &[Written]) -> impl Iterator<Item = &[Written]> {
    let mut rest = written;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = |value: &&Written| {
            let is_first = bytes == 0;
            bytes += value.size;
            is_first || bytes <= ROUND_BYTES
        };
        let count = rest.iter().take(ROUND).take_while(fits).count();
        let (group, after) = rest.split_at_checked(count).filter(|(group, _)| !group.is_empty())?;
        rest = after;
        Some(group)
    })
}

/// Reads values with the commands for their types, and compares their digests.
async fn check(scratch: &Redis, values: &[Written]) -> Result<(), BackupError> {
    let types: Vec<Cmd> = values.iter().map(|value| redis::cmd("TYPE").arg(&value.key).take()).collect();
    let mut reads = Vec::new();
    let mut kinds = Vec::new();
    for (value, kind) in values.iter().zip(scratch.query_all(&types, Effect::Read).await?) {
        let kind: String = from_redis_value(kind?).map_err(|error| BackupError::Drill(error.to_string()))?;
        reads.extend(commands(&kind, &value.key));
        kinds.push(kind);
    }
    let mut replies = scratch.query_all(&reads, Effect::Read).await?.into_iter();
    for (value, kind) in values.iter().zip(kinds) {
        let count = commands(&kind, &value.key).len();
        let parts: Vec<Value> = replies.by_ref().take(count).collect::<Result<_, _>>()?;
        if read(&value.key, &kind, parts) != Some(value.digest) {
            let hash = hex(&xxh3_64(&value.key).to_be_bytes());
            return Err(BackupError::Drill(format!(
                "{}: the key with the hash {hash} has another value",
                value.holding
            )));
        }
    }
    Ok(())
}

/// The commands that read a value of a type completely.
fn commands(kind: &str, key: &[u8]) -> Vec<Cmd> {
    let command = |words: &[&str]| {
        let mut words = words.iter();
        let mut command = redis::cmd(words.next().copied().unwrap_or_default());
        if let Some(sub) = words.next().filter(|word| !word.is_empty()) {
            command.arg(sub);
        }
        command.arg(key);
        words.for_each(|word| {
            command.arg(word);
        });
        command
    };
    match kind {
        "string" => vec![command(&["GET"])],
        "list" => vec![command(&["LRANGE", "", "0", "-1"])],
        "set" => vec![command(&["SMEMBERS"])],
        "hash" => vec![command(&["HGETALL"])],
        "zset" => vec![command(&["ZRANGE", "", "0", "-1", "WITHSCORES"])],
        "stream" => {
            vec![command(&["XRANGE", "", "-", "+"]), command(&["XINFO", "STREAM"]), command(&["XINFO", "GROUPS"])]
        }
        _ => Vec::new(),
    }
}

/// The digest of a value that was read; `None` if the replies do not have the form of its type.
fn read(key: &[u8], kind: &str, replies: Vec<Value>) -> Option<[u8; 32]> {
    let mut replies = replies.into_iter();
    let mut digest = ValueDigest::new(key, kind);
    let first = replies.next()?;
    match kind {
        "string" => digest.next(&[&from_redis_value::<Vec<u8>>(first).ok()?]),
        "list" => from_redis_value::<Vec<Vec<u8>>>(first).ok()?.iter().for_each(|member| digest.next(&[member])),
        "set" => from_redis_value::<Vec<Vec<u8>>>(first).ok()?.iter().for_each(|member| digest.member(&[member])),
        "hash" => {
            for (field, value) in from_redis_value::<Vec<(Vec<u8>, Vec<u8>)>>(first).ok()? {
                digest.member(&[&field, &value]);
            }
        }
        "zset" => {
            for (member, number) in from_redis_value::<Vec<(Vec<u8>, f64)>>(first).ok()? {
                digest.member(&[&member, &score(number)]);
            }
        }
        _ => {
            for (id, fields) in from_redis_value::<Vec<(Vec<u8>, Vec<Vec<u8>>)>>(first).ok()? {
                let mut parts: Vec<&[u8]> = vec![&id];
                parts.extend(fields.iter().map(Vec::as_slice));
                digest.next(&parts);
            }
            let mut info: HashMap<String, Value> = from_redis_value(replies.next()?).ok()?;
            let last: Vec<u8> = from_redis_value(info.remove("last-generated-id")?).ok()?;
            digest.next(&[b"last", &last]);
            for mut group in from_redis_value::<Vec<HashMap<String, Value>>>(replies.next()?).ok()? {
                let name: Vec<u8> = from_redis_value(group.remove("name")?).ok()?;
                let last: Vec<u8> = from_redis_value(group.remove("last-delivered-id")?).ok()?;
                digest.member(&[b"group", &name, &last]);
            }
        }
    }
    Some(digest.finish())
}
