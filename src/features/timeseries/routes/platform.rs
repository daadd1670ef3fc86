//! The HTTP operations on the platform's own series: meter readings, prices, market volume and settlements.

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::IntoParams;

use super::super::model::{NewSamples, SamplesAnswer};
use super::super::platform::model::{NewPrices, NewReading, NewReadings, WriteAnswer};
use super::super::platform::{Energy, market_volume, settlement};
use super::super::query::RangeQuery;
use super::super::range::RangePage;
use super::super::render;
use super::super::service::TimeseriesService;
use super::range::page_response;
use super::written::written;
use crate::http::batch_item::BatchItem;
use crate::http::extract::{Json, NoQuery, Path, Query, parse_query};
use crate::http::fencing::GrantToken;
use crate::http::negotiation::{Form, accepted};
use crate::http::problem::Problem;

/// The path parameters of a meter.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(in crate::features::timeseries) struct MeterPath {
    /// The meter: a UUID, a meter number such as MTR-001, or a serial number.
    #[param(min_length = 1, max_length = 493, pattern = "^[^\\x00-\\x1F\\x7F-\\x9F]+$", example = "MTR-001")]
    id: String,
}

/// The path parameters of a symbol.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(in crate::features::timeseries) struct SymbolPath {
    /// The symbol of the market.
    #[param(min_length = 1, max_length = 498, pattern = "^[^\\x00-\\x1F\\x7F-\\x9F]+$", example = "GRID")]
    symbol: String,
}

/// The path parameters of settlements.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(in crate::features::timeseries) struct SettlementPath {
    /// The type of the settlements.
    #[serde(rename = "type")]
    #[param(
        rename = "type",
        min_length = 1,
        max_length = 501,
        pattern = "^[^\\x00-\\x1F\\x7F-\\x9F]+$",
        example = "thbc"
    )]
    kind: String,
}

/// The query parameter that selects generated or consumed energy.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::features::timeseries) struct EnergyQuery {
    /// The kind of energy; both if absent. Required for CSV and for `cursor`.
    #[param(inline)]
    kind: Option<Energy>,
}

/// The readings of a meter.
#[derive(Debug, utoipa::ToSchema)]
#[expect(dead_code, reason = "the schema of what `render` writes")]
pub(in crate::features::timeseries) struct MeterReadings {
    #[schema(example = "MTR-001")]
    meter_id: String,
    /// Absent if it was not requested; null if the meter has no such series.
    #[schema(required = false)]
    energy_generated: Option<RangePage>,
    #[schema(required = false)]
    energy_consumed: Option<RangePage>,
}

/// Store readings of a meter.
///
/// The readings become samples of the series `energy:generation:{id}` and `energy:consumption:{id}`. Sending the same
/// readings again stores them once.
#[utoipa::path(post, path = "/energy/meters/{id}/readings", tag = "energy", operation_id = "post_meter_readings",
    params(MeterPath), request_body = NewReadings,
    responses((status = 200, description = "The result, with the first refused samples; at least one was accepted", body = WriteAnswer,
        headers(("Samples-Refused" = u64, description = "How many samples were refused; absent if all were accepted")))))]
pub(in crate::features::timeseries) async fn post_readings(
    State(timeseries): State<TimeseriesService>,
    Path(MeterPath { id }): Path<MeterPath>,
    NoQuery: NoQuery,
    GrantToken(token): GrantToken,
    Json(NewReadings { readings }): Json<NewReadings>,
) -> Result<Response, Problem> {
    let readings: Vec<_> = readings.into_iter().map(|item| item.checked(require_energy)).collect();
    BatchItem::require_valid("readings", &readings)?;
    written(timeseries.write_readings(&id, readings, token).await?, |index| format!("/readings/{index}"))
}

/// # Errors
/// The problem of a reading without any energy.
fn require_energy(reading: &NewReading) -> Result<(), Problem> {
    if reading.energy_generated.is_none() && reading.energy_consumed.is_none() {
        return Err(Problem::body_field("", "must have `energy_generated` or `energy_consumed`"));
    }
    Ok(())
}

/// Read the generated and the consumed energy of a meter.
#[utoipa::path(get, path = "/energy/meters/{id}/readings", tag = "energy", operation_id = "get_meter_readings",
    params(MeterPath, EnergyQuery, RangeQuery),
    responses((status = 200, description = "A page of each kind of energy", content((MeterReadings = "application/json"), (String = "text/csv")))))]
pub(in crate::features::timeseries) async fn get_readings(
    State(timeseries): State<TimeseriesService>,
    Path(MeterPath { id }): Path<MeterPath>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (EnergyQuery { kind }, query) = energy_query(uri.query().unwrap_or_default())?;
    let pages = timeseries.readings(&id, kind, &query).await?;
    if accepted(&headers, &[Form::Json, Form::Csv]) == Form::Csv
        && let [(_, Some(page))] = pages.as_slice()
    {
        return Ok(page_response(page, &headers));
    }
    let json = HeaderValue::from_static("application/json");
    Ok(([(header::CONTENT_TYPE, json)], render::json_readings(&id, &pages)).into_response())
}

