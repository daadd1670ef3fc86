//! Copies of backups in an S3 store. As in the directory, a backup exists when its manifest does.

use std::io::Write as _;
use std::path::Path;

use jiff::civil::DateTime;
use sha2::{Digest, Sha256};

use super::archive::{FileDigest, new_file};
use super::directory::{Directory, is_id};
use super::error::BackupError;
use super::model::Listed;
use super::retention::Kept;
use crate::config::FieldError;
use crate::config::backup::BackupConfig;
use crate::random::hex;
use crate::s3::{S3Error, S3Store};

#[derive(Clone, Debug)]
pub(super) struct Copies(S3Store);

impl Copies {
    /// The store of the configuration, if it names one.
    ///
    /// # Errors
    /// [`FieldError`].
    pub(super) fn new(config: &BackupConfig) -> Result<Option<Self>, FieldError> {
        let store = S3Store::new(&config.copy_to, &config.copy_endpoint);
        Ok(store.map_err(|rule| FieldError::new("copy_to", rule))?.map(Self))
    }

    /// Uploads a backup, reads it back, and makes it one of the store's.
    pub(super) async fn copy(&self, directory: &Directory, listed: &Listed) -> Result<(), BackupError> {
        let file = tokio::fs::File::open(directory.file(&listed.manifest.id)).await?;
        self.0.upload(&listed.file, file).await?;
        self.read(listed, |_| Ok(())).await?;
        let manifest = serde_json::to_vec_pretty(listed).map_err(std::io::Error::from)?;
        Ok(self.0.put(&manifest_name(&listed.manifest.id), manifest).await?)
    }

    /// Reads the file of a backup, and checks that it is what was written.
    async fn read(
        &self,
        listed: &Listed,
        mut receive: impl FnMut(&[u8]) -> std::io::Result<()>,
    ) -> Result<(), BackupError> {
        let (mut hash, mut bytes) = (Sha256::new(), 0);
        let read = self.0.download(&listed.file, |piece| {
            hash.update(piece);
            bytes += piece.len() as u64;
            receive(piece)
        });
        read.await?;
        let found = FileDigest { bytes, sha256: hex(&hash.finalize()) };
        let expected = FileDigest { bytes: listed.bytes, sha256: listed.sha256.clone() };
        if found == expected { Ok(()) } else { Err(BackupError::Store("the copy is not what was written".to_owned())) }
    }

    /// The backups of the store.
    pub(super) async fn list(&self) -> Result<Vec<Kept>, BackupError> {
        let names = self.0.list().await?;
        Ok(names.iter().filter_map(|name| name.strip_suffix(".json")).filter_map(kept).collect())
    }

    /// Downloads a backup to a path, and checks it.
    pub(super) async fn fetch(&self, id: &str, path: &Path) -> Result<Listed, BackupError> {
        let name = manifest_name(id);
        if !is_id(id) || !self.0.has(&name).await? {
            return Err(BackupError::NotFound(id.to_owned()));
        }
        let manifest = self.0.get(&name).await?;
        let listed: Listed = serde_json::from_slice(&manifest).map_err(std::io::Error::from)?;
        if listed.manifest.id != id || listed.file != Directory::name(id) {
            return Err(BackupError::Store(format!("{name} is the manifest of another backup")));
        }
        let mut file = new_file(path)?;
        let fetched = self.read(&listed, |piece| file.write_all(piece)).await;
        if let Err(error) = fetched.and_then(|()| Ok(file.sync_all()?)) {
            std::fs::remove_file(path)?;
            return Err(error);
        }
        Ok(listed)
    }

    /// Removes a backup. Its manifest goes first: then there is none.
    pub(super) async fn remove(&self, id: &str) -> Result<(), BackupError> {
        self.0.delete(&manifest_name(id)).await?;
        Ok(self.0.delete(&Directory::name(id)).await?)
    }
}

fn manifest_name(id: &str) -> String {
    format!("{id}.json")
}

impl From<S3Error> for BackupError {
    fn from(error: S3Error) -> Self {
        Self::Store(error.to_string())
    }
}

/// The time of an id is that of its backup.
fn kept(id: &str) -> Option<Kept> {
    let time = DateTime::strptime("%Y%m%dT%H%M%SZ", is_id(id).then(|| id.get(..16))??).ok()?;
    let started = time.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_millisecond();
    Some(Kept { id: id.to_owned(), started })
}
