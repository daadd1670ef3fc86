//! The follower: one replica at a time ends expired orders, publishes the changes of all books, and keeps their list.
//!
//! Changes are published from the stream of deltas, never by the request that made them, so a replica that dies loses none:
//! the next leader goes on behind the last sequence that is known to be published. A message may be published twice; its id
//! is that of the change, by which channels recognise it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::deltas::Changes;
use super::error::BookError;
use super::messages::{best_prices, delay, messages};
use super::service::OrderBookService;
use crate::events::Events;
use crate::random;
use crate::redis::{Effect, RedisFault, Turn};
use crate::tape::Symbol;

/// How often a book is published at most: 20 messages a second.
const TICK: Duration = Duration::from_millis(50);
/// How long the turn of the leader lasts unless it reports progress. Then another replica takes over; only the load of two
/// leaders is at stake.
const TURN: Duration = Duration::from_secs(3);
/// How often the best prices of a book are published at most: 10 messages a second.
const BEST_INTERVAL: Duration = Duration::from_millis(100);
/// The lag of a book, milliseconds, from which on operators are alerted.
const MAX_LAG: i64 = 5_000;
/// How often the leader reports progress, ends expired orders and reads the list of books, and another replica tries to take
/// the turn.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
/// How often a replica looks for books while there are none. It learns at once of those that it creates itself.
const IDLE_INTERVAL: Duration = Duration::from_secs(10);
/// How often the platform's metadata of an idle book is renewed; its keys live 5 minutes.
const METADATA_INTERVAL: Duration = Duration::from_secs(60);
const METADATA_TTL_MS: u64 = 300_000;
/// How many books are handled at the same time.
const CONCURRENT: usize = 16;
/// Calls for one book in a tick, so that a busy book does not delay the others.
const ROUNDS: usize = 10;
/// The most books whose number of orders is a metric.
const MEASURED: usize = 100;
const TASK: &str = "orderbook.follow";

pub(super) struct Follower {
    books: Arc<OrderBookService>,
    events: Events,
    /// Names this replica in alerts.
    name: String,
    /// The turn, if this replica leads.
    turn: Option<Turn>,
    /// Whether there are books, as far as this replica knows.
    has_books: bool,
    followed: BTreeMap<Symbol, Followed>,
}

/// A book that is followed.
struct Followed {
    moved: watch::Receiver<()>,
    /// Whether there may be changes that are not published, even if none was announced.
    is_due: bool,
    /// The last published sequence; `None`: not known yet.
    published: Option<u64>,
    described_at: Option<Instant>,
    /// The best bid and the best ask that were published last, in ticks, and when.
    best: Option<([Option<i64>; 2], Instant)>,
    /// Whether operators know that the book is late.
    is_late: bool,
    /// The age of the oldest change that is not published, milliseconds.
    lag: i64,
}

impl Followed {
    fn new(moved: watch::Receiver<()>) -> Self {
        Self { moved, is_due: true, published: None, described_at: None, best: None, is_late: false, lag: 0 }
    }
}

impl Follower {
    pub(super) fn new(books: Arc<OrderBookService>, events: Events) -> Self {
        Self { books, events, name: random::unique_text(), turn: None, followed: BTreeMap::new(), has_books: true }
    }

