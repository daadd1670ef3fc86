//! Directories of the system that this service replaces, as a read-only source of minutes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::files::FileError;
use super::files::calendar::{DAY, day_of_file};
use super::files::original::Dating;
use super::import::{ImportError, Source, candidate, name_of, names};
use crate::clock::UnixMillis;
use crate::config::archive::ArchiveConfig;
use crate::tape::{Minute, Symbol};

/// How long the names in a directory are kept.
const NAMES_AGE: Duration = Duration::from_secs(600);

/// The days that are kept, each with up to 1,440 minutes.
const DAYS: usize = 8;

type Minutes = Arc<BTreeMap<UnixMillis, Minute>>;

/// The names in a directory, and when they were read.
type Listed = (Instant, Arc<Vec<String>>);

#[derive(Debug, Default)]
pub(super) struct Originals {
    sources: Vec<(Source, Mutex<Option<Listed>>)>,
    days: Mutex<VecDeque<((Symbol, UnixMillis), Minutes)>>,
}

impl Originals {
    pub(super) fn new(config: &ArchiveConfig) -> Self {
        let sources = config.legacy.iter().filter_map(|legacy| {
            let (dir, zone) = (legacy.dir.clone(), legacy.timezone.0.clone());
            // The configuration was validated.
            let symbol = Symbol::try_from(legacy.symbol.clone()).ok()?;
            Some((Source { dir, symbol, zone, dry_run: true }, Mutex::default()))
        });
        Self { sources: sources.collect(), days: Mutex::default() }
    }

    /// The days of a range on which there may be minutes.
    ///
    /// # Errors
    /// [`FileError::Disk`] if a directory cannot be read.
    pub(super) fn days(&self, symbol: &Symbol, range: &Range<UnixMillis>) -> Result<BTreeSet<UnixMillis>, FileError> {
        let mut days = BTreeSet::new();
        for (source, listed) in self.sources.iter().filter(|(source, _)| source.symbol == *symbol) {
            for file in files(source, listed)?.iter() {
                // Local days overlap three days in UTC.
                let date = day_of_file(name_of(file));
                days.extend(date.into_iter().flat_map(|date| [date - DAY, date, date + DAY]));
            }
        }
        days.retain(|day| day + DAY > range.start && *day < range.end);
        Ok(days)
    }

    /// The minutes of a day of a symbol. Files that cannot be read are left out and logged.
    ///
    /// # Errors
    /// [`FileError::Disk`] if a directory cannot be read.
    pub(super) fn day(&self, symbol: &Symbol, date: UnixMillis) -> Result<Minutes, FileError> {
        let mut sources = self.sources.iter().filter(|(source, _)| source.symbol == *symbol).peekable();
        if sources.peek().is_none() {
            return Ok(Minutes::default());
        }
        let key = (symbol.clone(), date);
        if let Some((_, known)) = lock(&self.days).iter().find(|(known, _)| *known == key) {
            return Ok(Arc::clone(known));
        }
        let mut minutes = BTreeMap::new();
        for (source, listed) in sources {
            let mut dating = Dating::new(source.zone.clone());
            for file in files(source, listed)?.iter() {
                if day_of_file(name_of(file)).is_none_or(|day| (day - date).abs() > DAY) {
                    continue;
                }
                match candidate(source, &mut dating, file) {
                    Ok(found) if (date..date + DAY).contains(&found.minute.minute) => {
                        minutes.entry(found.minute.minute).or_insert(found.minute.trades);
                    }
                    Ok(_) => {}
                    Err(reason) => tracing::warn!(file, reason, "a file of archive.legacy cannot be read"),
                }
            }
        }
        let minutes = Arc::new(minutes);
        let mut days = lock(&self.days);
        days.truncate(DAYS - 1);
        days.push_front((key, Arc::clone(&minutes)));
        Ok(minutes)
    }
}

fn files(source: &Source, listed: &Mutex<Option<Listed>>) -> Result<Arc<Vec<String>>, FileError> {
    let mut listed = lock(listed);
    if let Some((_, known)) = listed.as_ref().filter(|(read, _)| read.elapsed() < NAMES_AGE) {
        return Ok(Arc::clone(known));
    }
    let all = names(&source.dir).map_err(|error| match error {
        ImportError::Source { path, source } => FileError::disk("list", &path.to_string_lossy())(source),
        other => FileError::Missing { file: other.to_string() },
    })?;
    let all = Arc::new(all);
    *listed = Some((Instant::now(), Arc::clone(&all)));
    Ok(all)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
