//! Wire types of trades, candles and statistics.

use serde::{Deserialize, Serialize, Serializer};
use utoipa::{IntoParams, ToSchema};

use super::candle_store::Started;
use super::interval::Resolution;
use crate::clock::UnixMillis;
use crate::http::times::{self, QueryTime};
use crate::tape::{Decimal, Reference, Side, Sum, Symbol, Trade};

/// The most trades of a JSON report, and of one script call.
pub(super) const MAX_TRADES: usize = 200;

/// Trades of one symbol.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = MarketTradeReport)]
#[schema(example = json!({ "symbol": "GRID", "trades": [
    { "trade_id": "t-1", "price": "3.41", "quantity": "12.5", "side": "buy" }] }))]
pub(super) struct TradeReport {
    pub symbol: Symbol,
    /// All of them are stored, or none.
    #[schema(min_items = 1, max_items = 200)]
    pub trades: Vec<ReportedTrade>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = MarketReportedTrade)]
pub(super) struct ReportedTrade {
    /// Identifies the trade among those of its symbol: a repetition stores nothing.
    pub trade_id: Reference,
    pub price: Decimal,
    /// Above zero.
    pub quantity: Decimal,
    /// Unix milliseconds, or RFC 3339; the time of the call if absent. At most 5 s ahead, and at most 365 days ago.
    #[serde(default, deserialize_with = "times::millis_or_rfc3339_if_given")]
    pub timestamp: Option<UnixMillis>,
    /// The side of the taker; absent if there was none.
    #[serde(default)]
    pub side: Option<Side>,
    #[serde(default)]
    pub buyer: Option<Reference>,
    #[serde(default)]
    pub seller: Option<Reference>,
    #[serde(default)]
    pub buy_order_id: Option<Reference>,
    #[serde(default)]
    pub sell_order_id: Option<Reference>,
}

/// One trade per line, like the items of `trades` in the JSON body.
#[derive(ToSchema)]
#[schema(as = MarketTradeLines, value_type = String)]
#[expect(dead_code, reason = "described here, read line by line by the handler")]
#[schema(
    example = "{\"trade_id\":\"t-2\",\"price\":\"3.42\",\"quantity\":\"8\"}\n{\"trade_id\":\"t-3\",\"price\":\"3.4\",\"quantity\":\"0.5\"}\n"
)]
pub(super) struct TradeLines(String);

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct TradeReportQuery {
    /// The symbol of all trades of an NDJSON body, which needs it. A JSON body names its symbol.
    #[param(value_type = Option<String>, required = false, nullable = false, pattern = r"^[A-Za-z0-9._:\-]{1,64}$")]
    pub symbol: Option<Symbol>,
}

/// What was stored.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MarketTradeReceipt)]
pub(super) struct TradeReceipt {
    pub symbol: Symbol,
    /// The number of trades that were stored.
    pub stored: usize,
    /// The number of trades that the tape already had.
    pub replayed: usize,
    /// In the order of the request.
    pub items: Vec<TradeReceiptItem>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MarketTradeReceiptItem)]
pub(super) struct TradeReceiptItem {
    pub trade_id: String,
    /// The position of the trade on the tape.
    pub tape_id: String,
    pub replayed: bool,
}

/// A trade, without its parties.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MarketTrade)]
pub(super) struct TradeView {
    pub trade_id: String,
    /// The position of the trade on the tape.
    pub tape_id: String,
    /// Unix milliseconds.
    pub timestamp: UnixMillis,
    pub price: Decimal,
    pub quantity: Decimal,
    /// The side of the taker; null if there was none.
    #[schema(required = true)]
    pub side: Option<Side>,
}

impl TradeView {
    pub(super) fn new(tape_id: String, trade: Trade) -> Self {
        let Trade { id: trade_id, timestamp, price, quantity, side } = trade;
        Self { trade_id, tape_id, timestamp, price, quantity, side }
    }
}

