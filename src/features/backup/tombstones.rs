//! The persons that were erased, remembered beside the backups: an older backup contains them, and its restore erases them.

use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::directory::Directory;
use super::error::BackupError;
use crate::clock::UnixMillis;
use crate::config::value::Span;
use crate::config::{Config, Section};
use crate::features::audit::api::KeyRing;
use crate::features::subjects::api::{Tombstones, apply_tombstones, count_tombstones, tombstones};
use crate::holdings::Owners;
use crate::redis::Redis;

/// How long a tombstone is kept.
#[derive(Clone, Copy, Debug, Deserialize)]
struct Life {
    tombstone_life: Span,
}

impl Section for Life {
    const NAME: &'static str = "erasure";
}

/// Where the keys of the audit log are; empty: nowhere.
#[derive(Clone, Debug, Deserialize)]
struct AuditKeys {
    key_file: PathBuf,
}

impl Section for AuditKeys {
    const NAME: &'static str = "audit";
}

/// Copies tombstones from Redis into the directory of backups.
#[derive(Clone)]
pub(super) struct TombstoneKeeper {
    ring: KeyRing,
    life: Span,
    directory: Directory,
}

impl TombstoneKeeper {
    /// `None` without keys of the audit log: then no person can be erased.
    ///
    /// # Errors
    /// If the configuration is invalid.
    pub(super) fn new(config: &Config, directory: &Directory) -> Result<Option<Self>, BackupError> {
        let Life { tombstone_life: life } = config.section()?;
        Ok(ring(config)?.map(|ring| Self { ring, life, directory: directory.clone() }))
    }

    /// Adds the tombstones in Redis to the copy if their number is not `known`. The copy never loses one before its time: an
    /// empty Redis may be about to receive a backup. Returns the number.
    ///
    /// # Errors
    /// [`BackupError::Redis`], [`BackupError::Tombstones`].
    pub(super) async fn keep(&self, redis: &Redis, known: Option<u64>, now: UnixMillis) -> Result<u64, BackupError> {
        let count = count_tombstones(redis).await?;
        if known == Some(count) {
            return Ok(count);
        }
        let mut erased = tombstones(redis, &self.ring).await?.erased;
        let path = self.directory.tombstones();
        if let Some(kept) = read(&path)? {
            kept.check(&self.ring).map_err(|error| BackupError::Tombstones(error.to_string()))?;
            erased.extend(kept.erased);
        }
        let oldest = now.saturating_sub_unsigned(self.life.as_millis());
        erased.retain(|_, at| *at > oldest);
        if !erased.is_empty() {
            let text = serde_json::to_vec_pretty(&Tombstones::signed(erased, &self.ring)).map_err(io::Error::from)?;
            self.directory.create()?;
            self.directory.replace_tombstones(&text)?;
        }
        Ok(count)
    }
}

/// The keys of the audit log; `None` if the configuration has none.
fn ring(config: &Config) -> Result<Option<KeyRing>, BackupError> {
    let AuditKeys { key_file } = config.section()?;
    if key_file.as_os_str().is_empty() {
        return Ok(None);
    }
    KeyRing::read(&key_file).map(Some).map_err(|error| BackupError::Tombstones(error.to_string()))
}

/// The copy beside a backup.
fn read(path: &Path) -> Result<Option<Tombstones>, BackupError> {
    let malformed = |error| BackupError::Tombstones(format!("{} is malformed: {error}", path.display()));
    match std::fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        text => serde_json::from_slice(&text?).map(Some).map_err(malformed),
    }
}

/// Erases restored persons again.
#[derive(Clone)]
pub(super) struct ErasedAgain {
    owners: Owners,
    ring: Option<KeyRing>,
    kept: Option<Tombstones>,
}

impl ErasedAgain {
    /// Reads and checks the copy beside the file of a backup.
    ///
    /// # Errors
    /// [`BackupError::Tombstones`] if it cannot be applied: then the backup must not be restored.
    pub(super) fn new(config: &Config, file: &Path) -> Result<Self, BackupError> {
        let ring = ring(config)?;
        let kept = read(&Directory::new(file.parent().unwrap_or(Path::new("."))).tombstones())?;
        match (&ring, &kept) {
            (None, Some(_)) => {
                return Err(BackupError::Tombstones(
                    "persons were erased since the backup: set audit.key_file to erase them again".to_owned(),
                ));
            }
            (Some(ring), Some(kept)) => {
                kept.check(ring).map_err(|error| BackupError::Tombstones(error.to_string()))?;
            }
            (_, None) => {}
        }
        Ok(Self { owners: Owners::new(config, "")?, ring, kept })
    }

    /// Returns how many keys and members were erased.
    ///
    /// # Errors
    /// [`BackupError::Tombstones`]; then the restored data must not be served.
    pub(super) async fn apply(&self, redis: &Redis) -> Result<u64, BackupError> {
        let Some(ring) = &self.ring else { return Ok(0) };
        let erased = apply_tombstones(redis, &self.owners, ring, self.kept.as_ref()).await;
        erased.map_err(|error| BackupError::Tombstones(error.to_string()))
    }
}
