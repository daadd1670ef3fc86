//! The segment files of the spool.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::PathBuf;

const SUFFIX: &str = "segment";

/// A directory of segments; the newest is open for writing.
#[derive(Debug)]
pub(super) struct Log {
    directory: PathBuf,
    /// Held for the lifetime of the process: two writers would delete each other's segments.
    _lock: File,
    open: File,
    /// The number of the open segment; numbers only increase.
    number: u64,
    is_empty: bool,
}

impl Log {
    /// Opens the directory, creating it if needed, and starts a segment. Also returns the size of the existing segments.
    ///
    /// # Errors
    /// The directory cannot be used, or another process uses it.
    pub(super) fn open(directory: PathBuf) -> io::Result<(Self, u64)> {
        fs::create_dir_all(&directory)?;
        let lock = File::create(directory.join("lock"))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => io::Error::other("another process uses the directory"),
            TryLockError::Error(error) => error,
        })?;
        let (mut number, mut size) = (0, 0);
        for (known, path) in segments(&directory)? {
            number = known;
            size += path.metadata()?.len();
        }
        number += 1;
        let open = begin(&directory, number)?;
        Ok((Self { directory, _lock: lock, open, number, is_empty: true }, size))
    }

    pub(super) fn append(&mut self, record: &[u8]) -> io::Result<()> {
        self.is_empty = false;
        self.open.write_all(record)
    }

    pub(super) fn sync(&mut self) -> io::Result<()> {
        self.open.sync_data()
    }

    /// Closes the segment, unless it is empty, and returns all closed ones, oldest first.
    pub(super) fn close(&mut self) -> io::Result<Vec<PathBuf>> {
        if !self.is_empty {
            self.open.sync_data()?;
            self.number += 1;
            self.open = begin(&self.directory, self.number)?;
            self.is_empty = true;
        }
        let closed = segments(&self.directory)?.into_iter().filter(|(number, _)| *number < self.number);
        Ok(closed.map(|(_, path)| path).collect())
    }
}

fn begin(directory: &PathBuf, number: u64) -> io::Result<File> {
    let file =
        OpenOptions::new().append(true).create_new(true).open(directory.join(format!("{number:020}.{SUFFIX}")))?;
    // A new file survives a crash only once its directory is synced.
    File::open(directory)?.sync_all()?;
    Ok(file)
}

/// All segments with their numbers, sorted.
fn segments(directory: &PathBuf) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut segments = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let is_segment = path.extension().is_some_and(|suffix| suffix == SUFFIX);
        let number = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
        if let Some(number) = number.filter(|_| is_segment) {
            segments.push((number, path));
        }
    }
    segments.sort_unstable();
    Ok(segments)
}
