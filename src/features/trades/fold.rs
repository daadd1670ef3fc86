//! The fold: adds the trades of a tape to the candles and the window of its symbol.
//!
//! The position on the tape, the candles and the window move in one script. A crash leaves both as they were, and a replica that was
//! slower than another one changes nothing: every trade is in the candles once.

use std::collections::BTreeMap;

use futures_util::{StreamExt, TryStreamExt, stream};

use super::error::TradeError;
use super::interval::{Period, Stored};
use super::service::TradeService;
use crate::clock::UnixMillis;
use crate::redis::RedisFault;
use crate::tape::{self, Advance, Candle, Entry, MINUTE, Minute, Results, Symbol, Trade};

/// The name of the fold's position on a tape.
const READER: &str = "folded";

/// The most entries of one step.
const STEP: usize = 1_000;

/// The reads of stored candles that are under way at a time; late trades of many days need one for each.
const READS: usize = 8;

/// The most steps of one call: twice the entries that a tape can have, since another replica may fold at the same time.
const STEPS: usize = 400;

impl TradeService {
    /// Folds all trades that are on the tape when this is called.
    ///
    /// # Errors
    /// [`TradeError::Behind`] if new trades come faster than the fold; [`TradeError::Redis`]. What was folded stays
    /// folded.
    pub(super) async fn fold(&self, symbol: &Symbol) -> Result<(), TradeError> {
        let keys = self.candles.keys.tape(symbol);
        for _ in 0..STEPS {
            let pending = self.redis.call(tape::pending(&keys, READER, STEP)).await?;
            let Some((position, _)) = pending.entries.last() else { return Ok(()) };
            let (minutes, unreadable) = minutes(&pending.entries);
            let oldest = self.window.kept_from(self.clock.now());
            let new = minutes.iter().map(|(minute, trades)| (*minute, trades.clone())).collect();
            // Together: when Redis is busy, each exchange waits for the batches of those who report trades.
            let window = tape::changed(&self.redis, &keys.window, new, oldest);
            let (results, window) = tokio::try_join!(self.merged(symbol, &minutes), window)?;
            let step = Advance {
                reader: READER,
                expected: &pending.position,
                position,
                trims: true,
                window: &window,
                results: &results,
            };
            if !self.redis.call(tape::advance(&keys, &step, &self.clock)).await? {
                // Another replica has folded these trades, or removed a minute from the window.
                continue;
            }
            self.metrics.unreadable.inc_by(unreadable);
            self.metrics.folded.inc_by(pending.entries.len() as u64 - unreadable);
            if unreadable > 0 {
                tracing::warn!(%symbol, unreadable, position, "entries of the tape are not trades; the fold left them out");
            }
            if pending.entries.len() < STEP {
                return Ok(());
            }
        }
        Err(TradeError::Behind(symbol.clone()))
    }

    /// The stored candles after the new trades, which are given by minute.
    async fn merged(
        &self,
        symbol: &Symbol,
        minutes: &BTreeMap<UnixMillis, Minute>,
    ) -> Result<Vec<Results>, RedisFault> {
        let (now, zone) = (self.clock.now(), &self.candles.zone);
        let mut all = Vec::new();
        for stored in Stored::ALL {
            let mut new: BTreeMap<UnixMillis, Candle> = BTreeMap::new();
            for (minute, Minute { candle, .. }) in minutes {
                let start = stored.resolution().start(*minute, zone);
                new.entry(start).and_modify(|known| known.add(candle)).or_insert_with(|| candle.clone());
            }
            let mut rest = new.into_iter().peekable();
            while let Some(&(start, _)) = rest.peek() {
                let period = stored.period(start, zone);
                let of_period: Vec<(UnixMillis, Candle)> =
                    std::iter::from_fn(|| rest.next_if(|(start, _)| *start < period.end)).collect();
                let life = period.end + stored.retention() - now;
                // Expired candles do not come back with the late trades only.
                if life > 0 {
                    all.push(self.merged_in_period(symbol, stored, period, life, of_period));
                }
            }
        }
        stream::iter(all).buffered(READS).try_collect().await
    }

    async fn merged_in_period(
        &self,
        symbol: &Symbol,
        stored: Stored,
        period: Period,
        life: i64,
        new: Vec<(UnixMillis, Candle)>,
    ) -> Result<Results, RedisFault> {
        let key = self.candles.keys.candles(symbol, stored, &period);
        let starts: Vec<UnixMillis> = new.iter().map(|(start, _)| *start).collect();
        let known = self.candles.read(&key, &starts).await?;
        let merge = |((start, new), known): ((UnixMillis, Candle), Option<Candle>)| {
            let merged = known.map_or_else(
                || new.clone(),
                |mut known| {
                    known.add(&new);
                    known
                },
            );
            (start.to_string(), merged.encode())
        };
        Ok(Results { key, life, fields: new.into_iter().zip(known).map(merge).collect() })
    }
}

/// The minutes of these trades alone, and how many entries are not trades.
fn minutes(entries: &[Entry]) -> (BTreeMap<UnixMillis, Minute>, u64) {
    let (mut minutes, mut unreadable): (BTreeMap<UnixMillis, Minute>, u64) = (BTreeMap::new(), 0);
    for entry in entries {
        let Some(trade) = Trade::of_entry(entry) else {
            unreadable += 1;
            continue;
        };
        let start = trade.timestamp - trade.timestamp.rem_euclid(MINUTE);
        minutes.entry(start).and_modify(|known| known.add_trade(&trade)).or_insert_with(|| Minute::from(&trade));
    }
    (minutes, unreadable)
}
