//! The directory of the files, for callers that must not block.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use super::error::ArchiveError;
use super::files::disk::RealDisk;
use super::files::sealed::Keys;
use super::files::{FileError, Files};
use crate::clock::Clock;
use crate::config::archive::ArchiveConfig;
use crate::lifecycle::deadline::until;
use crate::lifecycle::offload::Offload;

/// How long a caller waits for a thread, and for the disk. A disk that hangs keeps its thread, and no others.
const PATIENCE: Duration = Duration::from_secs(5);
const DISK: Duration = Duration::from_secs(20);

#[derive(Clone, Debug)]
pub(super) struct Directory {
    root: PathBuf,
    keys: Keys,
    #[cfg(feature = "parquet")]
    has_tables: bool,
    clock: Clock,
    /// Threads of its own, so that a disk that hangs delays nothing else.
    threads: Offload,
    /// Opened once. If another volume takes its place, every call fails until the first one is back.
    opened: Arc<OnceLock<Files>>,
}

impl Directory {
    pub(super) fn new(config: &ArchiveConfig, keys: Keys, clock: &Clock) -> Self {
        Self {
            root: config.dir.clone(),
            keys,
            #[cfg(feature = "parquet")]
            has_tables: config.parquet,
            clock: clock.clone(),
            threads: Offload::default(),
            opened: Arc::default(),
        }
    }

    /// The id of the directory, once it was opened.
    pub(super) fn store(&self) -> Option<&str> {
        self.opened.get().map(Files::store)
    }

    /// Runs work on the files on a thread that may wait for the disk.
    ///
    /// # Errors
    /// [`ArchiveError::Files`]; [`ArchiveError::SlowDisk`] if the disk does not answer in time, the work may go on.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Files) -> Result<T, FileError> + Send + 'static,
    ) -> Result<T, ArchiveError> {
        let directory = self.clone();
        let run = self.threads.run(PATIENCE, move || work(directory.files()?));
        match until(Instant::now() + PATIENCE + DISK, run).await {
            Some(Ok(done)) => Ok(done?),
            Some(Err(_)) | None => Err(ArchiveError::SlowDisk),
        }
    }

    fn files(&self) -> Result<&Files, FileError> {
        if let Some(files) = self.opened.get() {
            return Ok(files);
        }
        let files = Files::open(Arc::new(RealDisk::new(&self.root)), self.keys.clone(), self.clock.now())?;
        #[cfg(feature = "parquet")]
        let files = files.with_tables(self.has_tables);
        Ok(self.opened.get_or_init(|| files))
    }
}
