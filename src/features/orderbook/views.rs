//! What clients see of a book: its best levels.

use std::sync::Arc;
use std::time::Instant;

use super::checksum::{self, checksum};
use super::error::BookError;
use super::model::{BookBest, BookPairs, BookView, Level, MAX_DEPTH};
use super::rules::Mode;
use super::scripts;
use super::service::OrderBookService;
use super::state::BookState;
use crate::tape::Symbol;

/// The depths that are read from Redis; a view is cut to the requested one.
const DEPTHS: [usize; 4] = [checksum::DEPTH, 50, 200, MAX_DEPTH];

/// A view and the name of its state, for conditional requests.
#[derive(Debug)]
pub(super) struct Versioned<T> {
    pub body: T,
    pub version: u128,
}

impl OrderBookService {
    /// The best `depth` levels of both sides.
    ///
    /// # Errors
    /// [`BookError::BookNotFound`] or a fault.
    pub(super) async fn view(&self, symbol: &Symbol, depth: usize) -> Result<Versioned<BookView>, BookError> {
        let state = self.state(symbol, depth).await?;
        let is_stale = state.is_stale(self.clock.now(), self.config.stale_after.as_millis());
        let version =
            u128::from(state.generation) << 64 | u128::from(state.sequence) << 1 | u128::from(is_stale == Some(true));
        let cut = |levels: &[Level]| levels.iter().take(depth).cloned().collect::<Vec<_>>();
        let body = BookView {
            symbol: symbol.clone(),
            generation: state.generation,
            sequence: state.sequence,
            timestamp: state.updated,
            mode: Mode::Store,
            kind: state.rules.kind,
            crossed: state.is_crossed(),
            checksum: checksum(&state.bids, &state.asks),
            orders: state.orders,
            bids: cut(&state.bids),
            asks: cut(&state.asks),
            as_of: state.as_of,
            stale: is_stale,
        };
        Ok(Versioned { body, version })
    }

    /// # Errors
    /// [`BookError::BookNotFound`] or a fault.
    pub(super) async fn best(&self, symbol: &Symbol) -> Result<BookBest, BookError> {
        let state = self.state(symbol, 1).await?;
        Ok(BookBest {
            symbol: symbol.clone(),
            sequence: state.sequence,
            bid: state.bids.first().cloned(),
            ask: state.asks.first().cloned(),
            spread: state.spread(),
        })
    }

    /// The state of a book with at least `depth` levels. Requests that come while a call runs share the next call, so that
    /// any number of clients costs a few calls.
    async fn state(&self, symbol: &Symbol, depth: usize) -> Result<Arc<BookState>, BookError> {
        let depth = DEPTHS.into_iter().find(|known| *known >= depth).unwrap_or(MAX_DEPTH);
        let came = Instant::now();
        let shared = self.views.get(symbol, depth);
        let mut latest = shared.lock().await;
        if let Some((began, state)) = &*latest
            && *began >= came
        {
            return Ok(Arc::clone(state));
        }
        let began = Instant::now();
        let called = self.call(symbol, None, |target| Ok(scripts::view(target, depth))).await;
        let state = called.and_then(|(rules, reply)| BookState::of(rules, &reply)).map(Arc::new);
        *latest = state.as_ref().ok().map(|state| (began, Arc::clone(state)));
        drop(latest);
        self.views.release(symbol, depth, &shared);
        state
    }
}

impl BookView {
    pub(super) fn into_pairs(self) -> BookPairs {
        let pairs = |levels: Vec<Level>| levels.into_iter().map(|level| [level.price, level.quantity]).collect();
        BookPairs { last_update_id: self.sequence, bids: pairs(self.bids), asks: pairs(self.asks) }
    }
}
