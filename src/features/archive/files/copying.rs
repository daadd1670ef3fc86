//! What of a day a store must get a copy of, and what comes back from there.

use super::calendar;
use super::error::FileError;
use super::manifest::{Line, PackLine};
use super::reading::pack_path;
use super::store::{Files, sha256};
use crate::clock::UnixMillis;
use crate::tape::Symbol;

/// Files of a day, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CopyWork {
    /// Those that the store must get.
    pub copy: Vec<String>,
    /// Those that are missing here or, if their content was checked, damaged.
    pub restore: Vec<String>,
}

/// The copy of a manifest is that of the time of its pack.
const MANIFEST: &str = ".manifest";

impl Files {
    /// What is to be done for a day and a store. `checks` reads all packs.
    ///
    /// # Errors
    /// [`FileError`] of the directory.
    pub fn copy_work(&self, symbol: &Symbol, date: UnixMillis, to: &str, checks: bool) -> Result<CopyWork, FileError> {
        self.check()?;
        let day = self.day(symbol, date)?;
        let mut work = CopyWork::default();
        if day.deleted_at.is_some() {
            return Ok(work);
        }
        let names = self.names_in(&calendar::day_directory(symbol, date))?;
        for list in [&day.packs, &day.tables] {
            let Some(last) = list.iter().max_by_key(|line| line.version) else { continue };
            let is_copied = day.copies.contains(&(last.file.clone(), to.to_owned()));
            let is_here = names.contains(&last.file);
            // One that the store has not got is a matter of verification.
            let is_damaged = || match self.hash_of(&pack_path(symbol, last)?) {
                Ok(hash) => Ok(hash != last.sha256),
                Err(error) if error.is_of_file() => Ok(true),
                Err(error) => Err(error),
            };
            if is_copied && (!is_here || (checks && is_damaged()?)) {
                work.restore.push(last.file.clone());
            } else if is_here && !is_copied {
                work.copy.push(last.file.clone());
            }
        }
        Ok(work)
    }

    /// The content of a pack, and the manifest of its day.
    ///
    /// # Errors
    /// [`FileError`]; [`FileError::Damaged`] if the pack has another hash.
    pub fn copy_of(&self, symbol: &Symbol, date: UnixMillis, file: &str) -> Result<[(String, Vec<u8>); 2], FileError> {
        let line = self.line_of(symbol, date, file)?;
        let directory = calendar::day_directory(symbol, date);
        let read = |name: &str| {
            let path = format!("{directory}/{name}");
            self.disk.read(&path).map_err(FileError::disk("read", &path))
        };
        let bytes = read(file)?;
        agree(&line, &bytes)?;
        let manifest = read(&calendar::manifest_name(date))?;
        Ok([(format!("{directory}/{file}{MANIFEST}"), manifest), (format!("{directory}/{file}"), bytes)])
    }

    /// Notes that a store has a file.
    ///
    /// # Errors
    /// [`FileError`] of the directory.
    pub fn note_copy(
        &self,
        symbol: &Symbol,
        date: UnixMillis,
        file: String,
        to: String,
        now: UnixMillis,
    ) -> Result<(), FileError> {
        self.append(symbol, date, &[Line::Copied { file, to, copied_at: now }])
    }

    /// Puts a pack back, if its content is the one that was written. What had its name was damaged.
    ///
    /// # Errors
    /// [`FileError`]; nothing was changed.
    pub fn restore(
        &self,
        symbol: &Symbol,
        date: UnixMillis,
        file: &str,
        bytes: &[u8],
        now: UnixMillis,
    ) -> Result<(), FileError> {
        self.check()?;
        agree(&self.line_of(symbol, date, file)?, bytes)?;
        let path = format!("{}/{file}", calendar::day_directory(symbol, date));
        let temporary = self.temporary(now, bytes)?;
        self.disk.replace(&temporary, &path).map_err(|error| {
            let _ = self.disk.remove(&temporary);
            FileError::disk("rename to", &path)(error)
        })?;
        self.sync_directory(symbol, date)
    }

    fn line_of(&self, symbol: &Symbol, date: UnixMillis, file: &str) -> Result<PackLine, FileError> {
        let day = self.day(symbol, date)?;
        let line = day.packs_and_tables().find(|line| line.file == file).filter(|_| day.deleted_at.is_none());
        line.cloned().ok_or_else(|| FileError::Missing { file: file.to_owned() })
    }
}

fn agree(line: &PackLine, bytes: &[u8]) -> Result<(), FileError> {
    let found = sha256(bytes);
    if found == line.sha256 {
        return Ok(());
    }
    Err(FileError::Damaged { file: line.file.clone(), reason: format!("its SHA-256 is {found}, not {}", line.sha256) })
}
