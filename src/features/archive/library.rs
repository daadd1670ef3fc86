//! Reads about the files: versions, manifests, the state of windows, and gaps.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use super::coverage::{Coverage, Gap, GapReason, SourceState};
use super::directory::Directory;
use super::error::ArchiveError;
use super::file_model::{ArchiveStatus, DayFiles, DirectoryStatus, SymbolStatus};
use super::files::Files;
use super::files::calendar::{DAY, day_directory, day_of};
use super::minutes::FoundMinute;
use super::model::Order;
use super::originals::Originals;
use super::rounds::SYMBOLS;
use super::service::{ArchiveService, Hot};
use crate::clock::UnixMillis;
use crate::tape::{MINUTE, Symbol};

impl ArchiveService {
    /// The directory.
    ///
    /// # Errors
    /// [`ArchiveError::NoArchive`].
    pub(super) fn require_directory(&self) -> Result<&Directory, ArchiveError> {
        self.directory.as_ref().ok_or(ArchiveError::NoArchive)
    }

    /// A minute as it counts now; `None` if it has no trades.
    ///
    /// # Errors
    /// [`ArchiveError::Unreadable`] if it has trades that cannot be read.
    pub(super) async fn minute(
        &self,
        symbol: &Symbol,
        minute: UnixMillis,
    ) -> Result<Option<FoundMinute>, ArchiveError> {
        let hot = self.fold(symbol).await?;
        let page = self.minutes(symbol, &(minute..minute + 1), Order::Asc, 1, &hot).await?;
        // Files have nothing that did not leave Redis: without them, a gap says up to where they are needed.
        let lacks = |coverage: &Coverage| coverage.sources.hot == SourceState::Unavailable || !coverage.gaps.is_empty();
        match page.items.into_iter().next() {
            None if page.coverage.as_ref().is_some_and(lacks) => Err(ArchiveError::Unreadable),
            found => Ok(found),
        }
    }

    /// A minute in a version of its file.
    ///
    /// # Errors
    /// [`ArchiveError::NoVersion`], [`ArchiveError::Unreadable`] and those of the directory.
    pub(super) async fn minute_version(
        &self,
        symbol: &Symbol,
        minute: UnixMillis,
        version: u32,
    ) -> Result<FoundMinute, ArchiveError> {
        let directory = self.require_directory()?;
        let symbol = symbol.clone();
        let read = move |files: &Files| {
            files.check()?;
            let day = files.day_with(&symbol, day_of(minute), |read| read == minute)?;
            let line = day.versions(minute).iter().find(|line| line.version == version);
            line.map(|line| Ok((line.parent.is_some(), files.minute(&symbol, line)?))).transpose()
        };
        match directory.run(read).await {
            Ok(Some((is_imported, trades))) => {
                Ok(FoundMinute { minute, complete: true, version: Some(version), is_imported, trades })
            }
            Ok(None) => Err(ArchiveError::NoVersion(version)),
            Err(ArchiveError::Files(error)) if error.is_of_file() => Err(ArchiveError::Unreadable),
            Err(error) => Err(error),
        }
    }

    /// The manifest of a day, from the file number `from` on.
    ///
    /// # Errors
    /// [`ArchiveError`].
    pub(super) async fn files(
        &self,
        symbol: &Symbol,
        time: UnixMillis,
        from: usize,
        limit: usize,
    ) -> Result<DayFiles, ArchiveError> {
        let directory = self.require_directory()?;
        let symbol = symbol.clone();
        let day = directory
            .run(move |files| {
                files.check()?;
                files.day(&symbol, day_of(time))
            })
            .await?;
        let all = day.minutes.values().map(Vec::len).sum::<usize>();
        let items = day.minutes.values().flatten().skip(from).take(limit).map(Into::into).collect();
        let next = from.saturating_add(limit);
        Ok(DayFiles {
            items,
            packs: day.packs_and_tables().map(Into::into).collect(),
            deleted_at: day.deleted_at,
            next_cursor: (next < all).then(|| next.to_string()),
        })
    }

