//! The files of the spool.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::PathBuf;

const SUFFIX: &str = "segment";

/// A directory of segments, of which the newest is open.
#[derive(Debug)]
pub(in crate::features::hosts::ingest::spool) struct Log {
    directory: PathBuf,
    /// Held while the process lives: two writers would take each other's segments away.
    _lock: File,
    open: File,
    /// The open segment's number; numbers only rise.
    number: u64,
    is_empty: bool,
}

impl Log {
    /// Opens the directory, makes it where it is missing, and begins a segment; also answers how many bytes there were.
    ///
    /// # Errors
    /// When the directory cannot be used, or another process uses it.
    pub(in crate::features::hosts::ingest::spool) fn open(directory: PathBuf) -> io::Result<(Self, u64)> {
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

    pub(in crate::features::hosts::ingest::spool) fn append(&mut self, record: &[u8]) -> io::Result<()> {
        self.is_empty = false;
        self.open.write_all(record)
    }

    pub(in crate::features::hosts::ingest::spool) fn sync(&mut self) -> io::Result<()> {
        self.open.sync_data()
    }

    /// Closes the segment, unless it is empty, and answers every closed one, oldest first.
    pub(in crate::features::hosts::ingest::spool) fn close(&mut self) -> io::Result<Vec<PathBuf>> {
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
    // A file is there after a crash only once its directory is synced.
    File::open(directory)?.sync_all()?;
    Ok(file)
}

/// Every segment by its number.
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
