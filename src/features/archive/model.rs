//! Wire types of the window and the archive.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::coverage::Coverage;
use crate::clock::UnixMillis;
use crate::config::value::Span;
use crate::http::times::QueryTime;
use crate::tape::{Candle, Decimal, Level, Levels, Side, Sum, Symbol, Trade};

/// The most price levels of a page, so that its size is bounded.
pub(super) const MAX_PAGE_LEVELS: usize = 50_000;

/// The order of minutes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = MarketOrder)]
pub(super) enum Order {
    /// Oldest first.
    #[default]
    Asc,
    /// Newest first.
    Desc,
}

/// The volumes of a price level. Takers bought and sold; trades without a taker are in the total only.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[expect(clippy::struct_field_names, reason = "the names of the wire")]
#[schema(as = MarketPriceLevel)]
pub(super) struct PriceLevel {
    /// The price, or the lowest price of a level that is wider.
    pub price_level: Decimal,
    #[schema(value_type = Decimal)]
    pub buy_volume: Sum,
    #[schema(value_type = Decimal)]
    pub sell_volume: Sum,
    #[schema(value_type = Decimal)]
    pub total_volume: Sum,
    /// `buy_volume` less `sell_volume`.
    #[schema(value_type = Decimal)]
    pub delta: Sum,
    pub trade_count: u64,
}

impl PriceLevel {
    fn new(price_level: Decimal, level: &Level) -> Self {
        let Level { buy, sell, total, trades } = *level;
        Self {
            price_level,
            buy_volume: buy,
            sell_volume: sell,
            total_volume: total,
            delta: buy - sell,
            trade_count: trades,
        }
    }

    /// The levels by ascending price.
    pub(super) fn all(levels: &Levels) -> Vec<Self> {
        levels.by_price.iter().map(|(price, level)| Self::new(*price, level)).collect()
    }
}

/// The trades of a minute in total.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MarketMinuteSum)]
pub(super) struct MinuteSum {
    /// Null, like `close` and the other fields that may be, if the minute was imported: such files have volumes only.
    #[schema(required = true)]
    pub open: Option<Decimal>,
    pub high: Decimal,
    pub low: Decimal,
    #[schema(required = true)]
    pub close: Option<Decimal>,
    /// The sum of the quantities.
    #[schema(value_type = Decimal)]
    pub volume: Sum,
    /// The sum of price times quantity.
    #[schema(value_type = Option<Decimal>, required = true)]
    pub quote_volume: Option<Sum>,
    #[schema(minimum = 1)]
    pub trades: u64,
    /// The time of the first trade, Unix milliseconds.
    #[schema(required = true)]
    pub first_trade: Option<UnixMillis>,
    /// The time of the last trade.
    #[schema(required = true)]
    pub last_trade: Option<UnixMillis>,
}

impl MinuteSum {
    pub(super) fn new(candle: &Candle, is_imported: bool) -> Self {
        Self {
            open: (!is_imported).then_some(candle.open),
            high: candle.high,
            low: candle.low,
            close: (!is_imported).then_some(candle.close),
            volume: candle.volume,
            quote_volume: (!is_imported).then_some(candle.quote),
            trades: candle.trades,
            first_trade: (!is_imported).then_some(candle.first),
            last_trade: (!is_imported).then_some(candle.last),
        }
    }
}

/// The trades of a minute by price.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MarketMinute)]
pub(super) struct MinuteView {
    /// The beginning of the minute, Unix milliseconds.
    pub minute: UnixMillis,
    /// Whether the minute is over. A late trade may still change it.
    pub complete: bool,
    /// The version of the file from which the minute comes; absent if it comes from Redis.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// The width of the price levels if the minute had more than 1,000 prices; null if each level is one price.
    #[schema(required = true)]
    pub level_size: Option<Decimal>,
    /// By ascending price.
    pub price_levels: Vec<PriceLevel>,
    /// Null if there were no trades.
    #[schema(required = true)]
    pub sum: Option<MinuteSum>,
}

/// A page of minutes; those without trades are left out.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MarketMinutePage)]
pub(super) struct MinutesView {
    pub items: Vec<MinuteView>,
    /// Present if the service keeps files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub coverage: Option<Coverage>,
    /// Pass this as `cursor` to get the next page; null on the last page.
    #[schema(required = true)]
    pub next_cursor: Option<String>,
}

/// Volumes by price, and what follows from them.
#[derive(Debug)]
pub(super) struct Profile {
    pub levels: Levels,
    pub total: Level,
    pub point_of_control: Option<Decimal>,
    pub value_area: Option<ValueArea>,
}

/// The price levels around the point of control that have 70 % of the volume.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[schema(as = MarketValueArea)]
pub(super) struct ValueArea {
    /// The lowest price level.
    pub low: Decimal,
    /// The highest price level.
    pub high: Decimal,
}

/// The volumes of a time by price.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MarketProfile)]
pub(super) struct ProfileView {
    /// The beginning of the time, Unix milliseconds.
    pub from: UnixMillis,
    /// The end of the time; a trade at this moment is not included.
    pub to: UnixMillis,
    /// The width of the price levels; null if each level is one price.
    #[schema(required = true)]
    pub level_size: Option<Decimal>,
    #[schema(value_type = Decimal)]
    pub buy_volume: Sum,
    #[schema(value_type = Decimal)]
    pub sell_volume: Sum,
    #[schema(value_type = Decimal)]
    pub total_volume: Sum,
    /// `buy_volume` less `sell_volume`.
    #[schema(value_type = Decimal)]
    pub delta: Sum,
    pub trades: u64,
    /// The price level with the most volume, the lowest one of several; null without trades.
    #[schema(required = true)]
    pub point_of_control: Option<Decimal>,
    /// Null without trades.
    #[schema(required = true)]
    pub value_area: Option<ValueArea>,
    /// By ascending price.
    pub price_levels: Vec<PriceLevel>,
    /// Present in a profile if the service keeps files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub coverage: Option<Coverage>,
}