    /// The state of the directory and of the windows, by name, after `after`.
    ///
    /// # Errors
    /// [`ArchiveError::Redis`], [`ArchiveError::NoArchive`]; a directory that is away is part of the answer.
    pub(super) async fn status(
        &self,
        only: Option<Symbol>,
        after: Option<Symbol>,
        limit: usize,
    ) -> Result<ArchiveStatus, ArchiveError> {
        let directory = self.require_directory()?;
        let space = directory
            .run(|files| {
                files.check()?;
                files.space()
            })
            .await;
        let [free_bytes, size_bytes] = space.as_ref().map_or([None; 2], |space| space.map(Some));
        let store = directory.store().map(str::to_owned);
        // A full disk can be measured, but not written to.
        let error = space.err().map(|error| error.to_string()).or_else(|| self.board.directory());
        let directory = DirectoryStatus { store, free_bytes, size_bytes, error };
        let mut symbols = match only {
            Some(symbol) => vec![symbol],
            None => self.listing.symbols(0, SYMBOLS).await?,
        };
        symbols.sort();
        symbols.retain(|symbol| after.as_ref().is_none_or(|after| symbol > after));
        let is_last = symbols.len() <= limit;
        symbols.truncate(limit);
        let mut items = Vec::new();
        for symbol in &symbols {
            let keys = self.window.keys(symbol);
            let state = self.window.state(&keys).await?;
            items.push(SymbolStatus {
                symbol: symbol.clone(),
                minutes: self.window.count(&keys.index).await?,
                waiting: self.window.count(&keys.dirty).await?,
                oldest_waiting: self.window.minutes(&keys.dirty, i64::MIN, i64::MAX, 1).await?.first().copied(),
                removed_until: state.dropped,
                store: state.store,
                troubles: self.board.of(symbol).into_iter().map(Into::into).collect(),
            });
        }
        let next_cursor = symbols.last().filter(|_| !is_last).map(ToString::to_string);
        Ok(ArchiveStatus { directory, items, next_cursor })
    }

    /// The minutes of a range without trades, and those whose files are missing. Contents are not read.
    ///
    /// # Errors
    /// [`ArchiveError`].
    pub(super) async fn gaps(&self, symbol: &Symbol, range: Range<UnixMillis>) -> Result<Vec<Gap>, ArchiveError> {
        let directory = self.require_directory()?;
        // What the fold has not passed is not known to have no trades.
        let hot = self.fold(symbol).await?;
        if let Hot::Away(reason) = hot {
            return Err(reason.into());
        }
        let keys = self.window.keys(symbol);
        let count = usize::try_from((range.end - range.start) / MINUTE + 2).unwrap_or(usize::MAX);
        let hot = self.window.minutes(&keys.index, range.start, range.end, count).await?;
        let state = self.window.state(&keys).await?;
        let is_other = state.store.as_deref().is_some_and(|store| directory.store().is_some_and(|own| own != store));
        let (symbol, first) = (symbol.clone(), range.start + (-range.start).rem_euclid(MINUTE));
        let span = range.clone();
        let originals = Arc::clone(&self.originals);
        let files = directory.run(move |files| present(files, &originals, &symbol, &span)).await?;
        let hot: BTreeSet<UnixMillis> = hot.into_iter().collect();
        let mut gaps = Vec::new();
        let mut minute = first;
        while minute < range.end {
            let reason = match files.get(&minute) {
                _ if hot.contains(&minute) => None,
                Some(reason) => *reason,
                None if is_other && state.dropped >= Some(minute) => Some(GapReason::OtherStore),
                None if state.since.is_none_or(|since| minute + MINUTE <= since) => Some(GapReason::BeforeStart),
                None => Some(GapReason::NoTrades),
            };
            if let Some(reason) = reason {
                Gap::push(&mut gaps, Gap { from: minute, to: minute + MINUTE, reason });
            }
            minute += MINUTE;
        }
        Ok(gaps)
    }
}

/// The minutes of a range that have files, and why those that the manifests name are not there.
fn present(
    files: &Files,
    originals: &Originals,
    symbol: &Symbol,
    range: &Range<UnixMillis>,
) -> Result<std::collections::BTreeMap<UnixMillis, Option<GapReason>>, super::files::FileError> {
    files.check()?;
    let mut all = std::collections::BTreeMap::new();
    for date in files.days(symbol)?.into_iter().filter(|day| day + DAY > range.start && *day < range.end) {
        let day = files.day(symbol, date)?;
        let names = files.names_in(&day_directory(symbol, date))?;
        let is_packed = day.packs.iter().any(|pack| names.contains(&pack.file));
        for (minute, _) in day.minutes.range(range.clone()) {
            let is_there = day.counting(*minute).is_some_and(|line| names.contains(&line.file)) || is_packed;
            let reason = if day.deleted_at.is_some() { GapReason::Deleted } else { GapReason::MissingFile };
            all.insert(*minute, (!is_there).then_some(reason));
        }
    }
    for day in originals.days(symbol, range)? {
        for minute in originals.day(symbol, day)?.keys() {
            all.entry(*minute).or_insert(None);
        }
    }
    Ok(all)
}
