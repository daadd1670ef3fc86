//! The manifest of a backup, and the wire types of the operations.

use std::collections::BTreeMap;

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

/// The file beside a backup's. A backup exists when this file does.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = Backup)]
pub struct Listed {
    /// The name of the file in the directory of backups.
    pub file: String,
    pub bytes: u64,
    /// SHA-256 of the file, hexadecimal.
    pub sha256: String,
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
}

impl From<Listed> for Summary {
    fn from(Listed { bytes, manifest, .. }: Listed) -> Self {
        let Manifest { id, started, ended, consistency, holdings, .. } = manifest;
        Self { id, started, ended, bytes, keys: holdings.values().map(|holding| holding.keys).sum(), consistency }
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

/// The last backup that was begun, by any replica.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = BackupRun)]
pub(super) struct Run {
    pub id: String,
    pub status: RunStatus,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    pub started: UnixMillis,
    /// When the run last reported progress.
    pub updated: UnixMillis,
    /// Keys in the backup so far.
    pub keys: u64,
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