    /// Follows the books while this replica leads, until `stop`; runs as a background task.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut swept: Option<Instant> = None;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.books.listed.notified(), if !self.has_books => swept = None,
                _ = ticks.tick() => {}
            }
            let pause = if self.has_books { SWEEP_INTERVAL } else { IDLE_INTERVAL };
            let is_due = swept.is_none_or(|last| last.elapsed() >= pause);
            if is_due {
                swept = Some(Instant::now());
                self.turn = self.lead().await;
                if self.turn.is_none() {
                    self.followed.clear();
                    self.books.metrics.lag.set(0);
                    self.books.metrics.orders.reset();
                    self.books.metrics.depth.iter().for_each(|side| side.set(0));
                }
            }
            if self.turn.is_none() {
                continue;
            }
            let mut outcome = Ok(());
            if is_due {
                outcome = self.sweep().await;
            }
            let published = self.publish().await;
            let outcome = outcome.and(published).map_err(|error| error.to_string());
            self.books.tasks.report(TASK, outcome);
        }
    }

    /// Takes or keeps the turn. Without books, nothing is written to Redis.
    async fn lead(&mut self) -> Option<Turn> {
        self.has_books = self.books.symbols().await.map_or(true, |symbols| !symbols.is_empty());
        if !self.has_books {
            return None;
        }
        let key = super::keys::follower(self.books.redis.keys());
        let interval = u64::try_from(TURN.as_millis()).unwrap_or_default();
        self.books.redis.keep_turn(&key, self.turn, interval, &self.books.clock).await.unwrap_or(self.turn)
    }

    /// Reads the list of books, ends expired orders, and finds books that have changed unnoticed.
    async fn sweep(&mut self) -> Result<(), BookError> {
        let symbols = self.books.symbols().await?;
        self.followed.retain(|symbol, _| symbols.binary_search(symbol).is_ok());
        for symbol in &symbols {
            if !self.followed.contains_key(symbol) {
                let moved = self.books.movements.follow(&self.books.keys(symbol).moved());
                self.followed.insert(symbol.clone(), Followed::new(moved));
            }
        }
        let books = &self.books;
        let sweeps: Vec<_> = symbols.iter().map(|symbol| books.sweep(symbol)).collect();
        let states: Vec<_> = futures_util::stream::iter(sweeps).buffered(CONCURRENT).collect().await;
        let mut changed = Vec::new();
        let mut failure = Ok(());
        let mut depth = [0, 0];
        for (at, (state, symbol)) in states.into_iter().zip(symbols).enumerate() {
            match state {
                Ok(state) => {
                    let Some(book) = self.followed.get_mut(&symbol) else { continue };
                    let sequence: u64 = state.number(3);
                    if book.published != Some(sequence) {
                        book.is_due = true;
                        changed.push(symbol.clone());
                    }
                    if book.described_at.is_none_or(|last| last.elapsed() >= METADATA_INTERVAL) {
                        book.is_due = true;
                    }
                    depth = [depth[0] + state.number::<i64>(5), depth[1] + state.number::<i64>(6)];
                    if at < MEASURED {
                        let orders = self.books.metrics.orders.with_label_values(&[symbol.as_str()]);
                        orders.set(state.number(4));
                    }
                }
                Err(BookError::BookNotFound { .. }) => {
                    self.followed.remove(&symbol);
                    let _ = self.books.metrics.orders.remove_label_values(&[symbol.as_str()]);
                    self.books.unlist(&symbol).await?;
                }
                Err(error) => failure = Err(error),
            }
        }
        for (gauge, levels) in self.books.metrics.depth.iter().zip(depth) {
            gauge.set(levels);
        }
        self.books.list(&changed).await?;
        failure
    }

    /// Publishes the changes of all books that have any.
    async fn publish(&mut self) -> Result<(), BookError> {
        let (books, events, name) = (&self.books, &self.events, &self.name);
        let due = self.followed.iter_mut().filter(|(_, book)| book.is_due || book.moved.has_changed().unwrap_or(true));
        let publications: Vec<_> = due.map(|(symbol, book)| publish_due(books, events, name, symbol, book)).collect();
        let results: Vec<_> = futures_util::stream::iter(publications).buffer_unordered(CONCURRENT).collect().await;
        let lag = self.followed.values().map(|book| book.lag).max();
        self.books.metrics.lag.set(lag.unwrap_or_default() / 1_000);
        results.into_iter().collect()
    }
}