/// The trades of an interval.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MarketCandle)]
pub(super) struct CandleView {
    /// The beginning of the interval, Unix milliseconds.
    pub start: UnixMillis,
    pub open: Decimal,
    pub high: Decimal,
    pub low: Decimal,
    pub close: Decimal,
    /// The sum of the quantities.
    #[serde(serialize_with = "as_text")]
    #[schema(value_type = Decimal)]
    pub volume: Sum,
    /// The sum of price times quantity.
    #[serde(serialize_with = "as_text")]
    #[schema(value_type = Decimal)]
    pub quote_volume: Sum,
    #[schema(minimum = 1)]
    pub trades: u64,
}

impl From<Started> for CandleView {
    fn from((start, candle): Started) -> Self {
        Self {
            start,
            open: candle.open,
            high: candle.high,
            low: candle.low,
            close: candle.close,
            volume: candle.volume,
            quote_volume: candle.quote,
            trades: candle.trades,
        }
    }
}

fn as_text<S: Serializer>(sum: &Sum, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(sum)
}

#[expect(clippy::ref_option, reason = "the form of a serializer of a field")]
fn as_text_if_known<S: Serializer>(sum: &Option<Sum>, serializer: S) -> Result<S::Ok, S::Error> {
    match sum {
        Some(sum) => serializer.collect_str(sum),
        None => serializer.serialize_none(),
    }
}

/// The trades of the last 24 hours. Without trades, everything but `trades` is null, never 0.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = MarketStatistics)]
pub(super) struct Statistics {
    pub symbol: Symbol,
    /// The price of the last trade.
    #[schema(required = true)]
    pub last: Option<Decimal>,
    /// `last` less the price of the first trade.
    #[schema(required = true)]
    pub change: Option<Decimal>,
    /// `change` in percent of the first price, to four decimals; null if that price is 0.
    #[schema(required = true)]
    pub change_percent: Option<Decimal>,
    #[schema(required = true)]
    pub high: Option<Decimal>,
    #[schema(required = true)]
    pub low: Option<Decimal>,
    /// `quote_volume` divided by `volume`, to 18 decimals.
    #[schema(required = true)]
    pub vwap: Option<Decimal>,
    /// The sum of the quantities.
    #[serde(serialize_with = "as_text_if_known")]
    #[schema(value_type = Option<Decimal>, required = true)]
    pub volume: Option<Sum>,
    /// The sum of price times quantity.
    #[serde(serialize_with = "as_text_if_known")]
    #[schema(value_type = Option<Decimal>, required = true)]
    pub quote_volume: Option<Sum>,
    pub trades: u64,
    /// The time for which the numbers hold, Unix milliseconds. The 24 hours begin with a whole minute.
    pub as_of: UnixMillis,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Path)]
pub(super) struct SymbolPath {
    /// The symbol.
    #[param(example = "GRID")]
    pub symbol: Symbol,
}

/// The most items of a page.
pub(super) const MAX_PAGE: usize = 1_000;

fn usual_page() -> usize {
    100
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct TradesQuery {
    /// The most trades of the page.
    #[serde(default = "usual_page")]
    #[param(value_type = u64, required = false, minimum = 1, maximum = 1_000, default = 100)]
    pub limit: usize,
    /// `next_cursor` of the previous page.
    #[param(pattern = "^[0-9]{1,16}-[0-9]{1,16}$")]
    pub cursor: Option<String>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct CandlesQuery {
    /// The length of the candles; `1m` if it is absent.
    #[serde(default = "one_minute")]
    #[param(value_type = Resolution, required = false, inline)]
    pub resolution: Resolution,
    /// The candles that begin here or later; without it, all that are stored.
    #[serde(default)]
    #[param(value_type = QueryTime, required = false)]
    pub from: Option<QueryTime>,
    /// The candles that begin before this time; without it, all.
    #[serde(default)]
    #[param(value_type = QueryTime, required = false)]
    pub to: Option<QueryTime>,
    /// The most candles of the page.
    #[serde(default = "usual_page")]
    #[param(value_type = u64, required = false, minimum = 1, maximum = 1_000, default = 100)]
    pub limit: usize,
    /// `next_cursor` of the previous page.
    #[param(value_type = String, required = false, pattern = "^[0-9]{1,16}$")]
    pub cursor: Option<u64>,
}

fn one_minute() -> Resolution {
    Resolution::OneMinute
}
