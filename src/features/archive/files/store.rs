//! The directory, and files that survive a crash.

use std::collections::{BTreeSet, HashSet};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest as _, Sha256};

use super::calendar;
use super::disk::{Disk, write_all};
use super::error::FileError;
use super::manifest::{Day, Line, MinuteLine};
use super::sealed::Keys;
use crate::clock::UnixMillis;
use crate::random::{hex, unique_text};
use crate::tape::Symbol;

/// Holds the id of the directory.
const STORE: &str = ".gtx-archive";

/// The directory of files that are being written.
pub(super) const TEMPORARY: &str = ".tmp";

/// How old a temporary file of another replica must be before it is removed, milliseconds.
const ABANDONED: i64 = 600_000;

/// The most names that are tried for one minute.
const NAMES: u32 = 64;

/// The most directories whose names are known to be durable.
const REMEMBERED: usize = 10_000;

/// The opened directory.
#[derive(Debug)]
pub struct Files {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) keys: Keys,
    /// Whether packs are written as Parquet, too.
    #[cfg(feature = "parquet")]
    pub(super) has_tables: bool,
    /// The id of the directory: random, made once.
    store: String,
    /// This replica.
    pub(super) writer: String,
    /// Directories whose own names are durable.
    durable: Mutex<HashSet<String>>,
}

/// A minute's file and its line in the manifest.
pub(super) struct Written {
    pub line: MinuteLine,
    pub path: String,
    pub bytes: Vec<u8>,
}

/// The SHA-256 of bytes, in hexadecimal digits.
pub fn sha256(bytes: &[u8]) -> String {
    digits(Sha256::new_with_prefix(bytes))
}

/// The hexadecimal digits of a finished hash.
pub(super) fn digits(hash: Sha256) -> String {
    let digest: [u8; 32] = hash.finalize().into();
    hex(&digest)
}

impl Files {
    /// Opens a directory, which must exist, and gives it an id if it has none.
    ///
    /// # Errors
    /// [`FileError::Disk`] if a file cannot be created, synced, renamed and removed there.
    pub fn open(disk: Arc<dyn Disk>, keys: Keys, now: UnixMillis) -> Result<Self, FileError> {
        let mut files = Self {
            disk,
            keys,
            #[cfg(feature = "parquet")]
            has_tables: false,
            store: String::new(),
            writer: unique_text(),
            durable: Mutex::default(),
        };
        files.disk.create_dir(TEMPORARY).map_err(FileError::disk("create", TEMPORARY))?;
        files.store = match files.stored_id()? {
            Some(id) => id,
            None => files.make_id(now)?,
        };
        files.probe(now)?;
        Ok(files)
    }

    /// Writes packs as Parquet, too.
    #[cfg(feature = "parquet")]
    pub fn with_tables(self, has_tables: bool) -> Self {
        Self { has_tables, ..self }
    }

    pub fn store(&self) -> &str {
        &self.store
    }

    fn stored_id(&self) -> Result<Option<String>, FileError> {
        match self.disk.read(STORE) {
            Ok(bytes) => {
                let id = String::from_utf8_lossy(&bytes).trim().to_owned();
                let is_id = id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
                if is_id {
                    return Ok(Some(id));
                }
                Err(FileError::Damaged { file: STORE.to_owned(), reason: "it has no id".to_owned() })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(FileError::disk("read", STORE)(error)),
        }
    }

    fn make_id(&self, now: UnixMillis) -> Result<String, FileError> {
        let temporary = self.temporary(now, format!("{}\n", unique_text()).as_bytes())?;
        let renamed = self.disk.rename_noreplace(&temporary, STORE);
        let _ = self.disk.remove(&temporary);
        match renamed {
            // Another replica was first.
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(FileError::disk("rename to", STORE)(error));
            }
            _ => {}
        }
        self.disk.fsync_dir("").map_err(FileError::disk("sync", ""))?;
        self.stored_id()?.ok_or_else(|| FileError::Missing { file: STORE.to_owned() })
    }

