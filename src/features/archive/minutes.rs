//! Pages of minutes.

use std::ops::Range;
use std::sync::Arc;

use super::coverage::{Coverage, Gap, GapReason, SourceState, Sources};
use super::error::ArchiveError;
use super::merge::{self, Merged, MergedPage, Request};
use super::model::MAX_PAGE_LEVELS;
use super::model::Order;
use super::service::{ArchiveService, Hot};
use super::window::WindowState;
use crate::clock::UnixMillis;
use crate::tape::{Base, MINUTE, Minute, Symbol, WindowMinute};

/// A minute with trades.
#[derive(Debug)]
pub(super) struct FoundMinute {
    /// The beginning of the minute, Unix milliseconds.
    pub minute: UnixMillis,
    /// Whether the minute is over. A late trade may still change it.
    pub complete: bool,
    /// The version of the file from which the minute comes.
    pub version: Option<u32>,
    /// Whether only the volumes are known.
    pub is_imported: bool,
    pub trades: Minute,
}

/// A page of minutes, in the requested order.
#[derive(Debug)]
pub(super) struct MinutePage {
    pub items: Vec<FoundMinute>,
    /// `None` without a directory of files.
    pub coverage: Option<Coverage>,
    /// The first minute that follows.
    pub next: Option<UnixMillis>,
}

impl ArchiveService {
    /// The first minutes that begin within a range, at most `limit`. A page ends early if it becomes too large. A minute that
    /// is in Redis and in files is there once.
    ///
    /// # Errors
    /// [`ArchiveError`] if Redis is unavailable and the range needs no file; a directory that is away makes the page partial.
    pub(super) async fn minutes(
        &self,
        symbol: &Symbol,
        range: &Range<UnixMillis>,
        order: Order,
        limit: usize,
        hot: &Hot,
    ) -> Result<MinutePage, ArchiveError> {
        let now = self.clock.now();
        let (found, cut, state) = self.hot(symbol, range, order, limit + 1, hot, now).await?;
        let Some(directory) = &self.directory else {
            return Ok(page_of(hot_only(found, limit), Vec::new(), None, order, now));
        };
        let is_other = state.store.as_deref().is_some_and(|store| directory.store().is_some_and(|own| own != store));
        let known = match (cut, order) {
            (None, _) => range.clone(),
            (Some(last), Order::Asc) => range.start..last + 1,
            (Some(last), Order::Desc) => last..range.end,
        };
        let request =
            Request { symbol: symbol.clone(), range: known, order, limit, hot: found.iter().cloned().collect() };
        let originals = Arc::clone(&self.originals);
        let merged = directory.run(move |files| merge::page(files, &originals, &request)).await;
        let mut sources = Sources { hot: SourceState::of(matches!(hot, Hot::Current)), cold: SourceState::Available };
        let mut gaps = Vec::new();
        let mut absent = |reason| {
            // Minutes up to the last one that left Redis may be in files.
            let end = state.dropped.map_or(range.start, |dropped| range.end.min(dropped + MINUTE));
            if end > range.start {
                gaps.push(Gap { from: range.start, to: end, reason });
            }
        };
        let merged = match merged {
            Ok(mut merged) => {
                let behind = cut.map(|last| if order == Order::Asc { last + MINUTE } else { last - MINUTE });
                merged.next = merged.next.or(behind);
                if is_other {
                    sources.cold = SourceState::Unavailable;
                    absent(GapReason::OtherStore);
                }
                merged
            }
            Err(error) => {
                tracing::warn!(%symbol, %error, "files of the archive cannot be read; minutes come from Redis only");
                sources.cold = SourceState::Unavailable;
                absent(GapReason::Unavailable);
                if matches!(hot, Hot::Away(_)) {
                    return Err(error);
                }
                hot_only(found, limit)
            }
        };
        Ok(page_of(merged, gaps, Some(sources), order, now))
    }

    /// What Redis has of a page, and the minute where it ends if there are too many levels.
    async fn hot(
        &self,
        symbol: &Symbol,
        range: &Range<UnixMillis>,
        order: Order,
        count: usize,
        hot: &Hot,
        now: UnixMillis,
    ) -> Result<(Vec<(UnixMillis, WindowMinute)>, Option<UnixMillis>, WindowState), ArchiveError> {
        if let Hot::Away(reason) = hot {
            let kept_from = now.saturating_sub_unsigned(self.config.window.as_millis());
            // Files have nothing of it that Redis does not have.
            if range.start >= kept_from {
                return Err(reason.clone().into());
            }
            return Ok((Vec::new(), None, WindowState::default()));
        }
        let (found, cut) = self.window.read(symbol, range, order, count).await?;
        let state = if self.directory.is_some() {
            self.window.state(&self.window.keys(symbol)).await?
        } else {
            WindowState::default()
        };
        Ok((found, cut, state))
    }
}

/// A page without files: minutes that are added to a file cannot be shown.
fn hot_only(found: Vec<(UnixMillis, WindowMinute)>, limit: usize) -> MergedPage {
    let mut page = MergedPage::default();
    let mut levels = 0;
    for (minute, window) in found {
        levels += window.trades.levels.by_price.len();
        if page.minutes.len() == limit || (levels > MAX_PAGE_LEVELS && !page.minutes.is_empty()) {
            page.next = Some(minute);
            break;
        }
        let is_whole = matches!(window.base, Base::Whole(_));
        let trades = if is_whole { Ok(window.trades) } else { Err(GapReason::Unavailable) };
        page.minutes.push(Merged { minute, version: None, is_imported: false, trades });
    }
    page
}

fn page_of(
    merged: MergedPage,
    mut gaps: Vec<Gap>,
    sources: Option<Sources>,
    order: Order,
    now: UnixMillis,
) -> MinutePage {
    let mut items = Vec::new();
    let mut lacking = Vec::new();
    for Merged { minute, version, is_imported, trades } in merged.minutes {
        match trades {
            Ok(trades) => {
                items.push(FoundMinute { minute, complete: minute + MINUTE <= now, version, is_imported, trades });
            }
            Err(reason) => lacking.push(Gap { from: minute, to: minute + MINUTE, reason }),
        }
    }
    if order == Order::Desc {
        lacking.reverse();
    }
    for gap in lacking {
        Gap::push(&mut gaps, gap);
    }
    MinutePage { items, coverage: sources.map(|sources| Coverage::new(gaps, sources)), next: merged.next }
}
