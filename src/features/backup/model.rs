//! The manifest of a backup, and the wire types of the operations.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::error::BackupError;
use crate::clock::UnixMillis;

/// The version of the form of backups.
pub(super) const FORMAT: u32 = 1;

/// The first entry of the file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Header {
    pub format: u32,
    pub id: String,
    /// The key prefix of the deployment.
    pub key_prefix: String,
}

impl Header {
    pub(super) fn check(&self) -> Result<(), BackupError> {
        match self.format {
            FORMAT => Ok(()),
            other => Err(BackupError::File(format!("it has the form {other}, and this service reads {FORMAT}"))),
        }
    }
}

/// How well the keys of a backup fit together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
#[schema(as = BackupConsistency)]
pub enum Consistency {
    /// All keys of a server are those of one moment.
    Snapshot,
    /// Each key is that of the moment at which it was read.
    PerKey,
}

/// A snapshot that a server has sent.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = BackupSource)]
pub struct Source {
    /// The identifier of the server's history of writes.
    pub replication_id: String,
    /// The place in that history.
    pub offset: u64,
}

/// What a backup has of a capability.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = BackupHolding)]
pub struct HoldingCount {
    pub keys: u64,
    /// The bytes of the values as Redis serialises them.
    pub bytes: u64,
    /// The sum of the SHA-256 of all keys with their values, hexadecimal. It does not depend on how Redis stores the values.
    pub digest: String,
    /// Keys whose values are not in the digest: those of modules and of old encodings, and those of more than 16 MiB.
    pub opaque: u64,
}

/// An entry with records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = BackupPart)]
pub struct Part {
    pub name: String,
    pub bytes: u64,
    /// SHA-256, hexadecimal.
    pub sha256: String,
}

/// What a backup contains.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = BackupManifest)]
pub struct Manifest {
    /// The version of the form of the file.
    pub format: u32,
    /// The time of the backup and a random part.
    pub id: String,
    /// The version of the service.
    pub service: String,
    /// The version of the RDB format of the values. An older Redis does not accept them.
    pub rdb_version: u32,
    pub consistency: Consistency,
    /// The key prefix of the deployment.
    pub key_prefix: String,
    /// The snapshots; empty after a walk.
    pub sources: Vec<Source>,
    /// Why Redis sent no snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<String>,
    pub started: UnixMillis,
    pub ended: UnixMillis,
    /// By the name of the capability.
    pub holdings: BTreeMap<String, HoldingCount>,
    /// Keys of other services, which are left out.
    pub foreign: u64,
    /// Keys that had expired.
    pub expired: u64,
    pub parts: Vec<Part>,
    /// The public keys that can read the file.
    pub recipients: Vec<String>,
}

impl Manifest {
    /// The keys of all capabilities.
    pub fn keys(&self) -> u64 {
        self.holdings.values().map(|holding| holding.keys).sum()
    }

    /// Checks that the backup has something of each of these capabilities.
    ///
    /// # Errors
    /// [`BackupError::Only`].
    pub(super) fn require(&self, only: &BTreeSet<String>) -> Result<(), BackupError> {
        match only.iter().find(|name| !self.holdings.contains_key(name.as_str())) {
            None => Ok(()),
            Some(name) => {
                let known: Vec<&str> = self.holdings.keys().map(String::as_str).collect();
                Err(BackupError::Only(format!("the backup has nothing of {name}; it has {}", known.join(", "))))
            }
        }
    }
}

/// The file beside a backup's. A backup exists when this file does.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = Backup)]
pub struct Listed {
    /// The name of the file in the directory of backups.
    pub file: String,
    pub bytes: u64,
    /// SHA-256 of the file, hexadecimal.
    pub sha256: String,
    /// When the store was found to have the file, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copied: Option<UnixMillis>,
    pub manifest: Manifest,
}

