//! The HTTP operations of the time series.
//!
//! This file has the operations on series and their samples, `range.rs` the reads of windows, `rollups.rs` the
//! operations on rollups, `fence.rs` that of administrators, and `platform.rs` the operations on the platform's own series.
//! `written.rs` has the response to a write of samples, `missing.rs` the one to a read of
//! a series that does not exist. The operations for InfluxDB and Prometheus clients are in
//! `influx/routes.rs` and `prom/routes.rs`.

mod fence;
mod missing;
mod platform;
mod range;
mod rollups;
mod written;

pub(super) use fence::*;
use missing::explained;
pub(super) use platform::*;
pub(super) use range::*;
pub(super) use rollups::*;
pub(super) use written::REFUSED;
use written::written;

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::READ;
use super::error::TimeseriesError;
use super::ingest::{LineFormat, Precision};
use super::model::{
    Alteration, Creation, CsvSamples, DeletedSamples, LineProtocol, NdjsonSamples, NewSamples, NewSeriesSamples,
    SampleView, SamplesAnswer, SeriesEntry, SeriesView, StreamAnswer,
};
use super::query::{DeletionQuery, ListQuery, SeriesPath};
use super::service::TimeseriesService;
use utoipa::IntoParams;

use crate::config::http::HttpConfig;
use crate::http::auth::Principal;
use crate::http::batch_item::BatchItem;
use crate::http::body::BodyStream;
use crate::http::extract::{Json, NoQuery, Path, Query, media_type, parse_json, unsupported};
use crate::http::fencing::GrantToken;
use crate::http::negotiation::NDJSON;
use crate::http::problem::{self, Problem};
use crate::http::reply::{Created, NoContent, Page};
use crate::http::slots::{NoSlot, Slot, Slots};
use crate::redis::Outcome;

/// List series.
///
/// Without `prefix` and `filter`, the list contains all series.
#[utoipa::path(get, path = "/timeseries", tag = "timeseries", operation_id = "list_series", params(ListQuery),
    responses((status = 200, description = "Series in byte order of their keys; a page can have fewer items than `limit`", body = Page<SeriesEntry>)))]
pub(super) async fn list_series(
    State(timeseries): State<TimeseriesService>,
    Extension(caller): Extension<Arc<Principal>>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Page<SeriesEntry>>, Problem> {
    let limit = query.checked_limit().map_err(TimeseriesError::InvalidQuery)?;
    let visible = caller.visible_keys(READ, query.prefix.as_deref().unwrap_or_default())?;
    let mut page = Page::empty();
    for (at, keys) in visible.iter().enumerate() {
        let rest = Some(limit - page.items.len());
        let part = ListQuery { prefix: Some(keys.prefix.clone()), limit: rest, ..query.clone() };
        let mut part = timeseries.list(&part).await?;
        if keys.is_one_key {
            part.items.retain(|item| item.key.as_str() == keys.prefix);
            // The cursor would name a key that the caller must not see.
            part.next_cursor = None;
        }
        if page.append(part, limit, at + 1 == visible.len(), |item| item.key.as_str().to_owned()) {
            break;
        }
    }
    Ok(Json(page))
}

/// Create a series.
///
/// A first sample creates a series too: with the definition of its family, or of the family `*` if it belongs to no other.
#[utoipa::path(put, path = "/timeseries/{key}", tag = "timeseries", operation_id = "put_series", params(SeriesPath),
    request_body = Creation,
    responses((status = 200, description = "The series already existed with this definition", body = SeriesView),
        (status = 201, description = "The series was created", body = SeriesView, links(
            ("describe" = (operation_id = "get_series", parameters(("key" = "$request.path.key")))),
            ("fill" = (operation_id = "post_series_samples", parameters(("key" = "$request.path.key")))),
            ("delete" = (operation_id = "delete_series", parameters(("key" = "$request.path.key"))))))))]
pub(super) async fn put_series(
    State(timeseries): State<TimeseriesService>,
    Path(SeriesPath { key }): Path<SeriesPath>,
    NoQuery: NoQuery,
    GrantToken(token): GrantToken,
    Json(creation): Json<Creation>,
) -> Result<Response, Problem> {
    Ok(match timeseries.create(key, creation, token).await? {
        (true, series) => Created(series).into_response(),
        (false, series) => Json(series).into_response(),
    })
}

/// Change the definition of a series.
#[utoipa::path(patch, path = "/timeseries/{key}", tag = "timeseries", operation_id = "patch_series", params(SeriesPath),
    request_body = Alteration,
    responses((status = 200, description = "The changed series", body = SeriesView)))]
