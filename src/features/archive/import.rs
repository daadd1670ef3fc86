//! `trades import`: brings the files of the system that this service replaces into the archive.
//!
//! The source is only read. Minutes that the archive or the window already has stay as they are, so a second import changes
//! nothing, and an interrupted one goes on.

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use jiff::tz::TimeZone;
use serde::Serialize;

use super::files::calendar::{DAY, day_of};
use super::files::disk::RealDisk;
use super::files::original::{self, Dating, Remark};
use super::files::{FileError, Files, Imported, sha256};
use super::key_file::encryption_keys;
use super::window::WindowReader;
use crate::clock::{Clock, UnixMillis};
use crate::config::archive::ArchiveConfig;
use crate::config::{Config, ConfigError, FieldError};
use crate::redis::{Redis, RedisFault};
use crate::tape::{MINUTE, Symbol};

/// The largest file that is read: many times the largest minute.
const MAX_FILE: u64 = 8 << 20;

/// The most minutes that are in memory at a time.
const BATCH: usize = 1_440;

/// An import, ready to run.
#[derive(Debug)]
pub struct Import {
    window: WindowReader,
    files: Files,
    config: ArchiveConfig,
    clock: Clock,
}

/// What to import.
#[derive(Debug)]
pub struct Source {
    /// The directory with the files, which may be in subdirectories.
    pub dir: PathBuf,
    pub symbol: Symbol,
    /// The time zone of the files.
    pub zone: TimeZone,
    /// Read, and change nothing.
    pub dry_run: bool,
}

/// Why an import stopped. It can be run again.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    #[error("archive.dir is not set")]
    NoArchive,
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Keys(#[from] FieldError),
    #[error("the archive: {0}")]
    Files(#[from] FileError),
    #[error("the archive has less than archive.min_free of free space")]
    NoSpace,
    #[error("`{}`: {source}", path.display())]
    Source { path: PathBuf, source: io::Error },
    #[error("Redis: {0}")]
    Redis(#[from] RedisFault),
}

/// What became of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    Imported,
    /// An earlier import has it.
    Known,
    Skipped {
        reason: String,
    },
}

/// What is reported about a file.
#[derive(Debug, Serialize)]
pub struct ImportedFile {
    /// Below the directory.
    pub file: String,
    #[serde(flatten)]
    pub outcome: Outcome,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub remarks: BTreeSet<Remark>,
}

/// The numbers of files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ImportCounts {
    pub read: u64,
    pub imported: u64,
    pub known: u64,
    /// Those of the imported and known ones that have remarks.
    pub flagged: u64,
    pub skipped: u64,
}

/// A file that can be imported.
pub(super) struct Candidate {
    file: String,
    pub minute: Imported,
    remarks: BTreeSet<Remark>,
}

impl Import {
    /// # Errors
    /// [`ImportError`] if there is no archive, or its directory cannot be used.
    pub fn new(redis: Redis, config: &Config, clock: Clock) -> Result<Self, ImportError> {
        let config: ArchiveConfig = config.section()?;
        if !config.has_directory() {
            return Err(ImportError::NoArchive);
        }
        let files = Files::open(Arc::new(RealDisk::new(&config.dir)), encryption_keys(&config)?, clock.now())?;
        Ok(Self { window: WindowReader { redis }, files, config, clock })
    }

    /// Imports the files of a directory. `report` is called for each file that is skipped or has remarks.
    ///
    /// # Errors
    /// [`ImportError`]; what was imported stays.
    pub async fn run(
        &self,
        source: &Source,
        report: &mut impl FnMut(&ImportedFile),
    ) -> Result<ImportCounts, ImportError> {
        let mut counts = ImportCounts::default();
        let mut dating = Dating::new(source.zone.clone());
        let mut batch: Vec<Candidate> = Vec::new();
        let mut finish = |counts: &mut ImportCounts, done: ImportedFile| {
            counts.read += 1;
            match done.outcome {
                Outcome::Imported => counts.imported += 1,
                Outcome::Known => counts.known += 1,
                Outcome::Skipped { .. } => counts.skipped += 1,
            }
            let is_flagged = !done.remarks.is_empty();
            counts.flagged += u64::from(is_flagged && !matches!(done.outcome, Outcome::Skipped { .. }));
            if is_flagged || matches!(done.outcome, Outcome::Skipped { .. }) {
                report(&done);
            }
        };
        for file in names(&source.dir)? {
            match candidate(source, &mut dating, &file) {
                Ok(candidate) => {
                    let is_next =
                        batch.last().is_some_and(|last| day_of(last.minute.minute) != day_of(candidate.minute.minute));
                    if is_next || batch.len() == BATCH {
                        for done in self.store(source, std::mem::take(&mut batch)).await? {
                            finish(&mut counts, done);
                        }
                    }
                    batch.push(candidate);
                }
                Err(reason) => {
                    let outcome = Outcome::Skipped { reason };
                    finish(&mut counts, ImportedFile { file, outcome, remarks: BTreeSet::new() });
                }
            }
        }
        for done in self.store(source, batch).await? {
            finish(&mut counts, done);
        }
        Ok(counts)
    }

