//! Days as one file, the end of days, and `SHA256SUMS`.

use std::collections::BTreeSet;
use std::io::{self, Write as _};

use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest as _, Sha256};

use super::calendar;
use super::disk::{DiskFile, write_all};
use super::error::FileError;
use super::manifest::{Day, Line, PackLine};
use super::reading::{binding, pack_path};
use super::sealed::ENCRYPTED;
use super::store::{Files, TEMPORARY, digits};
use crate::clock::UnixMillis;
use crate::random::unique_text;
use crate::tape::Symbol;

/// The checksums of the files of a day, for `sha256sum -c`.
const SUMS: &str = "SHA256SUMS";

/// A file of this name keeps a day permanently.
const HOLD: &str = "HOLD";

/// How long late versions wait until the day is packed again, milliseconds.
const REPACK: i64 = 7 * calendar::DAY;

/// What packing a day did, or would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PackOutcome {
    /// There is nothing to pack.
    Nothing,
    /// So many minute files are in the pack; they are deleted.
    Packed { file: String, minutes: usize },
    /// A file cannot be read; all files stay.
    Unreadable { file: String },
}

/// What retention did with a day, or would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RetentionOutcome {
    Deleted {
        files: usize,
    },
    /// Why the day stays.
    Kept(&'static str),
}

impl Files {
    /// Packs a day: all minute files and the last pack become one file, which is read back before anything is deleted. A day
    /// that has a pack is packed again once its late versions are a week old.
    ///
    /// # Errors
    /// [`FileError`] of the directory; nothing was deleted that is not in a durable pack.
    pub fn pack(
        &self,
        symbol: &Symbol,
        date: UnixMillis,
        now: UnixMillis,
        dry_run: bool,
    ) -> Result<PackOutcome, FileError> {
        self.check()?;
        let day = self.day(symbol, date)?;
        let names = self.names(symbol, date)?;
        let lines: Vec<_> = day.minutes.values().flatten().collect();
        let loose: Vec<_> = lines.iter().filter(|line| names.contains(&line.file)).copied().collect();
        let last = day.packs.iter().max_by_key(|pack| pack.version);
        let newest = loose.iter().map(|line| line.written_at).max();
        let Some(newest) = newest else {
            // A day may have been packed before there were tables.
            self.write_table(symbol, date, now, dry_run)?;
            return Ok(PackOutcome::Nothing);
        };
        // Files that a crash left beside their pack are deleted at once.
        if let Some(pack) = last {
            let contained = match self.contents(symbol, pack) {
                Ok(hashes) => hashes,
                Err(FileError::Missing { file } | FileError::Damaged { file, .. }) => {
                    return Ok(PackOutcome::Unreadable { file });
                }
                Err(error) => return Err(error),
            };
            if loose.iter().all(|line| contained.contains(line.content_hash())) {
                self.write_table(symbol, date, now, dry_run)?;
                if !dry_run {
                    self.delete_loose(symbol, date, &day)?;
                }
                return Ok(PackOutcome::Packed { file: pack.file.clone(), minutes: contained.len() });
            }
            if now - newest < REPACK {
                return Ok(PackOutcome::Nothing);
            }
        }
        let version = last.map_or(1, |pack| pack.version + 1);
        if dry_run {
            return Ok(PackOutcome::Packed { file: self.pack_name(date, version), minutes: lines.len() });
        }
        match self.write_pack(symbol, date, &day, last, now, version) {
            Ok(pack) => {
                self.append(symbol, date, &[Line::Pack(pack.clone())])?;
                self.write_table(symbol, date, now, dry_run)?;
                let day = self.day(symbol, date)?;
                self.delete_loose(symbol, date, &day)?;
                self.write_sums(symbol, date, now)?;
                Ok(PackOutcome::Packed { file: pack.file, minutes: pack.minutes })
            }
            Err(FileError::Missing { file } | FileError::Damaged { file, .. }) => Ok(PackOutcome::Unreadable { file }),
            Err(error) => Err(error),
        }
    }

    /// Writes the last pack as a table, too, if that is configured.
    #[cfg(feature = "parquet")]
    fn write_table(&self, symbol: &Symbol, date: UnixMillis, now: UnixMillis, dry_run: bool) -> Result<(), FileError> {
        if self.has_tables && !dry_run { self.ensure_table(symbol, date, now) } else { Ok(()) }
    }

    #[cfg(not(feature = "parquet"))]
    #[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "the feature needs them")]
    fn write_table(&self, _: &Symbol, _: UnixMillis, _: UnixMillis, _: bool) -> Result<(), FileError> {
        Ok(())
    }