pub(super) async fn patch_series(
    State(timeseries): State<TimeseriesService>,
    Path(SeriesPath { key }): Path<SeriesPath>,
    NoQuery: NoQuery,
    GrantToken(token): GrantToken,
    Json(change): Json<Alteration>,
) -> Result<Json<SeriesView>, Problem> {
    Ok(Json(timeseries.alter(key, change, token).await?))
}

/// Describe a series.
#[utoipa::path(get, path = "/timeseries/{key}", tag = "timeseries", operation_id = "get_series", params(SeriesPath),
    responses((status = 200, description = "The series", body = SeriesView)))]
pub(super) async fn get_series(
    State(timeseries): State<TimeseriesService>,
    Extension(caller): Extension<Arc<Principal>>,
    Path(SeriesPath { key }): Path<SeriesPath>,
    NoQuery: NoQuery,
) -> Result<Json<SeriesView>, Problem> {
    match timeseries.describe(key).await {
        Ok(found) => Ok(Json(found)),
        Err(error) => Err(explained(&timeseries, &caller, error).await),
    }
}

/// Delete a series and all its samples.
#[utoipa::path(delete, path = "/timeseries/{key}", tag = "timeseries", operation_id = "delete_series", params(SeriesPath),
    responses((status = 204, description = "The series was deleted")))]
pub(super) async fn delete_series(
    State(timeseries): State<TimeseriesService>,
    Path(SeriesPath { key }): Path<SeriesPath>,
    NoQuery: NoQuery,
    GrantToken(token): GrantToken,
) -> Result<NoContent, Problem> {
    timeseries.delete(key, token).await?;
    Ok(NoContent)
}

/// Add samples to one series.
///
/// An invalid sample is refused, and the others are stored; if none is valid, the request fails. Sending the same samples
/// again stores them once, under every duplicate policy except `sum`. `on_duplicate` overrides the policy of the series. If the request fails, the problem's detail says how many samples at least were stored.
#[utoipa::path(post, path = "/timeseries/{key}/samples", tag = "timeseries", operation_id = "post_series_samples",
    params(SeriesPath), request_body = NewSamples,
    responses((status = 200, description = "The result, with an entry for each refused sample; at least one was accepted", body = SamplesAnswer,
        headers(("Samples-Refused" = u64, description = "How many samples were refused; absent if all were accepted")), links(
            ("newest" = (operation_id = "get_latest_series_sample", parameters(("key" = "$request.path.key")))),
            ("window" = (operation_id = "get_series_range", parameters(("key" = "$request.path.key")))),
            ("empty" = (operation_id = "delete_series_samples", parameters(("key" = "$request.path.key"))))))))]
pub(super) async fn post_samples(
    State(timeseries): State<TimeseriesService>,
    Path(SeriesPath { key }): Path<SeriesPath>,
    NoQuery: NoQuery,
    GrantToken(token): GrantToken,
    Json(body): Json<NewSamples>,
) -> Result<Response, Problem> {
    BatchItem::require_valid("samples", &body.samples)?;
    written(timeseries.append(key, body, token).await?, |index| format!("/samples/{index}"))
}

/// Delete the samples of a window.
#[utoipa::path(delete, path = "/timeseries/{key}/samples", tag = "timeseries", operation_id = "delete_series_samples",
    params(SeriesPath, DeletionQuery),
    responses((status = 200, description = "How many samples were deleted", body = DeletedSamples)))]
pub(super) async fn delete_samples(
    State(timeseries): State<TimeseriesService>,
    Path(SeriesPath { key }): Path<SeriesPath>,
    Query(query): Query<DeletionQuery>,
    GrantToken(token): GrantToken,
) -> Result<Json<DeletedSamples>, Problem> {
    Ok(Json(timeseries.delete_samples(key, &query, token).await?))
}

/// Read the newest sample of a series.
#[utoipa::path(get, path = "/timeseries/{key}/latest", tag = "timeseries", operation_id = "get_latest_series_sample",
    params(SeriesPath),
    responses((status = 200, description = "The newest sample", body = SampleView)))]
pub(super) async fn get_latest(
    State(timeseries): State<TimeseriesService>,
    Extension(caller): Extension<Arc<Principal>>,
    Path(SeriesPath { key }): Path<SeriesPath>,
    NoQuery: NoQuery,
) -> Result<Json<SampleView>, Problem> {
    match timeseries.latest(key).await {
        Ok(found) => Ok(Json(found)),
        Err(error) => Err(explained(&timeseries, &caller, error).await),
    }
}

/// The largest body that is loaded without a slot, bytes: a batch of a thousand readings. Its samples take little memory.
const SMALL_BODY: usize = 64 << 10;

