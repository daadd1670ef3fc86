//! Pages of minutes.

use std::ops::Range;

use super::error::ArchiveError;
use super::model::Order;
use super::service::ArchiveService;
use crate::clock::UnixMillis;
use crate::tape::{MINUTE, Minute, Symbol};

/// The most price levels of a page, so that its size is bounded.
const MAX_PAGE_LEVELS: usize = 50_000;

/// A minute with trades.
#[derive(Debug)]
pub(super) struct FoundMinute {
    /// The beginning of the minute, Unix milliseconds.
    pub minute: UnixMillis,
    /// Whether the minute is over. A late trade may still change it.
    pub complete: bool,
    pub trades: Minute,
}

/// A page of minutes, in the requested order.
#[derive(Debug)]
pub(super) struct MinutePage {
    pub items: Vec<FoundMinute>,
    /// The first minute that follows.
    pub next: Option<UnixMillis>,
}

impl ArchiveService {
    /// The first minutes that begin within a range, at most `limit`. A page ends early if it becomes too large.
    ///
    /// # Errors
    /// [`ArchiveError`].
    pub(super) async fn minutes(
        &self,
        symbol: &Symbol,
        range: &Range<UnixMillis>,
        order: Order,
        limit: usize,
    ) -> Result<MinutePage, ArchiveError> {
        let now = self.clock.now();
        let hot = self.window.read(symbol, range, order, limit + 1).await?;
        let mut page = MinutePage { items: Vec::new(), next: None };
        let mut levels = 0;
        for (minute, found) in hot {
            levels += found.trades.levels.by_price.len();
            if page.items.len() == limit || (levels > MAX_PAGE_LEVELS && !page.items.is_empty()) {
                page.next = Some(minute);
                break;
            }
            page.items.push(FoundMinute { minute, complete: minute + MINUTE <= now, trades: found.trades });
        }
        Ok(page)
    }
}
