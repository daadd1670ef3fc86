//! The directory of backups. A backup is the file `{id}.tar.zst.age`, and exists when `{id}.json` beside it does.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use sha2::{Digest, Sha256};

use super::archive::{FileDigest, new_file};
use super::error::BackupError;
use super::model::Listed;
use crate::clock::UnixMillis;
use crate::random::{self, hex};

const TOMBSTONES_TMP: &str = ".tombstones.tmp";
const SUFFIX: &str = ".tar.zst.age";
/// What a run that was killed has left is removed after a day, milliseconds.
const LEFT_OVER: UnixMillis = 86_400_000;

#[derive(Clone, Debug)]
pub(super) struct Directory(PathBuf);

impl Directory {
    pub(super) fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    pub(super) fn create(&self) -> io::Result<()> {
        std::fs::create_dir_all(&self.0)
    }

    pub(super) fn name(id: &str) -> String {
        format!("{id}{SUFFIX}")
    }

    pub(super) fn file(&self, id: &str) -> PathBuf {
        self.0.join(Self::name(id))
    }

    /// Where the file of a backup is while it is written.
    pub(super) fn unfinished(&self, id: &str) -> PathBuf {
        self.0.join(format!(".{id}.tmp"))
    }

    fn manifest(&self, id: &str) -> PathBuf {
        self.0.join(format!("{id}.json"))
    }

    /// Makes a complete file a backup.
    pub(super) fn publish(&self, listed: &Listed) -> Result<(), BackupError> {
        let id = &listed.manifest.id;
        std::fs::rename(self.unfinished(id), self.file(id))?;
        self.sync()?;
        self.replace(listed)
    }

    /// Writes the manifest of a backup, as a whole.
    pub(super) fn replace(&self, listed: &Listed) -> Result<(), BackupError> {
        let id = &listed.manifest.id;
        let unfinished = self.0.join(format!(".{id}.json.tmp"));
        let _ = std::fs::remove_file(&unfinished);
        let mut file = new_file(&unfinished)?;
        file.write_all(&serde_json::to_vec_pretty(listed).map_err(io::Error::from)?)?;
        file.sync_all()?;
        std::fs::rename(unfinished, self.manifest(id))?;
        Ok(self.sync()?)
    }

    /// The copy of the tombstones of erased persons.
    pub(super) fn tombstones(&self) -> PathBuf {
        self.0.join("tombstones.json")
    }

    /// Replaces the copy as a whole. Replicas that share the directory do not disturb each other.
    pub(super) fn replace_tombstones(&self, text: &[u8]) -> io::Result<()> {
        let token = random::token().map_err(io::Error::other)?;
        let unfinished = self.0.join(format!(".{token}{TOMBSTONES_TMP}"));
        let mut file = new_file(&unfinished)?;
        file.write_all(text)?;
        file.sync_all()?;
        std::fs::rename(unfinished, self.tombstones())?;
        self.sync()
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.0)?.sync_all()
    }

    /// The backups, newest first. A directory that does not exist has none.
    pub(super) fn list(&self) -> io::Result<Vec<Listed>> {
        let mut ids = Vec::new();
        let entries = match std::fs::read_dir(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        for entry in entries {
            let name = entry?.file_name().to_string_lossy().into_owned();
            ids.extend(name.strip_suffix(".json").filter(|id| is_id(id)).map(str::to_owned));
        }
        // Ids begin with their time.
        ids.sort_by(|one, other| other.cmp(one));
        // A file that is removed meanwhile, or is none of ours, is left out.
        Ok(ids.iter().filter_map(|id| self.get(id).ok()).collect())
    }

    /// # Errors
    /// [`BackupError::NotFound`], [`BackupError::Io`].
    pub(super) fn get(&self, id: &str) -> Result<Listed, BackupError> {
        let missing = || BackupError::NotFound(id.to_owned());
        if !is_id(id) {
            return Err(missing());
        }
        let text = match std::fs::read(self.manifest(id)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(missing()),
            text => text?,
        };
        let listed: Listed = serde_json::from_slice(&text).map_err(io::Error::from)?;
        // The names of files are made from the id.
        if listed.manifest.id == id && listed.file == Self::name(id) { Ok(listed) } else { Err(missing()) }
    }

    /// Removes a backup: first what makes it one.
    pub(super) fn remove(&self, id: &str) -> Result<(), BackupError> {
        self.get(id)?;
        std::fs::remove_file(self.manifest(id))?;
        self.sync()?;
        match std::fs::remove_file(self.file(id)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Removes what runs have left that were killed more than a day ago.
    pub(super) fn sweep(&self, now: UnixMillis) -> io::Result<()> {
        for entry in std::fs::read_dir(&self.0)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_unfinished = name
                .strip_prefix('.')
                .and_then(|name| name.strip_suffix(".tmp"))
                .and_then(|name| name.split('.').next())
                .is_some_and(is_id);
            let is_copy = name.starts_with('.') && name.ends_with(TOMBSTONES_TMP);
            let is_orphan = name.strip_suffix(SUFFIX).is_some_and(|id| is_id(id) && !self.manifest(id).exists());
            let modified = entry.metadata()?.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
            let modified = i64::try_from(modified.as_millis()).unwrap_or(i64::MAX);
            if (is_unfinished || is_copy || is_orphan) && modified < now - LEFT_OVER {
                std::fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    /// What is wrong with the file of a backup; `None` if it is what was written.
    pub(super) fn fault(&self, listed: &Listed) -> Result<Option<String>, BackupError> {
        let expected = FileDigest { bytes: listed.bytes, sha256: listed.sha256.clone() };
        let found = match digest(&self.file(&listed.manifest.id)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Some("its file is missing".to_owned())),
            found => found?,
        };
        Ok((found != expected).then(|| {
            format!("its file has {} bytes with SHA-256 {}, not those that were written", found.bytes, found.sha256)
        }))
    }
}

/// The size and the SHA-256 of a file.
pub(super) fn digest(path: &Path) -> io::Result<FileDigest> {
    let (mut file, mut hash, mut bytes) = (File::open(path)?, Sha256::new(), 0);
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok(FileDigest { bytes, sha256: hex(&hash.finalize()) });
        }
        hash.update(buffer.get(..read).unwrap_or_default());
        bytes += read as u64;
    }
}

/// Whether a text has the form of an id, `20261127T031500Z-0f1e2d3c`: any other text might name another file.
pub(super) fn is_id(text: &str) -> bool {
    let digits = |part: Option<&str>| part.is_some_and(|part| part.bytes().all(|byte| byte.is_ascii_digit()));
    text.len() == 25
        && text.is_ascii()
        && digits(text.get(..8))
        && text.get(8..9) == Some("T")
        && digits(text.get(9..15))
        && text.get(15..17) == Some("Z-")
        && text.get(17..).is_some_and(|part| part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')))
}

#[cfg(test)]
mod tests {
    use super::is_id;

    #[test]
    fn only_ids_name_files() {
        assert!(is_id("20261127T031500Z-0f1e2d3c"));
        for other in [
            "",
            "20261127T031500Z-0f1e2d3C",
            "../../etc/passwd/12345678",
            "20261127T031500Z-0f1e2d3c.",
            "ééééééééT031500Z-0f1e2d3c",
        ] {
            assert!(!is_id(other), "{other}");
        }
    }
}
