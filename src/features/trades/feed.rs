//! The background work of the market: one replica at a time folds every tape, publishes its trades, and feeds the platform's
//! series.
//!
//! The series are those of the time-series capability: `market:price:<symbol>` has the last price to arrive in each second,
//! `trading:volume:daily` the volume of all symbols on each day. The feed has a position of its own on each tape, which
//! moves after its samples were stored. What a crash repeats, it stores again with the same values.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::error::TradeError;
use super::interval::{Resolution, Stored};
use super::service::TradeService;
use crate::clock::UnixMillis;
use crate::deps::{SeriesFeed, SeriesSample};
use crate::lifecycle::Tasks;
use crate::redis::Effect;
use crate::tape::{self, Advance, Candle, Sum, Symbol, Trade, WindowChange};

const NAME: &str = "trades.fold";

/// How often a replica folds all tapes.
const ROUND: Duration = Duration::from_secs(1);

/// How often a replica looks for tapes while there are none. It learns at once of those that it begins itself.
const IDLE_ROUND: Duration = Duration::from_secs(10);

/// Tapes without a trade for so long have been folded, milliseconds. Symbols are listed once an hour.
const QUIET: i64 = 48 * 3_600_000;

/// The most symbols whose tapes are folded in the background, those of the latest trades. Others are folded by reads.
const SYMBOLS: usize = 10_000;

/// The name of the feed's position on a tape.
const READER: &str = "fed";

/// The most entries of one step.
const STEP: usize = 1_000;

/// Runs rounds from the start of the service until it stops. Without `feed`, no series is fed.
pub(super) async fn run(trades: Arc<TradeService>, feed: Option<SeriesFeed>, reports: Tasks, stop: CancellationToken) {
    let mut pause = ROUND;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = trades.listing.added() => {}
            () = tokio::time::sleep(pause) => {}
        }
        let done = trades.round(feed.as_ref(), &stop).await;
        pause = if matches!(done, Ok(false)) { IDLE_ROUND } else { ROUND };
        reports.report(NAME, done.map(|_| ()).map_err(|error| error.to_string()));
    }
}

impl TradeService {
    /// Folds all tapes, if it is this replica's turn. Returns whether there are any.
    async fn round(&self, feed: Option<&SeriesFeed>, stop: &CancellationToken) -> Result<bool, TradeError> {
        let symbols = self.listing.symbols(self.clock.now() - QUIET, SYMBOLS).await?;
        if symbols.is_empty() {
            return Ok(false);
        }
        // Less than a round, so that a turn is not missed by a moment.
        let interval = u64::try_from(ROUND.as_millis()).unwrap_or(u64::MAX) * 9 / 10;
        if !self.redis.take_turn(&self.candles.keys.turn(), interval, &self.clock).await? {
            return Ok(true);
        }
        for symbol in &symbols {
            if stop.is_cancelled() {
                return Ok(true);
            }
            self.fold(symbol).await?;
            self.publish(symbol).await?;
            if let Some(feed) = feed {
                while self.feed(symbol, &symbols, feed).await? {}
            }
        }
        Ok(true)
    }

    /// Feeds the next trades of a symbol to the series. Returns whether there may be more.
    async fn feed(&self, symbol: &Symbol, symbols: &[Symbol], feed: &SeriesFeed) -> Result<bool, TradeError> {
        let keys = self.candles.keys.tape(symbol);
        let pending = self.redis.call(tape::pending(&keys, READER, STEP)).await?;
        let Some((position, _)) = pending.entries.last() else { return Ok(false) };
        let (mut prices, mut days) = (BTreeMap::new(), BTreeSet::new());
        for trade in pending.entries.iter().filter_map(Trade::of_entry) {
            prices.insert(trade.timestamp - trade.timestamp.rem_euclid(1_000), trade.price);
            days.insert(Resolution::Day.start(trade.timestamp, &self.candles.zone));
        }
        let mut samples = Vec::with_capacity(prices.len() + days.len());
        let series = format!("market:price:{symbol}");
        for (timestamp, price) in prices {
            samples.push(SeriesSample { series: series.clone(), timestamp, value: nearest(&price.to_string()) });
        }
        for day in days {
            let value = nearest(&self.volume(symbols, day).await?.to_string());
            samples.push(SeriesSample { series: "trading:volume:daily".to_owned(), timestamp: day, value });
        }
        feed.store(samples).await?;
        let step = Advance {
            reader: READER,
            expected: &pending.position,
            position,
            trims: false,
            window: &WindowChange::default(),
            results: &[],
        };
        self.redis.call(tape::advance(&keys, &step, &self.clock)).await?;
        Ok(pending.entries.len() == STEP)
    }

    /// The volume of these symbols on the day that begins at `day`.
    async fn volume(&self, symbols: &[Symbol], day: UnixMillis) -> Result<Sum, TradeError> {
        let period = Stored::Days.period(day, &self.candles.zone);
        let read = |symbol: &Symbol| {
            let mut read = redis::cmd("HGET");
            read.arg(self.candles.keys.candles(symbol, Stored::Days, &period)).arg(day);
            read
        };
        let reads: Vec<redis::Cmd> = symbols.iter().map(read).collect();
        let mut volume = Sum::default();
        for answer in self.redis.query_all(&reads, Effect::Read).await? {
            let text = redis::from_redis_value::<Option<String>>(answer?).ok().flatten();
            volume =
                volume + text.and_then(|text| Candle::decode(&text)).map_or(Sum::default(), |candle| candle.volume);
        }
        Ok(volume)
    }
}

/// The float that is nearest to a decimal number; series hold floats.
fn nearest(decimal: &str) -> f64 {
    decimal.parse().unwrap_or_default()
}
