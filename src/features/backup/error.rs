//! Errors of backups, and the problems that each operation can return.

use std::io;
use std::time::Duration;

use super::rdb::RdbError;
use crate::config::ConfigError;
use crate::http::problem::{INVALID_PATH, INVALID_QUERY, Problem, ProblemKind};
use crate::problems;
use crate::redis::{Outcome, RedisFault, SnapshotError};

problems! { PROBLEMS:
    BACKUP_OFF = "backup-off", CONFLICT, "Backups are off",
        "Set backup.dir and backup.recipients.";
    BACKUP_RUNNING = "backup-running", CONFLICT, "A backup, drill or restore is running",
        "GET /admin/backups shows how far it is.";
    BACKUP_NOT_FOUND = "backup-not-found", NOT_FOUND, "There is no such backup",
        "GET /admin/backups lists those in the directory of the replica that answers.";
    BACKUP_IS_NEWEST = "backup-is-newest", CONFLICT, "The newest backup cannot be deleted",
        "Make another one first.";
    BACKUP_NO_IDENTITY = "backup-no-identity", CONFLICT, "The service has no secret key",
        "Set backup.identity_file, or use the command line on a machine that has the key.";
    BACKUP_UNREADABLE = "backup-unreadable", INTERNAL_SERVER_ERROR, "The directory of backups cannot be used",
        "The detail names the reason. The operators of the service must fix this.";
}

/// The problems of listing backups.
pub(super) static LIST: &[&ProblemKind] = &[&BACKUP_OFF, &BACKUP_UNREADABLE];
/// The problems of starting a backup.
pub(super) static START: &[&ProblemKind] = &[&BACKUP_OFF, &BACKUP_RUNNING, &BACKUP_UNREADABLE];
/// The problems of operations on one backup.
pub(super) static ONE: &[&ProblemKind] = &[&BACKUP_OFF, &INVALID_PATH, &BACKUP_NOT_FOUND, &BACKUP_UNREADABLE];
/// The problems of a snapshot.
pub(super) static SNAPSHOT: &[&ProblemKind] = &[&BACKUP_RUNNING, &BACKUP_OFF, &INVALID_QUERY, &BACKUP_UNREADABLE];
/// The problems of drills and restores.
pub(super) static WITH_KEY: &[&ProblemKind] =
    &[&BACKUP_OFF, &INVALID_PATH, &BACKUP_NOT_FOUND, &BACKUP_RUNNING, &BACKUP_NO_IDENTITY, &BACKUP_UNREADABLE];
/// The problems of deleting a backup.
pub(super) static DELETE: &[&ProblemKind] =
    &[&BACKUP_OFF, &INVALID_PATH, &BACKUP_NOT_FOUND, &BACKUP_IS_NEWEST, &BACKUP_UNREADABLE];

/// Why a backup, a restore or a drill failed.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error("backup.dir is not set")]
    Off,
    #[error("a backup, drill or restore is running at a replica")]
    Running,
    #[error("backup.identity_file is not set")]
    NoIdentity,
    #[error("backup.copy_to is not set")]
    NoStore,
    #[error("{0}")]
    Store(String),
    #[error("another replica has begun a run, since this one could not report its progress")]
    Lost,
    #[error("{0}")]
    Prefix(String),
    #[error("{0}")]
    Only(String),
    #[error("{0}")]
    Recipient(String),
    #[error("there is no backup {0}")]
    NotFound(String),
    #[error("{0} is the newest backup")]
    Newest(String),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("backup.recipients: {0}")]
    Recipients(String),
    #[error("{0}")]
    Identity(String),
    #[error("the file is not a valid backup: {0}")]
    File(String),
    #[error("{0}")]
    Target(String),
    #[error("the tombstones of erased persons: {0}")]
    Tombstones(String),
    #[error("the drill found a difference: {0}")]
    Drill(String),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("{}", .0.with_causes())]
    Redis(#[from] RedisFault),
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    #[error("{0}")]
    Rdb(String),
}

impl From<RdbError> for BackupError {
    fn from(error: RdbError) -> Self {
        match error {
            RdbError::Io(error) => Self::Io(error),
            other => Self::Rdb(other.to_string()),
        }
    }
}

impl From<BackupError> for Problem {
    fn from(error: BackupError) -> Self {
        let known = |kind| Self::new(kind).detail(&error).outcome(Outcome::NotApplied);
        match &error {
            BackupError::Off => known(&BACKUP_OFF),
            BackupError::Running => known(&BACKUP_RUNNING).retry_after(Duration::from_secs(30)),
            BackupError::NoIdentity => known(&BACKUP_NO_IDENTITY),
            BackupError::Prefix(rule) => Self::body_field("/prefix", rule),
            BackupError::Only(rule) => Self::body_field("/only", rule),
            BackupError::Recipient(rule) => Self::query_parameter("recipient", rule),
            BackupError::NotFound(_) => known(&BACKUP_NOT_FOUND),
            BackupError::Newest(_) => known(&BACKUP_IS_NEWEST),
            BackupError::Redis(fault) => Self::from(fault.clone()),
            _ => Self::new(&BACKUP_UNREADABLE).detail(&error),
        }
    }
}
