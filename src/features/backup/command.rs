//! What the command line does with backups.

use std::path::{Path, PathBuf};

use age::x25519::Identity;

use super::config;
use super::directory::{Directory, is_id};
pub use super::error::BackupError;
use super::keys::BackupKeys;
pub use super::model::{Drill, Listed, Manifest, Restored};
pub use super::restore::{Restore, RestoreOptions};
use super::scratch::Scratch;
use super::service::BackupService;
use super::tombstones::ErasedAgain;
pub use super::verify::verify;
use crate::clock::Clock;
use crate::config::Config;
use crate::config::backup::BackupConfig;
use crate::holdings::Owners;
use crate::redis::{Effect, Redis, RedisRoles};
use crate::telemetry::metrics::Metrics;

/// The service for one command.
///
/// # Errors
/// [`BackupError`] if the configuration is invalid.
pub fn service(redis: &Redis, config: &Config) -> Result<BackupService, BackupError> {
    BackupService::new(redis, config, &Clock::System, &Metrics::new())
}

/// The backups in the configured directory, newest first.
///
/// # Errors
/// [`BackupError::Off`], [`BackupError::Io`].
pub fn list(config: &Config) -> Result<Vec<Listed>, BackupError> {
    Ok(directory(config)?.list()?)
}

fn directory(config: &Config) -> Result<Directory, BackupError> {
    let settings: BackupConfig = config.section()?;
    if settings.is_on() { Ok(Directory::new(&settings.dir)) } else { Err(BackupError::Off) }
}

/// The file that an argument names: a path, or the id of a backup in the configured directory. Without an argument it is the
/// newest backup.
///
/// # Errors
/// [`BackupError::Off`], [`BackupError::NotFound`], [`BackupError::Io`].
pub fn file(config: &Config, name: Option<&Path>) -> Result<PathBuf, BackupError> {
    match name {
        Some(path) if path.to_str().is_some_and(is_id) && !path.exists() => {
            let directory = directory(config)?;
            let id = path.to_string_lossy();
            directory.get(&id)?;
            Ok(directory.file(&id))
        }
        Some(path) => Ok(path.to_owned()),
        None => {
            let directory = directory(config)?;
            let newest = directory.list()?.into_iter().next();
            let newest = newest.ok_or_else(|| BackupError::NotFound("in the directory".to_owned()))?;
            Ok(directory.file(&newest.manifest.id))
        }
    }
}

/// Reads the secret keys of a file.
///
/// # Errors
/// [`BackupError::Identity`].
pub fn identities(path: &Path) -> Result<Vec<Identity>, BackupError> {
    let text =
        std::fs::read_to_string(path).map_err(|error| BackupError::Identity(format!("{}: {error}", path.display())))?;
    config::identities(&text)
}

/// Compares a file with the manifest beside it, without a secret key. Returns what is wrong.
///
/// # Errors
/// [`BackupError::Off`], [`BackupError::NotFound`], [`BackupError::Io`].
pub fn compare(config: &Config, id: &str) -> Result<Option<String>, BackupError> {
    let directory = directory(config)?;
    directory.fault(&directory.get(id)?)
}

/// Prepares a restore to the key prefix of `redis`: verifies the whole file, and writes nothing.
///
/// # Errors
/// [`BackupError::File`], [`BackupError::Target`], [`BackupError::Tombstones`].
pub async fn restore(
    redis: &Redis,
    config: &Config,
    file: &Path,
    identities: Vec<Identity>,
    options: RestoreOptions,
) -> Result<(Restore, Manifest), BackupError> {
    let (owners, erased) = (Owners::new(config, "")?, ErasedAgain::new(config, file)?);
    Restore::prepare(redis, owners, file, identities, options, erased).await
}

/// Restores a backup to a private server, and compares every value.
///
/// # Errors
/// [`BackupError::File`], [`BackupError::Target`], [`BackupError::Drill`].
pub async fn drill(
    roles: &RedisRoles,
    config: &Config,
    file: &Path,
    identities: Vec<Identity>,
    shown: impl Fn(u64),
) -> Result<Drill, BackupError> {
    let scratch = Scratch::private(roles).await?;
    let drilled = super::drill::drill(scratch.redis(), Owners::new(config, "")?, file, identities, shown).await;
    scratch.close().await;
    drilled
}

/// Records a drill that has passed in the Redis of the service.
///
/// # Errors
/// [`BackupError::Redis`].
pub async fn record(redis: &Redis, drill: &Drill) -> Result<(), BackupError> {
    let key = BackupKeys::new(redis.keys()).drill;
    // Texts and integers always serialise.
    let text = serde_json::to_string(drill).unwrap_or_default();
    Ok(redis.query(redis::cmd("SET").arg(&key).arg(text), Effect::Write).await?)
}
