//! Data for charts: TradingView's Universal Data Feed.
//!
//! Source: TradingView, "Universal data feed", Charting Library documentation.

use jiff::tz::TimeZone;
use serde::ser::Error;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

use super::candle_store::Started;
use super::error::TradeError;
use super::interval::Resolution;
use super::service::TradeService;
use crate::tape::{Decimal, Symbol};

/// The most bars of one answer: the newest ones.
pub(super) const MAX_BARS: usize = 5_000;

/// The most symbols of which a search chooses, those of the latest trades.
const SEARCHED: usize = 10_000;

/// The decimals of a price in a chart, if its last day does not show more.
const USUAL_DECIMALS: usize = 2;

/// What the feed supports.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MarketUdfConfig)]
#[expect(clippy::struct_excessive_bools, reason = "TradingView defines them")]
pub(super) struct UdfConfig {
    pub supported_resolutions: Vec<String>,
    pub supports_group_request: bool,
    pub supports_marks: bool,
    pub supports_search: bool,
    pub supports_time: bool,
    pub supports_timescale_marks: bool,
}

/// A symbol, as a chart needs it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MarketUdfSymbol)]
pub(super) struct UdfSymbol {
    pub name: Symbol,
    pub ticker: Symbol,
    pub description: Symbol,
    #[serde(rename = "type")]
    pub kind: &'static str,
    pub session: &'static str,
    pub exchange: &'static str,
    pub listed_exchange: &'static str,
    /// The zone in which days begin.
    pub timezone: String,
    #[schema(minimum = 1, maximum = 1)]
    pub minmov: u8,
    /// 10 to the power of the decimals that prices show.
    #[schema(minimum = 1)]
    pub pricescale: u64,
    pub format: &'static str,
    pub has_intraday: bool,
    pub has_daily: bool,
    pub has_weekly_and_monthly: bool,
    pub supported_resolutions: Vec<String>,
    /// The resolutions in minutes for which the feed has bars.
    pub intraday_multipliers: Vec<String>,
    #[schema(minimum = 0, maximum = 18)]
    pub volume_precision: u8,
    pub data_status: &'static str,
}

/// A symbol that a search found.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MarketUdfMatch)]
pub(super) struct UdfMatch {
    pub symbol: Symbol,
    pub full_name: Symbol,
    pub description: Symbol,
    pub exchange: &'static str,
    pub ticker: Symbol,
    #[serde(rename = "type")]
    pub kind: &'static str,
}

/// Whether there are bars.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = MarketUdfStatus)]
pub(super) enum UdfStatus {
    Ok,
    NoData,
}

/// Bars, oldest first: one list for each number of a bar. The numbers have all their digits.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MarketUdfBars)]
pub(super) struct UdfBars {
    pub s: UdfStatus,
    /// Without bars: the time of the last bar before the requested ones, Unix seconds; absent if there is none.
    #[serde(rename = "nextTime", skip_serializing_if = "Option::is_none")]
    #[schema(required = false, nullable = false)]
    pub next_time: Option<i64>,
    /// The beginnings of the bars, Unix seconds.
    pub t: Vec<i64>,
    #[schema(value_type = Vec<f64>)]
    pub o: Vec<Number>,
    #[schema(value_type = Vec<f64>)]
    pub h: Vec<Number>,
    #[schema(value_type = Vec<f64>)]
    pub l: Vec<Number>,
    #[schema(value_type = Vec<f64>)]
    pub c: Vec<Number>,
    #[schema(value_type = Vec<f64>)]
    pub v: Vec<Number>,
}