    /// Writes a pack under its name, durable and read back.
    fn write_pack(
        &self,
        symbol: &Symbol,
        date: UnixMillis,
        day: &Day,
        last: Option<&PackLine>,
        now: UnixMillis,
        version: u32,
    ) -> Result<PackLine, FileError> {
        let path = format!("{TEMPORARY}/{now}-{}", unique_text());
        let written = self.fill_pack(symbol, date, day, last, &path);
        let pack = written.and_then(|(sha256, bytes)| {
            let mut pack = PackLine {
                file: String::new(),
                version,
                minutes: day.minutes.values().map(Vec::len).sum(),
                bytes,
                sha256,
                written_at: now,
                writer: self.writer.clone(),
            };
            if self.hash_of(&path)? != pack.sha256 {
                return Err(FileError::Damaged {
                    file: path.clone(),
                    reason: "it was read back differently".to_owned(),
                });
            }
            let name = |version| self.pack_name(date, version);
            (pack.version, pack.file) = self.place(symbol, date, &path, &pack.sha256, version, name)?;
            // Each minute file is compared with the pack under its final name.
            let contents = self.contents(symbol, &pack)?;
            if day.minutes.values().flatten().any(|line| !contents.contains(line.content_hash())) {
                return Err(FileError::Damaged { file: pack.file, reason: "it lacks a minute".to_owned() });
            }
            Ok(pack)
        });
        if pack.is_err() {
            let _ = self.disk.remove(&path);
        }
        pack
    }