/// Parses the parameters of this route and those of a range. Both types reject unknown parameters, so each gets its
/// own.
fn energy_query(query: &str) -> Result<(EnergyQuery, RangeQuery), Problem> {
    let (mut own, mut others) = (String::new(), String::new());
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let part = if name == "kind" { &mut own } else { &mut others };
        let so_far = std::mem::take(part);
        *part = form_urlencoded::Serializer::new(so_far).append_pair(&name, &value).finish();
    }
    Ok((parse_query(&own)?, parse_query(&others)?))
}

/// Store prices of a symbol, and the volumes that were traded at them.
///
/// The prices become samples of the series `market:price:{symbol}`, and the volumes of `market:volume:{symbol}`.
/// Sending the same prices again stores them once.
#[utoipa::path(post, path = "/market/prices/{symbol}", tag = "market", operation_id = "post_market_prices",
    params(SymbolPath), request_body = NewPrices,
    responses((status = 200, description = "The result, with the first refused samples; at least one was accepted", body = WriteAnswer,
        headers(("Samples-Refused" = u64, description = "How many samples were refused; absent if all were accepted")))))]
pub(in crate::features::timeseries) async fn post_prices(
    State(timeseries): State<TimeseriesService>,
    Path(SymbolPath { symbol }): Path<SymbolPath>,
    NoQuery: NoQuery,
    GrantToken(token): GrantToken,
    Json(NewPrices { prices }): Json<NewPrices>,
) -> Result<Response, Problem> {
    BatchItem::require_valid("prices", &prices)?;
    written(timeseries.write_prices(&symbol, prices, token).await?, |index| format!("/prices/{index}"))
}

/// Read prices of a symbol: raw, aggregated in buckets, or as candles.
///
/// The volumes of candles come from `market:volume:{symbol}`, unless `volume_key` names another series.
#[utoipa::path(get, path = "/market/prices/{symbol}", tag = "market", operation_id = "get_market_prices",
    params(SymbolPath, RangeQuery),
    responses((status = 200, description = "A page of the window", content((RangePage = "application/json"), (String = "text/csv")))))]
pub(in crate::features::timeseries) async fn get_prices(
    State(timeseries): State<TimeseriesService>,
    Path(SymbolPath { symbol }): Path<SymbolPath>,
    Query(query): Query<RangeQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    Ok(page_response(&timeseries.prices(&symbol, query).await?, &headers))
}

/// Store the volume of the whole market, in the series `trading:volume:daily`.
#[utoipa::path(post, path = "/market/volume", tag = "market", operation_id = "post_market_volume",
    request_body = NewSamples,
    responses((status = 200, description = "The result, with an entry for each refused sample; at least one was accepted", body = SamplesAnswer,
        headers(("Samples-Refused" = u64, description = "How many samples were refused; absent if all were accepted")))))]
pub(in crate::features::timeseries) async fn post_market_volume(
    State(timeseries): State<TimeseriesService>,
    NoQuery: NoQuery,
    GrantToken(token): GrantToken,
    Json(body): Json<NewSamples>,
) -> Result<Response, Problem> {
    BatchItem::require_valid("samples", &body.samples)?;
    written(timeseries.append(market_volume()?, body, token).await?, |index| format!("/samples/{index}"))
}

/// Read the volume of the whole market.
#[utoipa::path(get, path = "/market/volume", tag = "market", operation_id = "get_market_volume", params(RangeQuery),
    responses((status = 200, description = "A page of the window", content((RangePage = "application/json"), (String = "text/csv")))))]
pub(in crate::features::timeseries) async fn get_market_volume(
    State(timeseries): State<TimeseriesService>,
    Query(query): Query<RangeQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    Ok(page_response(&timeseries.range(market_volume()?, &query).await?, &headers))
}

/// Store settlements, in the series `settlement:{type}`.
#[utoipa::path(post, path = "/settlements/{type}", tag = "settlements", operation_id = "post_settlements",
    params(SettlementPath), request_body = NewSamples,
    responses((status = 200, description = "The result, with an entry for each refused sample; at least one was accepted", body = SamplesAnswer,
        headers(("Samples-Refused" = u64, description = "How many samples were refused; absent if all were accepted")))))]
pub(in crate::features::timeseries) async fn post_settlements(
    State(timeseries): State<TimeseriesService>,
    Path(SettlementPath { kind }): Path<SettlementPath>,
    NoQuery: NoQuery,
    GrantToken(token): GrantToken,
    Json(body): Json<NewSamples>,
) -> Result<Response, Problem> {
    BatchItem::require_valid("samples", &body.samples)?;
    written(timeseries.append(settlement(&kind)?, body, token).await?, |index| format!("/samples/{index}"))
}

/// Read settlements.
#[utoipa::path(get, path = "/settlements/{type}", tag = "settlements", operation_id = "get_settlements",
    params(SettlementPath, RangeQuery),
    responses((status = 200, description = "A page of the window", content((RangePage = "application/json"), (String = "text/csv")))))]
pub(in crate::features::timeseries) async fn get_settlements(
    State(timeseries): State<TimeseriesService>,
    Path(SettlementPath { kind }): Path<SettlementPath>,
    Query(query): Query<RangeQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    Ok(page_response(&timeseries.range(settlement(&kind)?, &query).await?, &headers))
}