    /// Stores minutes of one day.
    async fn store(&self, source: &Source, batch: Vec<Candidate>) -> Result<Vec<ImportedFile>, ImportError> {
        let Some(first) = batch.first() else { return Ok(Vec::new()) };
        let [free, _] = self.files.space()?;
        if free < self.config.min_free.bytes() {
            return Err(ImportError::NoSpace);
        }
        let (symbol, day, now) = (&source.symbol, day_of(first.minute.minute), self.clock.now());
        let keys = self.window.keys(symbol);
        let hot: HashSet<UnixMillis> =
            self.window.minutes(&keys.index, day, day + DAY, BATCH).await?.into_iter().collect();
        let known = self.files.day(symbol, day)?;
        let (mut new, mut seen, mut done) = (Vec::new(), HashSet::new(), Vec::new());
        for Candidate { file, minute: imported, remarks } in batch {
            let minute = imported.minute;
            let versions = known.versions(minute);
            let skipped = |reason: &str| Outcome::Skipped { reason: reason.to_owned() };
            let outcome = if versions.iter().any(|line| line.parent.as_ref() == Some(&imported.parent)) {
                Outcome::Known
            } else if !versions.is_empty() {
                skipped("the archive has another file of the minute")
            } else if hot.contains(&minute) {
                skipped("the minute is in Redis: the service recorded its trades")
            } else if minute + MINUTE > now {
                skipped("the minute is not over")
            } else if !seen.insert(minute) {
                skipped("a file before it has the same minute")
            } else {
                new.push(imported);
                Outcome::Imported
            };
            done.push(ImportedFile { file, outcome, remarks });
        }
        if !source.dry_run && !new.is_empty() {
            self.files.import(symbol, day, new, now)?;
        }
        Ok(done)
    }
}

/// The files of a directory and of its subdirectories, in the order of their own names: that of their local times.
pub(super) fn names(dir: &Path) -> Result<Vec<String>, ImportError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| ImportError::Source { path, source }
    };
    let mut all: Vec<(String, String)> = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        let path = dir.join(&folder);
        for entry in fs::read_dir(&path).map_err(failed(&path))? {
            let entry = entry.map_err(failed(&path))?;
            let name = entry.file_name();
            let below = folder.join(&name);
            // A link is not followed: it might lead in a circle.
            if entry.file_type().map_err(failed(&path))?.is_dir() {
                folders.push(below);
            } else {
                all.push((name.to_string_lossy().into_owned(), below.to_string_lossy().into_owned()));
            }
        }
    }
    all.sort();
    Ok(all.into_iter().map(|(_, below)| below).collect())
}

/// The name of a file without those of its directories.
pub(super) fn name_of(file: &str) -> &str {
    file.rsplit('/').next().unwrap_or_default()
}

/// Reads a file of the source.
///
/// # Errors
/// Why it is skipped.
pub(super) fn candidate(source: &Source, dating: &mut Dating, file: &str) -> Result<Candidate, String> {
    let path = source.dir.join(file);
    let name = name_of(file);
    if !(name.starts_with("trades_") && Path::new(name).extension().is_some_and(|end| end == "json")) {
        return Err("its name is not that of a minute".to_owned());
    }
    let read = || -> io::Result<(Vec<u8>, UnixMillis)> {
        let opened = fs::File::open(&path)?;
        let changed = opened.metadata()?.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut bytes = Vec::new();
        opened.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
        Ok((bytes, i64::try_from(changed.as_millis()).unwrap_or(i64::MAX)))
    };
    let (bytes, changed) = read().map_err(|error| error.to_string())?;
    if bytes.is_empty() {
        return Err("is empty".to_owned());
    }
    if bytes.len() as u64 > MAX_FILE {
        return Err("is too large".to_owned());
    }
    let read = original::parse(&bytes, &source.symbol)?;
    let mut remarks = read.remarks;
    let minute = dating.minute(&read.time, changed, &mut remarks)?;
    if !dating.is_name_of(name, &read.time) {
        remarks.insert(Remark::Name);
    }
    let mut trades = read.trades;
    (trades.candle.first, trades.candle.last) = (minute, minute);
    Ok(Candidate { file: file.to_owned(), minute: Imported { minute, trades, parent: sha256(&bytes) }, remarks })
}
