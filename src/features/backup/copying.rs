//! Brings copies of backups into the store, and backups back from there.

use std::path::{Path, PathBuf};

use super::error::BackupError;
use super::model::Listed;
use super::service::BackupService;

impl BackupService {
    /// Copies the backups of the directory that the store does not have. What fails is logged and tried again later.
    pub(super) async fn copy_pending(&self) {
        let Some(copies) = &self.copies else { return };
        let Ok(all) = self.list().await else { return };
        for listed in all.into_iter().filter(|listed| listed.copied.is_none()) {
            let id = listed.manifest.id.clone();
            let outcome = match copies.copy(&self.directory, &listed).await {
                Ok(()) => self.directory.replace(&Listed { copied: Some(self.clock.now()), ..listed }),
                Err(error) => Err(error),
            };
            self.metrics.copied(outcome.is_ok());
            if let Err(error) = outcome {
                tracing::warn!(id, %error, "a backup was not copied");
            }
        }
    }

    /// Brings a backup from the store into the directory; the newest one if there is no `id`.
    ///
    /// # Errors
    /// [`BackupError::NoStore`], [`BackupError::NotFound`], [`BackupError::Store`].
    pub async fn fetch(&self, id: Option<&str>) -> Result<Listed, BackupError> {
        self.require_on()?;
        let copies = self.copies.as_ref().ok_or(BackupError::NoStore)?;
        let id = if let Some(id) = id {
            id.to_owned()
        } else {
            let newest = copies.list().await?.into_iter().map(|kept| kept.id).max();
            newest.ok_or_else(|| BackupError::NotFound("in the store".to_owned()))?
        };
        self.directory.create()?;
        let path = self.directory.unfinished(&id);
        let _ = std::fs::remove_file(&path);
        let listed = copies.fetch(&id, &path).await?;
        let listed = Listed { copied: Some(self.clock.now()), ..listed };
        self.directory.publish(&listed)?;
        Ok(listed)
    }

    /// The file for a drill: the copy if the store has one, because that is what an accident leaves.
    ///
    /// # Errors
    /// [`BackupError::Store`], [`BackupError::Io`].
    pub(super) async fn file_of_copy(&self, id: &str) -> Result<DrillFile, BackupError> {
        let is_copied = self.get(id).await?.copied.is_some();
        let Some(copies) = self.copies.as_ref().filter(|_| is_copied) else {
            return Ok(DrillFile::Original(self.directory.file(id)));
        };
        let path = self.directory.unfinished(&format!("{id}.drill"));
        let _ = std::fs::remove_file(&path);
        copies.fetch(id, &path).await?;
        Ok(DrillFile::Copy(path))
    }
}

/// The file that a drill reads. A copy is removed with this value.
pub(super) enum DrillFile {
    Original(PathBuf),
    Copy(PathBuf),
}

impl DrillFile {
    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Original(path) | Self::Copy(path) => path,
        }
    }
}

impl Drop for DrillFile {
    fn drop(&mut self) {
        if let Self::Copy(path) = self {
            // What is left is removed with other unfinished files.
            let _ = std::fs::remove_file(path);
        }
    }
}
