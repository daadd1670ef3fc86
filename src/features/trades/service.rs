//! Reads trades, candles and statistics. A read folds what is new on the tape first, so callers see the trades that they
//! have just reported.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::tz::TimeZone;

use super::candle_store::{CandleStore, Started};
use super::error::TradeError;
use super::interval::{DAY, Resolution};
use super::keys::TradeKeys;
use super::metrics::TradeMetrics;
use super::model::{CandleView, Statistics, TradeView};
use crate::clock::{Clock, UnixMillis};
use crate::config::archive::ArchiveConfig;
use crate::deps::Deps;
use crate::events::Events;
use crate::http::reply::Page;
use crate::redis::Redis;
use crate::tape::{self, Decimal, Listing, MINUTE, Symbol, Trade};

/// How long statistics are served from memory.
const STATISTICS_AGE: Duration = Duration::from_secs(1);

/// The most symbols whose statistics are in memory.
const STATISTICS: usize = 1_000;

#[derive(Debug)]
pub(super) struct TradeService {
    pub redis: Redis,
    pub events: Events,
    pub candles: CandleStore,
    pub listing: Listing,
    pub clock: Clock,
    pub metrics: TradeMetrics,
    pub window: ArchiveConfig,
    /// The statistics of symbols, and when they were computed.
    statistics: Mutex<HashMap<Symbol, (Duration, Statistics)>>,
}

impl TradeService {
    pub(super) fn new(deps: &Deps, zone: TimeZone, window: ArchiveConfig) -> Self {
        let redis = deps.redis.state.clone();
        let candles = CandleStore { keys: TradeKeys::new(redis.keys()), redis: redis.clone(), zone };
        Self {
            listing: deps.tapes.clone(),
            redis,
            events: deps.events.clone(),
            candles,
            clock: deps.clock.clone(),
            metrics: TradeMetrics::new(&deps.metrics),
            window,
            statistics: Mutex::default(),
        }
    }

    /// A page of trades in the order of the tape, newest first: those before the entry `before`.
    ///
    /// # Errors
    /// [`TradeError::Redis`].
    pub(super) async fn trades(
        &self,
        symbol: &Symbol,
        before: Option<&str>,
        limit: usize,
    ) -> Result<Page<TradeView>, TradeError> {
        let tape = self.candles.keys.tape(symbol).tape;
        let mut entries = tape::newest(&self.redis, &tape, before, limit + 1).await?;
        let is_last = entries.len() <= limit;
        entries.truncate(limit);
        let next_cursor = entries.last().filter(|_| !is_last).map(|(id, _)| id.clone());
        let view = |entry: tape::Entry| Trade::of_entry(&entry).map(|trade| TradeView::new(entry.0, trade));
        Ok(Page { items: entries.into_iter().filter_map(view).collect(), next_cursor })
    }

    /// The newest candles that begin from `from` to before `to`, at most `limit`, newest first.
    ///
    /// # Errors
    /// [`TradeError::Behind`], [`TradeError::Redis`].
    pub(super) async fn candles(
        &self,
        symbol: &Symbol,
        resolution: Resolution,
        [from, to]: [UnixMillis; 2],
        limit: usize,
    ) -> Result<Vec<Started>, TradeError> {
        self.fold(symbol).await?;
        Ok(self.candles.newest(symbol, resolution, from..to, limit, self.clock.now()).await?)
    }

    /// A page of [`TradeService::candles`].
    ///
    /// # Errors
    /// [`TradeError::Behind`], [`TradeError::Redis`].
    pub(super) async fn candle_page(
        &self,
        symbol: &Symbol,
        resolution: Resolution,
        range: [UnixMillis; 2],
        limit: usize,
    ) -> Result<Page<CandleView>, TradeError> {
        let mut candles = self.candles(symbol, resolution, range, limit + 1).await?;
        let is_last = candles.len() <= limit;
        candles.truncate(limit);
        let next_cursor = candles.last().filter(|_| !is_last).map(|(start, _)| start.to_string());
        Ok(Page { items: candles.into_iter().map(CandleView::from).collect(), next_cursor })
    }

    /// The statistics of the last 24 hours, at most a second old.
    ///
    /// # Errors
    /// [`TradeError::Behind`], [`TradeError::Redis`].
    pub(super) async fn statistics(&self, symbol: &Symbol) -> Result<Statistics, TradeError> {
        let elapsed = self.clock.elapsed();
        let is_fresh = |computed: &Duration| elapsed.saturating_sub(*computed) < STATISTICS_AGE;
        if let Some((_, known)) = self.known_statistics().get(symbol).filter(|(computed, _)| is_fresh(computed)) {
            return Ok(known.clone());
        }
        let as_of = self.clock.now();
        let minute = as_of - as_of.rem_euclid(MINUTE);
        // A trade may be a few seconds ahead of this clock.
        let range = [minute + MINUTE - DAY, minute + 2 * MINUTE];
        let candles = self.candles(symbol, Resolution::OneMinute, range, usize::MAX).await?;
        let statistics = statistics(symbol, candles, as_of);
        let mut known = self.known_statistics();
        if known.len() >= STATISTICS {
            known.clear();
        }
        known.insert(symbol.clone(), (elapsed, statistics.clone()));
        Ok(statistics)
    }

    /// Computes the statistics of a symbol again when they are read next.
    pub(super) fn forget_statistics(&self, symbol: &Symbol) {
        self.known_statistics().remove(symbol);
    }

    fn known_statistics(&self) -> MutexGuard<'_, HashMap<Symbol, (Duration, Statistics)>> {
        self.statistics.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `candles` are newest first.
fn statistics(symbol: &Symbol, candles: Vec<Started>, as_of: UnixMillis) -> Statistics {
    let day = candles.into_iter().rev().map(|(_, candle)| candle).reduce(|mut day, later| {
        day.add(&later);
        day
    });
    let change = day.as_ref().map(|day| Decimal::of_units(day.close.units() - day.open.units()));
    Statistics {
        symbol: symbol.clone(),
        last: day.as_ref().map(|day| day.close),
        change,
        change_percent: day.as_ref().zip(change).and_then(|(day, change)| percent(change, day.open)),
        high: day.as_ref().map(|day| day.high),
        low: day.as_ref().map(|day| day.low),
        vwap: day.as_ref().and_then(|day| day.quote.divided_by(day.volume)),
        volume: day.as_ref().map(|day| day.volume),
        quote_volume: day.as_ref().map(|day| day.quote),
        trades: day.map_or(0, |day| day.trades),
        as_of,
    }
}

/// `part` in percent of the amount of `whole`, rounded towards zero to four decimals; `None` if that is 0.
fn percent(part: Decimal, whole: Decimal) -> Option<Decimal> {
    /// Four decimals of a percentage.
    const STEPS: i128 = 1_000_000;
    const STEP_UNITS: i128 = 10_i128.pow(14);
    let steps = (part.units() * STEPS).checked_div(whole.units().abs())?;
    steps.checked_mul(STEP_UNITS).map(Decimal::of_units)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentage_has_four_decimals() {
        for (part, whole, expected) in [
            ("1", "3", Some("33.3333")),
            ("-1", "3", Some("-33.3333")),
            ("0.5", "-2", Some("25")),
            ("1", "0", None),
            ("999999999999", "0.000000000000000001", None),
        ] {
            let [part, whole] = [part, whole].map(|text| text.parse::<Decimal>().expect(text));
            assert_eq!(percent(part, whole).map(|percent| percent.to_string()).as_deref(), expected, "{part} {whole}");
        }
    }
}