impl ProfileView {
    pub(super) fn new([from, to]: [UnixMillis; 2], profile: &Profile) -> Self {
        let Level { buy, sell, total, trades } = profile.total;
        Self {
            from,
            to,
            level_size: profile.levels.size,
            buy_volume: buy,
            sell_volume: sell,
            total_volume: total,
            delta: buy - sell,
            trades,
            point_of_control: profile.point_of_control,
            value_area: profile.value_area,
            price_levels: PriceLevel::all(&profile.levels),
            coverage: None,
        }
    }
}

/// The volumes by price of each bucket of time with trades, oldest first.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MarketFootprint)]
pub(super) struct FootprintView {
    pub items: Vec<ProfileView>,
    /// Present if the service keeps files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub coverage: Option<Coverage>,
}

/// A single trade.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MarketSingleTrade)]
pub(super) struct SingleTrade {
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
    /// Present for callers with the scope `trades:parties`, if the report named the buyer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub buyer: Option<String>,
    /// Present for callers with the scope `trades:parties`, if the report named the seller.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seller: Option<String>,
}

impl SingleTrade {
    pub(super) fn new(tape_id: String, trade: Trade, parties: Option<[Option<String>; 2]>) -> Self {
        let Trade { id: trade_id, timestamp, price, quantity, side } = trade;
        let [buyer, seller] = parties.unwrap_or_default();
        Self { trade_id, tape_id, timestamp, price, quantity, side, buyer, seller }
    }
}

fn usual_page() -> usize {
    100
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct SingleTradesQuery {
    /// The symbol.
    #[param(example = "GRID")]
    pub symbol: Symbol,
    /// The trades made at this time or later; without it, those of the last 24 hours.
    #[param(value_type = QueryTime, required = false)]
    pub from: Option<QueryTime>,
    /// The trades made before this time; without it, all.
    #[param(value_type = QueryTime, required = false)]
    pub to: Option<QueryTime>,
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
pub(super) struct MinutesQuery {
    /// The symbol.
    #[param(example = "GRID")]
    pub symbol: Symbol,
    /// The minutes that begin here or later; without it, those of the last 24 hours.
    #[param(value_type = QueryTime, required = false)]
    pub from: Option<QueryTime>,
    /// The minutes that begin before this time; without it, all.
    #[param(value_type = QueryTime, required = false)]
    pub to: Option<QueryTime>,
    /// `asc`, oldest first, or `desc`.
    #[serde(default)]
    #[param(value_type = Order, required = false, inline)]
    pub order: Order,
    /// The most minutes of the page.
    #[serde(default = "usual_page")]
    #[param(value_type = u64, required = false, minimum = 1, maximum = 500, default = 100)]
    pub limit: usize,
    /// `next_cursor` of the previous page.
    #[param(value_type = String, required = false, pattern = "^[0-9]{1,16}$")]
    pub cursor: Option<u64>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Path)]
pub(super) struct MinutePath {
    /// The symbol.
    #[param(example = "GRID")]
    pub symbol: Symbol,
    /// A time within the minute.
    #[param(value_type = QueryTime, example = "now")]
    pub minute: QueryTime,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct MinuteQuery {
    /// The version of the minute's file; without it, what counts now.
    #[param(value_type = u32, required = false, minimum = 1)]
    pub version: Option<u32>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ProfileQuery {
    /// The symbol.
    #[param(example = "GRID")]
    pub symbol: Symbol,
    /// The minutes that begin here or later, at most 7 days before `to`; without it, those of the last 24 hours.
    #[param(value_type = QueryTime, required = false)]
    pub from: Option<QueryTime>,
    /// The minutes that begin before this time; without it, those up to now.
    #[param(value_type = QueryTime, required = false)]
    pub to: Option<QueryTime>,
    /// The least width of price levels, 1 or 2 times a power of ten; without it, levels are prices. Levels become wider if
    /// there are more than 1,000.
    #[param(value_type = Decimal, required = false)]
    pub step: Option<Decimal>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct FootprintQuery {
    /// The symbol.
    #[param(example = "GRID")]
    pub symbol: Symbol,
    /// The minutes that begin here or later; without it, those of the last 3 hours.
    #[param(value_type = QueryTime, required = false)]
    pub from: Option<QueryTime>,
    /// The minutes that begin before this time; without it, those up to now.
    #[param(value_type = QueryTime, required = false)]
    pub to: Option<QueryTime>,
    /// The length of a bucket: whole minutes that divide a day, such as `15m`; `1m` if it is absent. There may be at most 200
    /// buckets.
    #[param(value_type = String, required = false, pattern = "^[0-9]{1,4}(m|h|d)$")]
    pub bucket: Option<Span>,
    /// The least width of price levels, 1 or 2 times a power of ten; without it, levels are prices. Levels become wider if a
    /// bucket has more than 250.
    #[param(value_type = Decimal, required = false)]
    pub step: Option<Decimal>,
}
