//! Reads minutes, and verifies files.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufRead as _, BufReader, Read as _};

use flate2::read::MultiGzDecoder;
use sha2::{Digest as _, Sha256};

use super::calendar;
use super::document;
use super::error::FileError;
use super::manifest::{MinuteLine, PackLine};
use super::store::{Files, digits, sha256};
use crate::clock::UnixMillis;
use crate::tape::{Minute, Symbol};

/// The longest line of a pack: several times the largest minute.
const MAX_LINE: u64 = 4 << 20;

/// What a verification says about a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FindingKind {
    Missing,
    /// No manifest names it.
    Extra,
    /// Its bytes have another hash.
    Hash,
    /// The hash agrees with the manifest, but the content is not the minute.
    Content,
    /// The manifest has lines that are not whole.
    Torn,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Below the directory.
    pub file: String,
    pub kind: FindingKind,
    pub detail: String,
}

impl Files {
    /// Reads one minute in the version of a line, and compares its hash.
    ///
    /// # Errors
    /// [`FileError::Missing`], [`FileError::Damaged`], or that of the directory.
    pub fn minute(&self, symbol: &Symbol, line: &MinuteLine) -> Result<Minute, FileError> {
        let mut read = self.minutes(symbol, &[line])?;
        read.pop().unwrap_or_else(|| Err(FileError::Missing { file: line.file.clone() }))
    }

    /// Reads minutes of one day, each in the version of its line. A file that is missing or damaged is looked for in the
    /// packs.
    ///
    /// # Errors
    /// [`FileError`] of the directory; the inner errors are those of files.
    pub fn minutes(&self, symbol: &Symbol, lines: &[&MinuteLine]) -> Result<Vec<Result<Minute, FileError>>, FileError> {
        let mut all = Vec::new();
        let mut absent: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (at, line) in lines.iter().enumerate() {
            let read = match self.document(symbol, line) {
                Ok(bytes) => decoded(symbol, line, &bytes),
                Err(error) if error.is_of_file() => Err(error),
                Err(error) => return Err(error),
            };
            if read.is_err() {
                absent.entry(line.content_hash()).or_default().push(at);
            }
            all.push(read);
        }
        // A pack may have been written since the manifest was read, and its files deleted.
        let packs = match lines.first() {
            Some(line) if !absent.is_empty() => self.day_with(symbol, calendar::day_of(line.minute), |_| false)?.packs,
            _ => Vec::new(),
        };
        for pack in packs.iter().rev() {
            if absent.is_empty() {
                break;
            }
            // A pack that cannot be read to its end may have the minute before the damage.
            let _ = self.each_of_pack(symbol, pack, |bytes, hash| {
                for at in absent.remove(hash).unwrap_or_default() {
                    if let (Some(line), Some(place)) = (lines.get(at), all.get_mut(at)) {
                        *place = decoded(symbol, line, bytes);
                    }
                }
                !absent.is_empty()
            });
        }
        Ok(all)
    }