/// A JSON number with the digits of a decimal.
#[derive(Debug)]
pub(super) struct Number(String);

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serde_json::from_str::<&RawValue>(&self.0).map_err(S::Error::custom)?.serialize(serializer)
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct UdfSymbolQuery {
    /// The symbol.
    #[param(example = "GRID")]
    pub symbol: Symbol,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct UdfSearchQuery {
    /// A part of the symbol, in any case.
    #[serde(default)]
    pub query: String,
    /// The kind of symbol; all have the same, so it is ignored.
    #[serde(default, rename = "type")]
    #[expect(dead_code, reason = "a chart sends it")]
    kind: String,
    /// The exchange; there is one, so it is ignored.
    #[serde(default)]
    #[expect(dead_code, reason = "a chart sends it")]
    exchange: String,
    /// The most symbols of the answer.
    #[serde(default = "usual_matches")]
    #[param(value_type = u64, required = false, minimum = 1, maximum = 1_000, default = 30)]
    pub limit: usize,
}

fn usual_matches() -> usize {
    30
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct UdfHistoryQuery {
    /// The symbol.
    #[param(example = "GRID")]
    pub symbol: Symbol,
    /// 1, 5, 15, 30, 60 or 240 minutes, or 1D.
    #[param(pattern = "^(1|5|15|30|60|240|D|1D)$", example = "60")]
    pub resolution: String,
    /// The first bar, Unix seconds. With `countback`, earlier ones follow. Charts ask for times before 1970, too.
    #[param(minimum = -9_007_199_254_740_i64, maximum = 9_007_199_254_740_i64, example = 0)]
    pub from: i64,
    /// The end, Unix seconds: bars begin before it.
    #[param(minimum = -9_007_199_254_740_i64, maximum = 9_007_199_254_740_i64, example = 4_102_444_800_i64)]
    pub to: i64,
    /// How many bars the chart needs before `to`, whatever `from` is.
    #[param(value_type = u64, required = false, minimum = 1, maximum = 5_000)]
    pub countback: Option<usize>,
}

impl UdfHistoryQuery {
    /// `from` and `to`, Unix milliseconds.
    fn range(&self) -> [i64; 2] {
        [self.from, self.to].map(|seconds| seconds.max(0).saturating_mul(1_000))
    }
}

pub(super) fn config() -> UdfConfig {
    UdfConfig {
        supported_resolutions: resolutions(),
        supports_group_request: false,
        supports_marks: false,
        supports_search: true,
        supports_time: true,
        supports_timescale_marks: false,
    }
}

fn resolutions() -> Vec<String> {
    Resolution::ALL.map(Resolution::udf_name).into()
}

impl TradeService {
    /// What a chart needs to know about a symbol.
    ///
    /// # Errors
    /// [`TradeError::NoSymbol`], [`TradeError::Behind`], [`TradeError::Redis`].
    pub(super) async fn udf_symbol(&self, symbol: Symbol) -> Result<UdfSymbol, TradeError> {
        let last_day = self.candles(&symbol, Resolution::Day, [0, i64::MAX], 1).await?;
        let Some((_, day)) = last_day.first() else { return Err(TradeError::NoSymbol(symbol)) };
        let decimals = [day.open, day.high, day.low, day.close].map(decimals).into_iter().max().unwrap_or_default();
        let places = u32::try_from(decimals.max(USUAL_DECIMALS)).unwrap_or(u32::MAX);
        let intraday = Resolution::ALL.into_iter().filter(|resolution| *resolution != Resolution::Day);
        Ok(UdfSymbol {
            name: symbol.clone(),
            ticker: symbol.clone(),
            description: symbol,
            kind: "commodity",
            session: "24x7",
            exchange: "",
            listed_exchange: "",
            timezone: zone_name(&self.candles.zone),
            minmov: 1,
            pricescale: 10_u64.saturating_pow(places),
            format: "price",
            has_intraday: true,
            has_daily: true,
            has_weekly_and_monthly: false,
            supported_resolutions: resolutions(),
            intraday_multipliers: intraday.map(Resolution::udf_name).collect(),
            volume_precision: 9,
            data_status: "streaming",
        })
    }

    /// The symbols that contain a text, at most `limit`, those of the latest trades first.
    ///
    /// # Errors
    /// [`TradeError::Redis`].
    pub(super) async fn udf_search(&self, text: &str, limit: usize) -> Result<Vec<UdfMatch>, TradeError> {
        let text = text.to_ascii_lowercase();
        let symbols = self.listing.symbols(0, SEARCHED).await?.into_iter();
        let found = symbols.filter(|symbol| symbol.as_str().to_ascii_lowercase().contains(&text)).take(limit);
        let describe = |symbol: Symbol| UdfMatch {
            full_name: symbol.clone(),
            description: symbol.clone(),
            exchange: "",
            ticker: symbol.clone(),
            kind: "commodity",
            symbol,
        };
        Ok(found.map(describe).collect())
    }

    /// The bars of a window. With `countback`, the newest so many bars before its end, even if they begin before the
    /// window. Without any, the time of the last bar before the window.
    ///
    /// # Errors
    /// [`TradeError::Behind`], [`TradeError::Redis`].
    pub(super) async fn udf_history(
        &self,
        query: &UdfHistoryQuery,
        resolution: Resolution,
    ) -> Result<UdfBars, TradeError> {
        let [from, to] = query.range();
        let symbol = &query.symbol;
        let mut bars = self.candles(symbol, resolution, [from, to], MAX_BARS).await?;
        let missing = query.countback.unwrap_or_default().saturating_sub(bars.len());
        if missing > 0 {
            bars.extend(self.candles(symbol, resolution, [0, from.min(to)], missing).await?);
        }
        if bars.is_empty() {
            let before = self.candles(symbol, resolution, [0, from.min(to)], 1).await?;
            return Ok(bars_of(before.first().map(|(start, _)| start / 1_000), Vec::new()));
        }
        bars.reverse();
        Ok(bars_of(None, bars))
    }
}

/// The answer with these bars, oldest first.
fn bars_of(next_time: Option<i64>, bars: Vec<Started>) -> UdfBars {
    let s = if bars.is_empty() { UdfStatus::NoData } else { UdfStatus::Ok };
    let mut answer = UdfBars { s, next_time, t: vec![], o: vec![], h: vec![], l: vec![], c: vec![], v: vec![] };
    for (start, candle) in bars {
        answer.t.push(start / 1_000);
        for (list, price) in [
            (&mut answer.o, candle.open),
            (&mut answer.h, candle.high),
            (&mut answer.l, candle.low),
            (&mut answer.c, candle.close),
        ] {
            list.push(Number(price.to_string()));
        }
        answer.v.push(Number(candle.volume.to_string()));
    }
    answer
}

/// The decimals that a price needs.
fn decimals(price: Decimal) -> usize {
    price.to_string().split_once('.').map_or(0, |(_, fraction)| fraction.len())
}

/// The name of a zone for a chart.
fn zone_name(zone: &TimeZone) -> String {
    match zone.iana_name() {
        Some(name) if name != "UTC" => name.to_owned(),
        _ => "Etc/UTC".to_owned(),
    }
}
