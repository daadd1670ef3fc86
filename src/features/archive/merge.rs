//! Merges the minutes in Redis with those in files: each minute once, in the version that counts.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::coverage::GapReason;
use super::files::calendar::{DAY, day_of};
use super::files::manifest::{MinuteLine, counting};
use super::files::{FileError, Files};
use super::model::{MAX_PAGE_LEVELS, Order};
use super::originals::Originals;
use crate::clock::UnixMillis;
use crate::tape::{Base, Minute, Symbol, WindowMinute};

/// What a page is made of.
#[derive(Debug)]
pub(super) struct Request {
    pub symbol: Symbol,
    pub range: Range<UnixMillis>,
    pub order: Order,
    pub limit: usize,
    /// The first `limit + 1` minutes in Redis. They were read before the files are: a minute leaves Redis only when it has one.
    pub hot: BTreeMap<UnixMillis, WindowMinute>,
}

/// A minute of a page.
#[derive(Debug)]
pub(super) struct Merged {
    pub minute: UnixMillis,
    /// The version of the file that it comes from.
    pub version: Option<u32>,
    /// Whether a part of the trades was imported: then their candle is not known.
    pub is_imported: bool,
    /// The trades, or why they cannot be read.
    pub trades: Result<Minute, GapReason>,
}

#[derive(Debug, Default)]
pub(super) struct MergedPage {
    pub minutes: Vec<Merged>,
    /// The first minute that follows.
    pub next: Option<UnixMillis>,
}

/// Where the trades of a minute are.
enum Choice<'a> {
    Window(&'a WindowMinute),
    /// A file, or the window if the file cannot be read and the window has everything.
    File(&'a MinuteLine, Option<&'a WindowMinute>),
    /// A file, and the trades that came later.
    Both(&'a MinuteLine, &'a WindowMinute),
    /// A file of the system that this service replaces.
    Original(&'a Minute),
    /// Trades that came later than a version without a line in the manifest.
    Lost,
}

impl Choice<'_> {
    fn levels(&self) -> usize {
        match self {
            Self::Window(window) => window.trades.levels.by_price.len(),
            Self::File(line, _) => line.levels,
            Self::Both(line, window) => line.levels + window.trades.levels.by_price.len(),
            Self::Original(minute) => minute.levels.by_price.len(),
            Self::Lost => 0,
        }
    }

    fn line(&self) -> Option<&MinuteLine> {
        match self {
            Self::File(line, _) | Self::Both(line, _) => Some(line),
            Self::Window(_) | Self::Original(_) | Self::Lost => None,
        }
    }
}

/// Reads a page.
///
/// # Errors
/// [`FileError`] of the directory.
pub(super) fn page(files: &Files, originals: &Originals, request: &Request) -> Result<MergedPage, FileError> {
    let Request { symbol, range, order, limit, hot, .. } = request;
    files.check()?;
    let overlaps = |day: &UnixMillis| day + DAY > range.start && *day < range.end;
    let mut days: BTreeSet<UnixMillis> = files.days(symbol)?.into_iter().filter(overlaps).collect();
    days.extend(hot.keys().map(|minute| day_of(*minute)));
    days.extend(originals.days(symbol, range)?);
    let mut page = MergedPage::default();
    let mut levels = 0;
    for date in in_order(days, *order) {
        let day = files.day(symbol, date)?;
        let within = range.start.max(date)..range.end.min(date + DAY).max(range.start.max(date));
        let mut minutes: BTreeSet<UnixMillis> = day.minutes.range(within.clone()).map(|(minute, _)| *minute).collect();
        minutes.extend(hot.range(within.clone()).map(|(minute, _)| *minute));
        let old = originals.day(symbol, date)?;
        minutes.extend(old.range(within).map(|(minute, _)| *minute));
        let mut chosen = Vec::new();
        for minute in in_order(minutes, *order) {
            let choice = choose(day.versions(minute), hot.get(&minute));
            let Some(choice) = choice.or_else(|| old.get(&minute).map(Choice::Original)) else { continue };
            levels += choice.levels();
            let taken = page.minutes.len() + chosen.len();
            if taken == *limit || (levels > MAX_PAGE_LEVELS && taken > 0) {
                page.next = Some(minute);
                break;
            }
            chosen.push((minute, choice));
        }
        let lines: Vec<&MinuteLine> = chosen.iter().filter_map(|(_, choice)| choice.line()).collect();
        let mut read = files.minutes(symbol, &lines)?.into_iter();
        for (minute, choice) in chosen {
            let file = if choice.line().is_some() { read.next() } else { None };
            let version = choice.line().map(|line| line.version);
            let is_original = matches!(choice, Choice::Original(_));
            let is_imported = is_original || choice.line().is_some_and(|line| line.parent.is_some());
            let reason = |error: FileError| match error {
                _ if day.deleted_at.is_some() => GapReason::Deleted,
                FileError::Missing { .. } => GapReason::MissingFile,
                _ => GapReason::Damaged,
            };
            let trades = match (choice, file) {
                (Choice::Window(window), _) | (Choice::File(_, Some(window)), Some(Err(_))) => {
                    Ok(window.trades.clone())
                }
                (Choice::Original(minute), _) => Ok(minute.clone()),
                (Choice::File(..), Some(file)) => file.map_err(reason),
                (Choice::Both(_, window), Some(file)) => file.map_err(reason).map(|mut trades| {
                    trades.add(&window.trades);
                    trades
                }),
                (Choice::Lost | Choice::File(..) | Choice::Both(..), _) => Err(GapReason::MissingFile),
            };
            page.minutes.push(Merged { minute, version, is_imported, trades });
        }
        if page.next.is_some() {
            break;
        }
    }
    Ok(page)
}

fn in_order(times: BTreeSet<UnixMillis>, order: Order) -> Vec<UnixMillis> {
    let mut times: Vec<UnixMillis> = times.into_iter().collect();
    if order == Order::Desc {
        times.reverse();
    }
    times
}

/// `None`: the minute has no trades.
fn choose<'a>(versions: &'a [MinuteLine], hot: Option<&'a WindowMinute>) -> Option<Choice<'a>> {
    let Some(window) = hot else { return counting(versions).map(|line| Choice::File(line, None)) };
    let latest = |is_related: &dyn Fn(&MinuteLine) -> bool| {
        let related = versions.iter().filter(|line| is_related(line));
        related.max_by_key(|line| (line.rev, line.version))
    };
    // A file with this change or a later one was written since the window was read, or from the same trades.
    let has_changes = |line: &MinuteLine| line.rev >= window.rev;
    let and_window = |line| Choice::Both(line, window);
    Some(match window.base {
        Base::Whole(generation) => match latest(&|line| line.is_of(generation)) {
            Some(line) if line.rev > window.rev => Choice::File(line, Some(window)),
            Some(_) => Choice::Window(window),
            // Redis has lost the minute since its file was written.
            None => counting(versions).map_or(Choice::Window(window), and_window),
        },
        Base::Version(version) => match latest(&|line| line.base == Some(version) && has_changes(line)) {
            Some(line) => Choice::File(line, None),
            None => versions.iter().find(|line| line.version == version).map_or(Choice::Lost, and_window),
        },
        Base::Unset => match latest(&has_changes) {
            Some(line) => Choice::File(line, None),
            None => counting(versions).map_or(Choice::Window(window), and_window),
        },
    })
}