    /// Gives a temporary file a durable name: that of the first version, from `version` on, which is free or has the same
    /// content. Such a file without a line is from before a crash. Returns the version and the name.
    pub(super) fn place(
        &self,
        symbol: &Symbol,
        date: UnixMillis,
        temporary: &str,
        sha256: &str,
        version: u32,
        name: impl Fn(u32) -> String,
    ) -> Result<(u32, String), FileError> {
        let directory = calendar::day_directory(symbol, date);
        for version in version..version + 64 {
            let file = name(version);
            let path = format!("{directory}/{file}");
            match self.disk.rename_noreplace(temporary, &path) {
                Ok(()) => {}
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(FileError::disk("rename to", &path)(error));
                }
                Err(_) if self.hash_of(&path)? != sha256 => continue,
                Err(_) => {
                    let _ = self.disk.remove(temporary);
                }
            }
            self.sync_directory(symbol, date)?;
            return Ok((version, file));
        }
        Err(FileError::Damaged { file: name(version), reason: "64 versions have no line".to_owned() })
    }

    /// Writes all minutes of a day to a temporary file. Returns its hash and length.
    fn fill_pack(
        &self,
        symbol: &Symbol,
        date: UnixMillis,
        day: &Day,
        last: Option<&PackLine>,
        path: &str,
    ) -> Result<(String, u64), FileError> {
        let file = self.disk.create_new(path).map_err(FileError::disk("create", path))?;
        let hashed = Hashed::new(file);
        let bound = binding(&format!("{}/.gz", calendar::day_directory(symbol, date)));
        let sealed = self.keys.writer(hashed, &bound, b"").map_err(FileError::disk("write", path))?;
        let mut packed = GzEncoder::new(sealed, Compression::default());
        // The earlier pack first: it has what is no longer a file.
        let mut done = BTreeSet::new();
        let mut failure = Ok(());
        if let Some(last) = last {
            self.each_of_pack(symbol, last, |bytes, hash| {
                done.insert(hash.to_owned());
                failure = packed.write_all(bytes);
                failure.is_ok()
            })?;
        }
        failure.map_err(FileError::disk("write", path))?;
        for line in day.minutes.values().flatten() {
            if done.insert(line.content_hash().clone()) {
                let bytes = self.document(symbol, line)?;
                packed.write_all(&bytes).map_err(FileError::disk("write", path))?;
            }
        }
        let finish = || packed.finish()?.finish()?.finish();
        finish().map_err(FileError::disk("write", path))
    }

    fn pack_name(&self, date: UnixMillis, version: u32) -> String {
        calendar::pack_name(date, version) + if self.keys.encrypts() { ENCRYPTED } else { "" }
    }

    /// The hashes of the minutes in a pack, which is read to its end.
    fn contents(&self, symbol: &Symbol, pack: &PackLine) -> Result<BTreeSet<String>, FileError> {
        let mut hashes = BTreeSet::new();
        self.each_of_pack(symbol, pack, |_, hash| {
            hashes.insert(hash.to_owned());
            true
        })?;
        Ok(hashes)
    }

    /// Deletes the minute files and earlier packs that the last pack contains.
    fn delete_loose(&self, symbol: &Symbol, date: UnixMillis, day: &Day) -> Result<(), FileError> {
        let Some(last) = day.packs.iter().max_by_key(|pack| pack.version) else { return Ok(()) };
        if self.hash_of(&pack_path(symbol, last)?)? != last.sha256 {
            return Err(FileError::Damaged { file: last.file.clone(), reason: "it has another hash".to_owned() });
        }
        let contained = self.contents(symbol, last)?;
        let names = self.names(symbol, date)?;
        let loose = day
            .minutes
            .values()
            .flatten()
            .filter(|line| contained.contains(line.content_hash()))
            .map(|line| &line.file);
        let earlier = day.packs.iter().filter(|pack| pack.version < last.version).map(|pack| &pack.file);
        let table = day.tables.iter().map(|table| table.version).max();
        let earlier = earlier.chain(day.tables.iter().filter(|of| Some(of.version) < table).map(|of| &of.file));
        for file in loose.chain(earlier).filter(|file| names.contains(*file)) {
            self.delete(symbol, date, file)?;
        }
        self.sync_directory(symbol, date)
    }

    fn delete(&self, symbol: &Symbol, date: UnixMillis, file: &str) -> Result<(), FileError> {
        let path = format!("{}/{file}", calendar::day_directory(symbol, date));
        match self.disk.remove(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(FileError::disk("remove", &path)(error)),
            _ => Ok(()),
        }
    }

    fn names(&self, symbol: &Symbol, date: UnixMillis) -> Result<BTreeSet<String>, FileError> {
        self.names_in(&calendar::day_directory(symbol, date))
    }

    /// Writes `SHA256SUMS` of a day, unless it is up to date.
    ///
    /// # Errors
    /// [`FileError`] of the directory.
    pub fn write_sums(&self, symbol: &Symbol, date: UnixMillis, now: UnixMillis) -> Result<(), FileError> {
        let day = self.day(symbol, date)?;
        let names = self.names(symbol, date)?;
        let minutes = day.minutes.values().flatten().map(|line| (&line.file, &line.sha256));
        let packs = day.packs_and_tables().map(|pack| (&pack.file, &pack.sha256));
        let present = minutes.chain(packs).filter(|(file, _)| names.contains(*file));
        let mut text = String::new();
        for (file, hash) in present {
            text.extend([hash, "  ", file, "\n"]);
        }
        let path = format!("{}/{SUMS}", calendar::day_directory(symbol, date));
        if text.is_empty() || self.disk.read(&path).is_ok_and(|known| known == text.as_bytes()) {
            return Ok(());
        }
        let temporary = self.temporary(now, text.as_bytes())?;
        self.disk.replace(&temporary, &path).map_err(|error| {
            let _ = self.disk.remove(&temporary);
            FileError::disk("rename to", &path)(error)
        })?;
        self.sync_directory(symbol, date)
    }

    /// Deletes the files of a day, which must be packed, verified and, if there is a store for copies, copied there. The manifest
    /// stays, and says when.
    ///
    /// # Errors
    /// [`FileError`] of the directory.
    pub fn expire(
        &self,
        symbol: &Symbol,
        date: UnixMillis,
        now: UnixMillis,
        copied_to: Option<&str>,
        dry_run: bool,
    ) -> Result<RetentionOutcome, FileError> {
        self.check()?;
        let day = self.day(symbol, date)?;
        let names = self.names(symbol, date)?;
        if names.contains(HOLD) {
            return Ok(RetentionOutcome::Kept("it has a file HOLD"));
        }
        let is_loose = day.minutes.values().flatten().any(|line| names.contains(&line.file));
        if is_loose || (day.packs.is_empty() && !day.minutes.is_empty()) {
            return Ok(RetentionOutcome::Kept("it is not packed"));
        }
        if !names.iter().any(|name| name.starts_with("trades_")) {
            return Ok(RetentionOutcome::Kept("it has no files"));
        }
        let is_copied = |to: &str| {
            let last = day.packs.iter().max_by_key(|pack| pack.version);
            last.is_none_or(|last| day.copies.contains(&(last.file.clone(), to.to_owned())))
        };
        if !copied_to.is_none_or(is_copied) {
            return Ok(RetentionOutcome::Kept("it is not copied"));
        }
        // A deletion that was interrupted goes on.
        if day.deleted_at.is_none() {
            if !self.verify(symbol, date)?.is_empty() {
                return Ok(RetentionOutcome::Kept("its files are damaged"));
            }
            if !dry_run {
                self.append(symbol, date, &[Line::Deleted { deleted_at: now }])?;
            }
        }
        let files: Vec<&String> =
            day.packs_and_tables().map(|pack| &pack.file).filter(|file| names.contains(*file)).collect();
        if !dry_run {
            for file in &files {
                self.delete(symbol, date, file)?;
            }
            self.delete(symbol, date, SUMS)?;
            self.sync_directory(symbol, date)?;
        }
        Ok(RetentionOutcome::Deleted { files: files.len() })
    }
}

/// Writes to a file and hashes what it writes.
pub(super) struct Hashed {
    file: Box<dyn DiskFile>,
    hash: Sha256,
    length: u64,
}

impl Hashed {
    pub(super) fn new(file: Box<dyn DiskFile>) -> Self {
        Self { file, hash: Sha256::new(), length: 0 }
    }

    /// Makes the file durable. Returns its hash and length.
    pub(super) fn finish(mut self) -> io::Result<(String, u64)> {
        self.file.fsync()?;
        Ok((digits(self.hash), self.length))
    }
}

impl io::Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        write_all(&mut *self.file, bytes)?;
        self.hash.update(bytes);
        self.length += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
