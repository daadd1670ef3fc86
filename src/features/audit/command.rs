//! What the command line does with the audit log.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::chain::{CHUNK, Chain};
use super::config::AuditConfig;
use super::error::AuditError;
use super::key_ring::{HASH, KeyFileError, KeyRing};
use super::model::{AuditCheckpoint, Break, StoredEntry};
use super::verifier::Verifier;
use crate::clock::Clock;
use crate::config::{Config, ConfigError};
use crate::random::hex;
use crate::redis::{Effect, Redis};

/// Why a log cannot be verified at all.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("audit.key_file: {0}")]
    Key(#[from] KeyFileError),
    #[error(transparent)]
    Log(#[from] AuditError),
    #[error("{file}: {reason}")]
    Unreadable { file: String, reason: String },
}

/// What a verification has found.
#[derive(Debug)]
pub struct Verified {
    pub checked: u64,
    /// The number of the first entry that is wrong, and how it is wrong.
    pub first_break: Option<(u64, &'static str)>,
    /// The numbers of breaks that an operator has acknowledged.
    pub acknowledged: Vec<u64>,
}

impl From<&Verifier> for Verified {
    fn from(verifier: &Verifier) -> Self {
        Self {
            checked: verifier.checked(),
            first_break: verifier.first_break().map(|found| (found.seq, found.kind.name())),
            acknowledged: verifier.acknowledged().iter().map(|found| found.seq).collect(),
        }
    }
}

/// Reads the keys of the configuration.
///
/// # Errors
/// [`CommandError::Config`], [`CommandError::Key`]; `AuditError::Off` if there is no key file.
pub fn key_ring(config: &Config) -> Result<KeyRing, CommandError> {
    let audit: AuditConfig = config.section()?;
    if audit.key_file.as_os_str().is_empty() {
        return Err(AuditError::Off.into());
    }
    Ok(KeyRing::read(&audit.key_file)?)
}

/// The number of entries in Redis.
///
/// # Errors
/// [`CommandError::Log`].
pub async fn size(redis: &Redis, ring: &KeyRing) -> Result<u64, CommandError> {
    let chain = Chain::new(redis, ring.clone(), &Clock::System);
    Ok(redis.query(redis::cmd("XLEN").arg(&chain.keys.log), Effect::Read).await.map_err(AuditError::from)?)
}

/// The number of entries in Redis by the fingerprint of their key.
///
/// # Errors
/// [`CommandError::Log`].
pub async fn entries_by_key(redis: &Redis, ring: &KeyRing) -> Result<BTreeMap<String, u64>, CommandError> {
    let chain = Chain::new(redis, ring.clone(), &Clock::System);
    let (mut found, mut next) = (BTreeMap::new(), 1);
    loop {
        let entries = chain.entries(next, CHUNK).await.map_err(AuditError::from)?;
        let Some(last) = entries.last() else { return Ok(found) };
        next = last.seq.max(next) + 1;
        for entry in entries {
            *found.entry(entry.key).or_default() += 1;
        }
    }
}

/// Puts a new key first in the key file. Returns its fingerprint. The file is replaced as a whole, or stays.
///
/// # Errors
/// [`CommandError::Config`], [`CommandError::Key`]; [`CommandError::Unreadable`] if the file cannot be replaced.
pub fn rotate(config: &Config) -> Result<String, CommandError> {
    let audit: AuditConfig = config.section()?;
    let file = &audit.key_file;
    key_ring(config)?;
    let fail = |error: &dyn std::fmt::Display| unreadable(file, &error.to_string());
    let former = std::fs::read_to_string(file).map_err(|error| fail(&error))?;
    let mut key = [0; HASH];
    getrandom::fill(&mut key).map_err(|error| fail(&error))?;
    let unfinished = file.with_extension("new");
    let written = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished).and_then(|mut new| {
        new.write_all(format!("{}\n{}", hex(&key), former).as_bytes())?;
        new.sync_all()?;
        std::fs::rename(&unfinished, file)
    });
    written.map_err(|error| fail(&error))?;
    Ok(key_ring(config)?.id().to_owned())
}

/// Verifies the log in Redis, and that it has what the checkpoints of a file say.
///
/// # Errors
/// [`CommandError`].
pub async fn verify_redis(
    redis: &Redis,
    ring: KeyRing,
    checkpoints: Option<&Path>,
    shown: impl Fn(u64),
) -> Result<Verified, CommandError> {
    let checkpoints = checkpoints.map_or(Ok(Vec::new()), |file| read_checkpoints(file, &ring))?;
    let chain = Chain::new(redis, ring, &Clock::System);
    let mut verifier = chain.verifier(None, checkpoints).await.map_err(AuditError::from)?;
    chain.verify(&mut verifier, usize::MAX, shown).await.map_err(AuditError::from)?;
    Ok(Verified::from(&verifier))
}

/// Verifies exported files, which must follow each other.
///
/// # Errors
/// [`CommandError`].
pub fn verify_files(files: &[PathBuf], ring: KeyRing, checkpoints: Option<&Path>) -> Result<Verified, CommandError> {
    let checkpoints = checkpoints.map_or(Ok(Vec::new()), |file| read_checkpoints(file, &ring))?;
    let mut verifier = Verifier::new(ring, checkpoints, Clock::System.now());
    let mut is_first = true;
    for file in files {
        for line in lines(file)? {
            let stored: StoredEntry =
                serde_json::from_str(&line?).map_err(|_| unreadable(file, "a line is not an exported entry"))?;
            if is_first {
                // The first file begins where an earlier one has ended.
                verifier.skip_to(&stored.before());
                is_first = false;
            }
            verifier.feed(&stored);
        }
    }
    Ok(Verified::from(&verifier))
}

/// Acknowledges the first break of the log in Redis. Returns the number of the entry that does so; `None` without a break.
///
/// # Errors
/// [`CommandError`].
pub async fn reanchor(redis: &Redis, ring: KeyRing) -> Result<Option<u64>, CommandError> {
    let verified = {
        let chain = Chain::new(redis, ring.clone(), &Clock::System);
        let mut verifier = chain.verifier(None, Vec::new()).await.map_err(AuditError::from)?;
        chain.verify(&mut verifier, usize::MAX, |_| ()).await.map_err(AuditError::from)?;
        verifier.first_break()
    };
    let Some(found): Option<Break> = verified else { return Ok(None) };
    Ok(Some(Chain::new(redis, ring, &Clock::System).reanchor(found).await?))
}

/// Reads the checkpoints in the lines of a file: as `GET /admin/audit/verify` returns them, or as the service logs them.
fn read_checkpoints(file: &Path, ring: &KeyRing) -> Result<Vec<AuditCheckpoint>, CommandError> {
    let mut checkpoints = Vec::new();
    for line in lines(file)? {
        let value: Value = serde_json::from_str(&line?).unwrap_or_default();
        let logged = value.get("checkpoint").map(|inner| match inner {
            Value::String(text) => serde_json::from_str(text).unwrap_or_default(),
            other => other.clone(),
        });
        let Ok(found) = serde_json::from_value::<AuditCheckpoint>(logged.unwrap_or(value)) else { continue };
        let AuditCheckpoint { origin, seq, hash, time, signed } = &found;
        if !ring.verify(&AuditCheckpoint::text(origin, *seq, hash, *time), signed) {
            return Err(unreadable(file, &format!("the checkpoint at entry {seq} has no valid signature")));
        }
        checkpoints.push(found);
    }
    if checkpoints.is_empty() {
        return Err(unreadable(file, "there is no checkpoint"));
    }
    Ok(checkpoints)
}

fn lines(file: &Path) -> Result<impl Iterator<Item = Result<String, CommandError>> + '_, CommandError> {
    let opened = File::open(file).map_err(|error| unreadable(file, &error.to_string()))?;
    Ok(BufReader::new(opened).lines().map(move |line| line.map_err(|error| unreadable(file, &error.to_string()))))
}

fn unreadable(file: &Path, reason: &str) -> CommandError {
    CommandError::Unreadable { file: file.display().to_string(), reason: reason.to_owned() }
}
