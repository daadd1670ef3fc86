//! Single trades, from the tape.

use std::ops::Range;

use super::error::ArchiveError;
use super::model::SingleTrade;
use super::service::ArchiveService;
use crate::clock::UnixMillis;
use crate::http::reply::Page;
use crate::tape::{self, Symbol, TapeKeys, Trade};

/// The entries that one request reads at most: trades whose time is outside of the range are read too.
const MAX_READ: usize = 10_000;

/// The entries of one read.
const STEP: usize = 1_000;

impl ArchiveService {
    /// A page of the trades whose time is within a range, the last to arrive first: those before the entry `before`. A page
    /// ends early if the tape has many other trades.
    ///
    /// # Errors
    /// [`ArchiveError::Redis`].
    pub(super) async fn single_trades(
        &self,
        symbol: &Symbol,
        range: &Range<UnixMillis>,
        before: Option<String>,
        limit: usize,
        with_parties: bool,
    ) -> Result<Page<SingleTrade>, ArchiveError> {
        let tape = TapeKeys::new(self.redis.keys(), symbol).tape;
        let (mut items, mut next_cursor) = (Vec::new(), before);
        for _ in 0..MAX_READ / STEP {
            let entries = tape::newest(&self.redis, &tape, next_cursor.as_deref(), STEP).await?;
            let is_last = entries.len() < STEP;
            for entry in entries {
                next_cursor = Some(entry.0.clone());
                let Some(trade) = Trade::of_entry(&entry).filter(|trade| range.contains(&trade.timestamp)) else {
                    continue;
                };
                let parties = with_parties.then(|| tape::parties(&entry));
                items.push(SingleTrade::new(entry.0, trade, parties));
                if items.len() == limit {
                    return Ok(Page { items, next_cursor });
                }
            }
            if is_last {
                return Ok(Page { items, next_cursor: None });
            }
        }
        Ok(Page { items, next_cursor })
    }
}
