//! Whether the file of a backup is whole.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use age::x25519::Identity;

use super::archive;
use super::error::BackupError;
use super::job::blocking;
use super::model::Manifest;
use super::record::Parser;

/// Decrypts and checks a whole file; `bytes` counts those of its records. Returns its manifest.
///
/// # Errors
/// [`BackupError::File`].
pub async fn verify(file: &Path, identities: &[Identity], bytes: Arc<AtomicU64>) -> Result<Manifest, BackupError> {
    let (file, identities) = (file.to_owned(), identities.to_vec());
    blocking(move || {
        let mut parser = Parser::default();
        let manifest = archive::read(&file, &identities, |part| {
            bytes.fetch_add(part.len() as u64, Ordering::Relaxed);
            parser.feed(part, |_| Ok(()))
        })?;
        parser.finish()?;
        Ok(manifest)
    })
    .await
}