    /// The content of a minute's own file.
    pub(super) fn document(&self, symbol: &Symbol, line: &MinuteLine) -> Result<Vec<u8>, FileError> {
        let path = format!("{}/{}", calendar::day_directory(symbol, calendar::day_of(line.minute)), line.file);
        let bytes = match self.disk.read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(FileError::Missing { file: path }),
            // A bad sector concerns one file.
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()) => {
                return Err(FileError::Damaged { file: path, reason: error.to_string() });
            }
            Err(error) => return Err(FileError::disk("read", &path)(error)),
        };
        let found = sha256(&bytes);
        if found == line.sha256 {
            return self
                .keys
                .open(&path, bytes)
                .map_err(|error| FileError::Damaged { file: path, reason: error.to_string() });
        }
        Err(FileError::Damaged { file: path, reason: format!("its SHA-256 is {found}, not {}", line.sha256) })
    }

    /// Calls `use_line` with each line of a pack and its hash, until it returns false.
    ///
    /// # Errors
    /// [`FileError::Missing`], [`FileError::Damaged`].
    pub(super) fn each_of_pack(
        &self,
        symbol: &Symbol,
        pack: &PackLine,
        mut use_line: impl FnMut(&[u8], &str) -> bool,
    ) -> Result<(), FileError> {
        let path = pack_path(symbol, pack)?;
        let damaged = |error: io::Error| FileError::Damaged { file: path.clone(), reason: error.to_string() };
        let file = self.disk.open(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => FileError::Missing { file: path.clone() },
            _ => damaged(error),
        })?;
        let opened = self.keys.reader(BufReader::new(file), &binding(&path)).map_err(damaged)?;
        let mut reader = BufReader::new(MultiGzDecoder::new(BufReader::new(opened)));
        let mut line = Vec::new();
        loop {
            line.clear();
            let read = reader.by_ref().take(MAX_LINE).read_until(b'\n', &mut line).map_err(damaged)?;
            if read == 0 || !use_line(&line, &sha256(&line)) {
                return Ok(());
            }
        }
    }

    /// Compares all files of a day with its manifest.
    ///
    /// # Errors
    /// [`FileError`] of the directory.
    pub fn verify(&self, symbol: &Symbol, date: UnixMillis) -> Result<Vec<Finding>, FileError> {
        self.check()?;
        let day = self.day(symbol, date)?;
        let directory = calendar::day_directory(symbol, date);
        let mut findings = Vec::new();
        let mut find =
            |file: &str, kind, detail: String| findings.push(Finding { file: file.to_owned(), kind, detail });
        let manifest = format!("{directory}/{}", calendar::manifest_name(date));
        if day.torn > 0 {
            find(&manifest, FindingKind::Torn, format!("{} lines are not whole", day.torn));
        }
        let names = self.names_in(&directory)?;
        let mut packed = BTreeSet::new();
        for pack in day.packs.iter().filter(|_| day.deleted_at.is_none()) {
            let is_latest = day.packs.iter().all(|other| other.version <= pack.version);
            let path = pack_path(symbol, pack)?;
            match self.hash_of(&path) {
                Ok(hash) if hash == pack.sha256 => {}
                Ok(hash) => find(&path, FindingKind::Hash, format!("its SHA-256 is {hash}, not {}", pack.sha256)),
                Err(FileError::Missing { .. }) if !is_latest => continue,
                Err(FileError::Missing { file }) => {
                    find(&file, FindingKind::Missing, "the manifest names it".to_owned());
                }
                Err(FileError::Damaged { file, reason }) => find(&file, FindingKind::Hash, reason),
                Err(error) => return Err(error),
            }
            let read = self.each_of_pack(symbol, pack, |bytes, hash| {
                packed.insert(hash.to_owned());
                if let Err(reason) = document::decode(bytes) {
                    find(&path, FindingKind::Content, reason);
                }
                true
            });
            if let Err(FileError::Damaged { file, reason }) = read {
                find(&file, FindingKind::Content, reason);
            }
        }
        for table in day.tables.iter().filter(|_| day.deleted_at.is_none()) {
            let is_latest = day.tables.iter().all(|other| other.version <= table.version);
            let path = pack_path(symbol, table)?;
            match self.hash_of(&path) {
                Ok(hash) if hash == table.sha256 => {}
                Ok(hash) => find(&path, FindingKind::Hash, format!("its SHA-256 is {hash}, not {}", table.sha256)),
                Err(FileError::Missing { .. }) if !is_latest => {}
                Err(FileError::Missing { file }) => {
                    find(&file, FindingKind::Missing, "the manifest names it".to_owned());
                }
                Err(FileError::Damaged { file, reason }) => find(&file, FindingKind::Hash, reason),
                Err(error) => return Err(error),
            }
        }
        for line in day.minutes.values().flatten().filter(|_| day.deleted_at.is_none()) {
            match self.document(symbol, line) {
                Ok(bytes) => {
                    if let Err(FileError::Damaged { file, reason }) = decoded(symbol, line, &bytes) {
                        find(&file, FindingKind::Content, reason);
                    }
                }
                Err(FileError::Missing { .. }) if packed.contains(line.content_hash()) => {}
                Err(FileError::Missing { file }) => {
                    find(&file, FindingKind::Missing, "the manifest names it".to_owned());
                }
                Err(FileError::Damaged { file, reason }) => find(&file, FindingKind::Hash, reason),
                Err(error) => return Err(error),
            }
        }
        let known: BTreeSet<&str> = day
            .minutes
            .values()
            .flatten()
            .map(|line| line.file.as_str())
            .chain(day.packs_and_tables().map(|pack| pack.file.as_str()))
            .collect();
        for name in names.iter().filter(|name| name.starts_with("trades_") && !known.contains(name.as_str())) {
            find(&format!("{directory}/{name}"), FindingKind::Extra, "no line of the manifest names it".to_owned());
        }
        Ok(findings)
    }

    /// The SHA-256 of a file of any size.
    pub(super) fn hash_of(&self, path: &str) -> Result<String, FileError> {
        let damaged = |error: io::Error| FileError::Damaged { file: path.to_owned(), reason: error.to_string() };
        let mut file = self.disk.open(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => FileError::Missing { file: path.to_owned() },
            _ => damaged(error),
        })?;
        let (mut hash, mut buffer) = (Sha256::new(), vec![0; 65_536]);
        loop {
            let read = file.read(&mut buffer).map_err(damaged)?;
            if read == 0 {
                return Ok(digits(hash));
            }
            hash.update(buffer.get(..read).unwrap_or_default());
        }
    }
}

pub(super) fn pack_path(symbol: &Symbol, pack: &PackLine) -> Result<String, FileError> {
    let name = pack.file.strip_prefix("trades_").and_then(|rest| rest.get(..8)).unwrap_or_default();
    let (year, month, date) = (name.get(..4), name.get(4..6), name.get(6..8));
    let (Some(year), Some(month), Some(date)) = (year, month, date) else {
        return Err(FileError::Damaged { file: pack.file.clone(), reason: "it is not the name of a pack".to_owned() });
    };
    Ok(format!("{}/{year}-{month}-{date}/{}", calendar::symbol_directory(symbol), pack.file))
}

/// What the content of an encrypted file is bound to: its path; for a pack its day, since the version is chosen last.
pub fn binding(path: &str) -> String {
    let (directory, name) = path.rsplit_once('/').unwrap_or_default();
    if name.contains(".gz") { format!("{directory}/pack") } else { path.to_owned() }
}

/// The minute in bytes whose hash agrees with the line.
fn decoded(symbol: &Symbol, line: &MinuteLine, bytes: &[u8]) -> Result<Minute, FileError> {
    let damaged = |reason: String| FileError::Damaged { file: line.file.clone(), reason };
    let (heading, trades) = document::decode(bytes).map_err(damaged)?;
    if (&heading.symbol, heading.minute, heading.version) != (symbol, line.minute, line.version) {
        return Err(damaged("it is the file of another minute".to_owned()));
    }
    Ok(trades)
}