/// The state of the routes that load samples of many series.
#[derive(Clone, Debug)]
pub(super) struct BulkState {
    pub(super) timeseries: TimeseriesService,
    /// One permit for each load in progress: a load buffers up to 65,536 samples.
    streams: Slots,
    pub(super) idle: Duration,
    body_limit: usize,
}

impl BulkState {
    pub(super) fn new(timeseries: TimeseriesService, http: &HttpConfig, streams: usize) -> Self {
        Self {
            timeseries,
            streams: Slots::new(streams),
            idle: http.body_idle_timeout.duration(),
            body_limit: http.body_limit.as_usize(),
        }
    }

    /// Acquires one of the `timeseries.streams` slots for a load; a small body needs none.
    ///
    /// # Errors
    /// `overloaded` (503), and the problems of a body that does not arrive.
    pub(super) async fn acquire_slot(
        &self,
        caller: &Principal,
        body: &mut BodyStream,
    ) -> Result<Option<Slot>, Problem> {
        if body.ends_within(SMALL_BODY, self.idle).await? {
            return Ok(None);
        }
        let slot = self.streams.take().and_then(|mut slot| slot.assign(caller).map(|()| slot));
        slot.map(Some).map_err(|reason| {
            let detail = match reason {
                NoSlot::Full => "the limit of concurrent loads is reached (timeseries.streams)",
                NoSlot::ShareTaken(_) => "this credential has half of the concurrent loads (timeseries.streams)",
            };
            let overloaded = Problem::new(&problem::OVERLOADED).detail(detail).outcome(Outcome::NotApplied);
            overloaded.retry_after(Duration::from_secs(1))
        })
    }
}

const JSON: &str = "application/json";
const CSV: &str = "text/csv";
const LINE_PROTOCOL: &str = "text/plain";

/// The query parameters of a load.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct LoadQuery {
    /// The unit of the timestamps in line protocol; ns if absent. The other formats have milliseconds.
    #[param(inline)]
    precision: Option<Precision>,
}

/// Load samples of many series.
///
/// NDJSON, CSV and line protocol are streamed: the body can have any length and can be compressed with gzip. An invalid
/// line or item is refused; the load continues with the next one. CSV starts with a header line that names the columns
/// `series`, `value` and optionally `timestamp`. If all samples are refused, the response is 422 `samples-refused`, and
/// without samples it is 422 `invalid-body`.
///
/// Sending the same stream again stores its samples once, under every duplicate policy except `sum`. If a load fails,
/// the problem's detail says how many samples at least were stored.
#[utoipa::path(post, path = "/timeseries/samples", tag = "timeseries", operation_id = "post_many_samples",
    params(LoadQuery),
    request_body(content(
        (NewSeriesSamples = "application/json"), (NdjsonSamples = "application/x-ndjson"), (CsvSamples = "text/csv"), (LineProtocol = "text/plain"))),
    responses((status = 200, description = "The result, with the first refused samples; at least one was accepted", body = StreamAnswer,
        headers(("Samples-Refused" = u64, description = "How many samples were refused; absent if all were accepted")))))]
pub(super) async fn post_many_samples(
    State(bulk): State<BulkState>,
    Query(LoadQuery { precision }): Query<LoadQuery>,
    GrantToken(token): GrantToken,
    Extension(caller): Extension<Arc<Principal>>,
    headers: HeaderMap,
    mut body: BodyStream,
) -> Result<Response, Problem> {
    let media_type = media_type(&headers);
    let format = match media_type.as_deref() {
        Some(JSON) => None,
        Some(NDJSON) => Some(LineFormat::Ndjson),
        Some(CSV) => Some(LineFormat::Csv(None)),
        Some(LINE_PROTOCOL) => Some(LineFormat::LineProtocol(precision.unwrap_or_default())),
        other => return Err(unsupported(other, &[JSON, NDJSON, CSV, LINE_PROTOCOL])),
    };
    if precision.is_some() && !matches!(format, Some(LineFormat::LineProtocol(_))) {
        return Err(Problem::query_parameter(
            "precision",
            format!("must only be sent with line protocol ({LINE_PROTOCOL})"),
        ));
    }
    let _slot = bulk.acquire_slot(&caller, &mut body).await?;
    let ingest = bulk.timeseries.ingest(token).of(caller);
    if let Some(format) = format {
        written(ingest.stream(body, format, bulk.idle).await?, |line| format!("/{line}"))
    } else {
        let body: NewSeriesSamples = parse_json(&body.collect(bulk.body_limit, bulk.idle).await?)?;
        BatchItem::require_valid("samples", &body.samples)?;
        written(ingest.samples(body.samples).await?, |line| format!("/samples/{}", line.saturating_sub(1)))
    }
}