/// A backup in a list.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = BackupSummary)]
pub(super) struct Summary {
    pub id: String,
    pub started: UnixMillis,
    pub ended: UnixMillis,
    /// The size of the file.
    pub bytes: u64,
    pub keys: u64,
    pub consistency: Consistency,
    /// When the store was found to have the file, too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub copied: Option<UnixMillis>,
}

impl From<Listed> for Summary {
    fn from(Listed { bytes, copied, manifest, .. }: Listed) -> Self {
        let keys = manifest.keys();
        let Manifest { id, started, ended, consistency, .. } = manifest;
        Self { id, started, ended, bytes, keys, consistency, copied }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = BackupRunStatus)]
pub(super) enum RunStatus {
    Running,
    Done,
    Failed,
}

/// What a run does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = BackupRunKind)]
pub(super) enum RunKind {
    Backup,
    Snapshot,
    Drill,
    Restore,
}

impl RunKind {
    pub(super) const ALL: [Self; 4] = [Self::Backup, Self::Snapshot, Self::Drill, Self::Restore];

    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Backup => "backup",
            Self::Snapshot => "snapshot",
            Self::Drill => "drill",
            Self::Restore => "restore",
        }
    }
}

/// The last backup, drill or restore that was begun, by any replica.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = BackupRun)]
pub(super) struct Run {
    /// The id of the backup.
    pub id: String,
    pub kind: RunKind,
    pub status: RunStatus,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    pub started: UnixMillis,
    /// When the run last reported progress.
    pub updated: UnixMillis,
    /// Keys so far.
    pub keys: u64,
    /// What a restore has done, or would do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restored: Option<Restored>,
}

/// What became of the records of a backup.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = BackupRestored)]
pub struct Restored {
    /// Written, or to be written.
    pub written: u64,
    /// Their time to live is over.
    pub expired: u64,
    /// Leases, windows, kept answers and the like, which must not come back.
    pub transient: u64,
    /// Of capabilities that are not selected.
    pub unselected: u64,
    /// The server had the same or a higher fencing token or version.
    pub kept: u64,
    /// Keys and members of persons who were erased since the backup, and who are erased again.
    #[serde(default)]
    pub erased: u64,
}

const fn yes() -> bool {
    true
}

/// A restore beside the data of the service.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = BackupRestoreRequest, example = json!({ "prefix": "restored:", "only": ["json"] }))]
pub(super) struct RestoreRequest {
    /// The restored keys are below this prefix, which is not that of the service.
    #[schema(min_length = 1, max_length = 64, pattern = "^[!-z|~]+$")]
    pub prefix: String,
    /// The capabilities; empty: all.
    #[serde(default)]
    pub only: BTreeSet<String>,
    /// Whether the backup and the server are only checked.
    #[serde(default = "yes")]
    #[schema(default = true)]
    pub dry_run: bool,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct SnapshotQuery {
    /// The public key that can read the file; those of the configuration by default.
    #[param(
        required = false,
        pattern = "^age1[02-9ac-hj-np-z]{58}$",
        example = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"
    )]
    pub recipient: Option<String>,
}

/// A drill that has passed: the backup was restored to an empty server and compared.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = BackupDrill)]
pub struct Drill {
    pub id: String,
    pub passed: UnixMillis,
    /// Keys that were restored.
    pub keys: u64,
    pub duration_ms: u64,
}

/// The backups of this replica's directory.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Backups)]
pub(super) struct BackupList {
    /// Newest first.
    pub items: Vec<Summary>,
    /// The last backup that was begun.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<Run>,
    /// The last drill that has passed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drill: Option<Drill>,
}

/// Whether the file of a backup is what was written.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BackupVerification)]
pub(super) struct Verification {
    pub id: String,
    pub is_whole: bool,
    /// What is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct BackupPath {
    /// The id of the backup.
    #[param(pattern = "^[0-9]{8}T[0-9]{6}Z-[0-9a-f]{8}$", example = "20261127T031500Z-0f1e2d3c")]
    pub id: String,
}
