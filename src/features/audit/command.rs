//! What the command line does with the audit log.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::chain::Chain;
use super::config::AuditConfig;
use super::error::AuditError;
use super::key_ring::{KeyFileError, KeyRing};
use super::model::{AuditCheckpoint, Break, StoredEntry};
use super::verifier::Verifier;
use crate::clock::Clock;
use crate::config::{Config, ConfigError};
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
/// [`CommandError::Config`], [`CommandError::Key`]; [`AuditError::Off`] if there is no key file.
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