    /// Checks that the directory is still the one that was opened: an empty one in its place would look like an archive
    /// without files.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn check(&self) -> Result<(), FileError> {
        match self.stored_id()? {
            Some(found) if found == self.store => Ok(()),
            found => Err(FileError::OtherDirectory {
                found: found.unwrap_or_else(|| "none".to_owned()),
                expected: self.store.clone(),
            }),
        }
    }

    /// Whether files can be created, synced, renamed and removed, and removes temporary files that were left behind.
    ///
    /// # Errors
    /// [`FileError::Disk`].
    pub fn probe(&self, now: UnixMillis) -> Result<(), FileError> {
        self.check()?;
        for name in self.disk.list(TEMPORARY).map_err(FileError::disk("list", TEMPORARY))? {
            let created = name.split('-').next().and_then(|time| time.parse::<UnixMillis>().ok());
            if created.is_some_and(|created| now - created > ABANDONED) {
                // Another replica may do the same.
                let _ = self.disk.remove(&format!("{TEMPORARY}/{name}"));
            }
        }
        let temporary = self.temporary(now, b"probe\n")?;
        let renamed = format!("{temporary}-renamed");
        let moved = self.disk.rename_noreplace(&temporary, &renamed).map_err(FileError::disk("rename", &temporary));
        let removed = self.disk.remove(if moved.is_ok() { &renamed } else { &temporary });
        moved?;
        removed.map_err(FileError::disk("remove", &renamed))
    }

    /// The free and the total space, bytes.
    ///
    /// # Errors
    /// [`FileError::Disk`].
    pub fn space(&self) -> Result<[u64; 2], FileError> {
        self.disk.space().map_err(FileError::disk("measure", ""))
    }

    /// Reads the manifest of a day; a day without one has no files.
    ///
    /// # Errors
    /// [`FileError::Disk`].
    pub fn day(&self, symbol: &Symbol, day: UnixMillis) -> Result<Day, FileError> {
        self.day_with(symbol, day, |_| true)
    }

    /// Reads what the manifest of a day has about some minutes, and about packs.
    ///
    /// # Errors
    /// [`FileError::Disk`].
    pub fn day_with(
        &self,
        symbol: &Symbol,
        day: UnixMillis,
        is_wanted: impl Fn(UnixMillis) -> bool,
    ) -> Result<Day, FileError> {
        let path = manifest_path(symbol, day);
        match self.disk.read(&path) {
            Ok(bytes) => Ok(Day::parse(&bytes, is_wanted)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Day::default()),
            Err(error) => Err(FileError::disk("read", &path)(error)),
        }
    }

    /// The days of a symbol that have a directory, oldest first.
    ///
    /// # Errors
    /// [`FileError::Disk`].
    pub fn days(&self, symbol: &Symbol) -> Result<Vec<UnixMillis>, FileError> {
        let names = self.names_in(&calendar::symbol_directory(symbol))?;
        Ok(names.iter().filter_map(|name| calendar::day_of_directory(name)).collect())
    }

    /// The names in a directory; none if it does not exist.
    ///
    /// # Errors
    /// [`FileError::Disk`].
    pub fn names_in(&self, directory: &str) -> Result<BTreeSet<String>, FileError> {
        match self.disk.list(directory) {
            Ok(names) => Ok(names.into_iter().collect()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeSet::new()),
            Err(error) => Err(FileError::disk("list", directory)(error)),
        }
    }

    /// The symbols that have a directory, by name.
    ///
    /// # Errors
    /// [`FileError::Disk`].
    pub fn symbols(&self) -> Result<Vec<Symbol>, FileError> {
        let names = self.disk.list("").map_err(FileError::disk("list", ""))?;
        Ok(names.iter().filter_map(|name| calendar::symbol_of_directory(name)).collect())
    }

    /// Writes a durable file under a name that only this replica uses.
    ///
    /// # Errors
    /// [`FileError::Disk`]; no file is left.
    pub(super) fn temporary(&self, now: UnixMillis, bytes: &[u8]) -> Result<String, FileError> {
        let path = format!("{TEMPORARY}/{now}-{}", unique_text());
        let write = || -> io::Result<()> {
            let mut file = self.disk.create_new(&path)?;
            write_all(&mut *file, bytes)?;
            file.fsync()
        };
        write().map_err(|error| {
            let _ = self.disk.remove(&path);
            FileError::disk("write", &path)(error)
        })?;
        Ok(path)
    }

    /// Writes an immutable file. `content` gives the path and the bytes of each version, from `version` on: the first whose
    /// name is free, or whose file has the same bytes, is used. The name is durable after
    /// [`sync_directory`](Self::sync_directory).
    ///
    /// # Errors
    /// [`FileError::Disk`].
    pub(super) fn create(
        &self,
        now: UnixMillis,
        version: u32,
        content: impl Fn(u32) -> Result<Written, FileError>,
    ) -> Result<MinuteLine, FileError> {
        for version in version..version + NAMES {
            let Written { line, path, bytes } = content(version)?;
            let temporary = self.temporary(now, &bytes)?;
            let renamed = self.disk.rename_noreplace(&temporary, &path);
            let Err(error) = renamed else { return Ok(line) };
            let _ = self.disk.remove(&temporary);
            if error.kind() != io::ErrorKind::AlreadyExists {
                return Err(FileError::disk("rename to", &path)(error));
            }
            if self.disk.read(&path).map_err(FileError::disk("read", &path))? == bytes {
                // Written before a crash.
                return Ok(line);
            }
            tracing::warn!(
                file = path,
                "a file without a line in its manifest has other content; the next version is used"
            );
        }
        Err(FileError::Damaged { file: "the day".to_owned(), reason: format!("{NAMES} versions have no line") })
    }

    /// Creates the directory of a day, and makes its name durable.
    ///
    /// # Errors
    /// [`FileError::Disk`].
    pub(super) fn ensure_directory(&self, symbol: &Symbol, day: UnixMillis) -> Result<(), FileError> {
        let (outer, inner) = (calendar::symbol_directory(symbol), calendar::day_directory(symbol, day));
        for (directory, parent) in [(&outer, ""), (&inner, outer.as_str())] {
            if self.known().contains(directory) {
                continue;
            }
            self.disk.create_dir(directory).map_err(FileError::disk("create", directory))?;
            // Also if it was there: the replica that created it may have crashed.
            self.disk.fsync_dir(parent).map_err(FileError::disk("sync", parent))?;
            let mut known = self.known();
            if known.len() >= REMEMBERED {
                known.clear();
            }
            known.insert(directory.clone());
        }
        Ok(())
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashSet<String>> {
        self.durable.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the names in the directory of a day durable.
    ///
    /// # Errors
    /// [`FileError::Disk`].
    pub(super) fn sync_directory(&self, symbol: &Symbol, day: UnixMillis) -> Result<(), FileError> {
        let directory = calendar::day_directory(symbol, day);
        self.disk.fsync_dir(&directory).map_err(FileError::disk("sync", &directory))
    }

    /// Appends lines to the manifest of a day with one write, and makes them durable. An empty line separates them from what
    /// precedes: it may be torn, or have a line end that a failed sync has lost and a power cut will change.
    ///
    /// # Errors
    /// [`FileError::Disk`]; some of the lines may be there.
    pub(super) fn append(&self, symbol: &Symbol, day: UnixMillis, lines: &[Line]) -> Result<(), FileError> {
        let path = manifest_path(symbol, day);
        let write = || -> io::Result<bool> {
            let mut file = self.disk.open_append(&path)?;
            let is_new = file.length()? == 0;
            let mut text = if is_new { String::new() } else { "\n".to_owned() };
            text.extend(lines.iter().map(Line::text));
            write_all(&mut *file, text.as_bytes())?;
            file.fsync()?;
            Ok(is_new)
        };
        let is_new = write().map_err(FileError::disk("append to", &path))?;
        if is_new { self.sync_directory(symbol, day) } else { Ok(()) }
    }
}

fn manifest_path(symbol: &Symbol, day: UnixMillis) -> String {
    format!("{}/{}", calendar::day_directory(symbol, day), calendar::manifest_name(day))
}
