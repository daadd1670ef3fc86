//! The list of books. Every change of settings and the follower of events update it, so no key is searched for.

use super::error::BookError;
use super::keys;
use super::model::BookSummary;
use super::scripts;
use super::service::OrderBookService;
use super::state::BookState;
use crate::http::reply::Page;
use crate::redis::{Effect, RedisFault};
use crate::tape::Symbol;

impl OrderBookService {
    /// Notes that these books have changed now.
    pub(super) async fn list(&self, symbols: &[Symbol]) -> Result<(), RedisFault> {
        if symbols.is_empty() {
            return Ok(());
        }
        let mut add = redis::cmd("ZADD");
        add.arg(keys::index(self.redis.keys()));
        for symbol in symbols {
            add.arg(self.clock.now() / 1_000).arg(symbol.as_str());
        }
        self.redis.query::<()>(&add, Effect::Write).await?;
        self.listed.notify_one();
        Ok(())
    }

    pub(super) async fn unlist(&self, symbol: &Symbol) -> Result<(), RedisFault> {
        let mut remove = redis::cmd("ZREM");
        remove.arg(keys::index(self.redis.keys())).arg(symbol.as_str());
        self.redis.query(&remove, Effect::Write).await
    }

    /// The symbols of all books, sorted.
    pub(super) async fn symbols(&self) -> Result<Vec<Symbol>, RedisFault> {
        let mut range = redis::cmd("ZRANGE");
        range.arg(keys::index(self.redis.keys())).arg(0).arg(-1);
        let names: Vec<String> = self.redis.query(&range, Effect::Read).await?;
        let mut symbols: Vec<_> = names.into_iter().filter_map(|name| Symbol::try_from(name).ok()).collect();
        symbols.sort_unstable();
        Ok(symbols)
    }

    /// A page of books, sorted by symbol, behind the symbol `after`.
    ///
    /// # Errors
    /// A fault.
    pub(super) async fn books(&self, after: Option<&Symbol>, limit: usize) -> Result<Page<BookSummary>, BookError> {
        let mut symbols = self.symbols().await?;
        symbols.retain(|symbol| after.is_none_or(|after| symbol > after));
        let next_cursor = symbols.get(limit).and_then(|_| symbols.get(limit - 1)).map(ToString::to_string);
        symbols.truncate(limit);
        let views = symbols.iter().map(|symbol| self.call(symbol, None, |target| Ok(scripts::view(target, 1))));
        let mut items = Vec::with_capacity(symbols.len());
        for (symbol, view) in symbols.iter().zip(futures_util::future::join_all(views).await) {
            match view {
                Ok((rules, reply)) => {
                    let state = BookState::of(rules, &reply)?;
                    items.push(BookSummary {
                        symbol: symbol.clone(),
                        sequence: state.sequence,
                        timestamp: state.updated,
                        orders: state.orders,
                        kind: state.rules.kind,
                    });
                }
                // The book was deleted, or has expired.
                Err(BookError::BookNotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Page { items, next_cursor })
    }
}