/// Publishes the changes of one book, which stays due if that fails.
async fn publish_due(
    books: &OrderBookService,
    events: &Events,
    name: &str,
    symbol: &Symbol,
    book: &mut Followed,
) -> Result<(), BookError> {
    book.moved.mark_unchanged();
    book.is_due = true;
    book.is_due = publish_book(books, events, name, symbol, book).await?;
    Ok(())
}

/// Returns whether more is to be published.
async fn publish_book(
    books: &OrderBookService,
    events: &Events,
    name: &str,
    symbol: &Symbol,
    book: &mut Followed,
) -> Result<bool, BookError> {
    let key = books.keys(symbol).published();
    let mut published = if let Some(published) = book.published {
        published
    } else {
        let mut read = redis::cmd("GET");
        read.arg(&key);
        books.redis.query::<Option<u64>>(&read, Effect::Read).await?.unwrap_or_default()
    };
    for _ in 0..ROUNDS {
        let changes = match books.changes(symbol, published, true).await {
            Err(BookError::BookNotFound { .. }) => return Ok(false),
            changes => changes?,
        };
        let state = &changes.state;
        // Redis may have lost the last changes, or the book is a new one.
        published = published.min(state.sequence);
        book.published = Some(published);
        let now = books.clock.now();
        let first = changes.deltas.first();
        let lag = first.map_or(0, |delta| now.saturating_sub(delta.at).max(0));
        book.lag = lag;
        let was_late = std::mem::replace(&mut book.is_late, lag >= MAX_LAG);
        let alert = first.filter(|_| book.is_late && !was_late);
        let mut items = Vec::new();
        items.extend(alert.and_then(|delta| delay(symbol, state.generation, delta, [lag, MAX_LAG], name)));
        let last = changes.deltas.last().map(|delta| delta.sequence);
        let is_last = last.is_none_or(|last| last == state.sequence);
        let best = [state.best_bid, state.best_ask].map(|level| level.map(|level| level.ticks));
        let is_new_best = is_last && book.best.is_none_or(|(known, _)| known != best);
        let waits = is_new_best && book.best.is_some_and(|(_, at)| at.elapsed() < BEST_INTERVAL);
        if is_last {
            describe(books, symbol, &changes).await?;
            book.described_at = Some(Instant::now());
        }
        let best_message = if is_new_best && !waits { best_prices(symbol, state) } else { None };
        items.extend(messages(symbol, published, changes));
        items.extend(best_message);
        events.publish_of_service(&items).await?;
        if is_new_best && !waits {
            book.best = Some((best, Instant::now()));
        }
        if let Some(last) = last {
            published = last;
            book.published = Some(published);
            books.metrics.market_data_at.set(now / 1_000);
            let mut write = redis::cmd("SET");
            write.arg(&key).arg(published).arg("PX").arg(books.config.book_life.as_millis());
            let _: () = books.redis.query(&write, Effect::Write).await?;
        }
        if is_last {
            book.lag = 0;
            return Ok(waits);
        }
    }
    Ok(true)
}

/// Writes the best prices for readers of the platform's keys.
async fn describe(books: &OrderBookService, symbol: &Symbol, changes: &Changes) -> Result<(), RedisFault> {
    let state = &changes.state;
    let key = books.keys(symbol).metadata();
    let price = |levels: &[super::model::Level]| levels.first().map(|level| level.price.clone()).unwrap_or_default();
    let (mut write, mut expire) = (redis::cmd("HSET"), redis::cmd("PEXPIRE"));
    write.arg(&key).arg("best_bid").arg(price(&state.bids)).arg("best_ask").arg(price(&state.asks));
    write.arg("spread").arg(state.spread().unwrap_or_default());
    write.arg("sequence").arg(state.sequence).arg("updated_at").arg(state.updated);
    expire.arg(&key).arg(METADATA_TTL_MS);
    let replies = books.redis.query_all(&[write, expire], Effect::Write).await?;
    replies.into_iter().try_for_each(|reply| reply.map(|_| ()))
}
