//! Reading samples and listing hosts.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Deserialize;
use utoipa::IntoParams;

use super::super::model::{HostCursor, HostId, HostList, HostPath, Latest, LatestPage, RangeAnswer, Recent};
use super::super::read::export::Format;
use super::super::read::range::Cursor;
use super::super::service::HostService;
use super::super::tenancy::{AccessScope, Owners};
use super::OrganisationQuery;
use crate::http::auth::Principal;
use crate::http::counts::require_count;
use crate::http::extract::{Json, Path, Query};
use crate::http::problem::Problem;
use crate::http::times::QueryTime;

/// Get the newest sample of a host.
#[utoipa::path(get, path = "/hosts/{id}/metrics/latest", tag = "hosts", operation_id = "get_latest_host_metrics",
    params(HostPath, OrganisationQuery),
    responses(
        (status = 200, description = "The newest sample that any replica has accepted, at most 5 seconds stale", body = Latest)))]
pub(in super::super) async fn get_latest(
    State(hosts): State<HostService>,
    Extension(caller): Extension<Arc<Principal>>,
    Path(HostPath { id }): Path<HostPath>,
    Query(OrganisationQuery { org_id }): Query<OrganisationQuery>,
) -> Result<Json<Latest>, Problem> {
    let scope = AccessScope::of(&caller, org_id.as_deref())?;
    Ok(Json(hosts.latest(&scope, &id).await?))
}

const DEFAULT_RECENT: usize = 100;
const MAX_RECENT: usize = 1_000;

/// The number and the format of the newest samples.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
pub(in super::super) struct RecentQuery {
    /// The maximum number of samples.
    #[param(value_type = u64, required = false, minimum = 1, maximum = 1_000, default = 100)]
    count: Option<usize>,
    /// `json`, `csv` or `influx`; by default the `Accept` header decides.
    #[param(value_type = String, required = false, pattern = "^(json|csv|influx)$")]
    format: Option<Format>,
    /// The credential's organisation. Administrators without an organisation may name any.
    #[param(required = false, example = "grid-one")]
    org_id: Option<String>,
}

/// Get the newest samples of a host, newest first.
///
/// Samples that another replica accepted are included after its next batch.
#[utoipa::path(get, path = "/hosts/{id}/metrics/recent", tag = "hosts", operation_id = "get_recent_host_metrics",
    params(HostPath, RecentQuery),
    responses(
        (status = 200, description = "The newest samples; `source` is `memory` if Redis is unavailable", content(
            (Recent = "application/json"), (String = "text/csv"), (String = "text/plain")))))]
pub(in super::super) async fn get_recent(
    State(hosts): State<HostService>,
    Extension(caller): Extension<Arc<Principal>>,
    Path(HostPath { id }): Path<HostPath>,
    Query(RecentQuery { count, format, org_id }): Query<RecentQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let scope = AccessScope::of(&caller, org_id.as_deref())?;
    let count = require_count("count", count.unwrap_or(DEFAULT_RECENT), MAX_RECENT)?;
    let format = history_format(format, &headers)?;
    let recent = hosts.recent(&scope, &id, count).await?;
    let samples = recent.metrics.iter().map(|sample| (&id, &**sample));
    let owners = exported_owners(&hosts, format, &caller, &scope, std::iter::once(&id)).await?;
    Ok(format.answer(samples, owners.as_ref(), None, &recent))
}

const DEFAULT_RANGE: usize = 1_000;
const MAX_RANGE: usize = 10_000;

/// The window and the page of samples.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
pub(in super::super) struct RangeQuery {
    /// The oldest time, inclusive; by default 24 hours ago.
    #[param(inline, example = "-24h")]
    start_time: Option<QueryTime>,
    /// The newest time, inclusive; by default 5 minutes from now, to include agents whose clocks are ahead.
    #[param(inline, example = "now")]
    end_time: Option<QueryTime>,
    /// The maximum number of samples in a page.
    #[param(value_type = u64, required = false, minimum = 1, maximum = 10_000, default = 1_000)]
    limit: Option<usize>,
    /// The `next_cursor` of the previous page; it includes the window.
    #[param(value_type = String, required = false, pattern = "^[0-9a-f]+(-[0-9a-f]+){3}$")]
    cursor: Option<Cursor>,
    /// `json`, `csv` or `influx`; by default the `Accept` header decides.
    #[param(value_type = String, required = false, pattern = "^(json|csv|influx)$")]
    format: Option<Format>,
    /// The credential's organisation. Administrators without an organisation may name any.
    #[param(required = false, example = "grid-one")]
    org_id: Option<String>,
}

/// Get the samples of a time window, oldest first.
#[utoipa::path(get, path = "/hosts/{id}/metrics/range", tag = "hosts", operation_id = "get_host_metrics_range",
    params(HostPath, RangeQuery),
    responses(
        (status = 200, description = "A page of samples; `truncated` if there are more", content(
            (RangeAnswer = "application/json"), (String = "text/csv"), (String = "text/plain")))))]
pub(in super::super) async fn get_range(
    State(hosts): State<HostService>,
    Extension(caller): Extension<Arc<Principal>>,
    Path(HostPath { id }): Path<HostPath>,
    Query(RangeQuery { start_time, end_time, limit, cursor, format, org_id }): Query<RangeQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let scope = AccessScope::of(&caller, org_id.as_deref())?;
    let limit = require_count("limit", limit.unwrap_or(DEFAULT_RANGE), MAX_RANGE)?;
    let format = history_format(format, &headers)?;
    let page = hosts.range(&scope, &id, start_time, end_time, cursor, limit).await?;
    let samples = page.metrics.iter().map(|sample| (&id, &**sample));
    let owners = exported_owners(&hosts, format, &caller, &scope, std::iter::once(&id)).await?;
    Ok(format.answer(samples, owners.as_ref(), page.next_cursor.as_deref(), &page))
}

const DEFAULT_LIST: usize = 100;
const MAX_LIST: usize = 1_000;

/// The page of hosts to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
pub(in super::super) struct ListQuery {
    /// The maximum number of hosts in a page.
    #[param(value_type = u64, required = false, minimum = 1, maximum = 1_000, default = 100)]
    limit: Option<usize>,
    /// The `next_cursor` of the previous page.
    #[param(value_type = String, required = false, pattern = "^[A-Za-z0-9._:-]+(!.*)?$")]
    cursor: Option<HostCursor>,
    /// The credential's organisation. Administrators without an organisation may name any.
    #[param(required = false, example = "grid-one")]
    org_id: Option<String>,
}

/// List the organisation's hosts, ordered by name.
#[utoipa::path(get, path = "/hosts", tag = "hosts", operation_id = "list_hosts", params(ListQuery),
    responses(
        (status = 200, description = "A page of hosts; while Redis is unavailable, only hosts in memory", body = HostList)))]
pub(in super::super) async fn list_hosts(
    State(hosts): State<HostService>,
    Extension(caller): Extension<Arc<Principal>>,
    Query(query): Query<ListQuery>,
) -> Result<Json<HostList>, Problem> {
    let scope = AccessScope::of(&caller, query.org_id.as_deref())?;
    let limit = require_count("limit", query.limit.unwrap_or(DEFAULT_LIST), MAX_LIST)?;
    Ok(Json(hosts.list(&scope, query.cursor.as_ref().map(|HostCursor(after)| after), limit).await?))
}

/// The page and the format of newest samples.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
pub(in super::super) struct LatestQuery {
    /// The maximum number of hosts in a page.
    #[param(value_type = u64, required = false, minimum = 1, maximum = 1_000, default = 100)]
    limit: Option<usize>,
    /// The `next_cursor` of the previous page.
    #[param(value_type = String, required = false, pattern = "^[A-Za-z0-9._:-]+(!.*)?$")]
    cursor: Option<HostCursor>,
    /// `json`, `csv`, `influx`, or `prometheus`, which has all hosts on one page; by default the `Accept` header decides.
    #[param(value_type = String, required = false, pattern = "^(json|csv|influx|prometheus)$")]
    format: Option<Format>,
    /// The credential's organisation. Administrators without an organisation may name any.
    #[param(required = false, example = "grid-one")]
    org_id: Option<String>,
}

/// The most hosts of one scrape: the default of `hosts.max_hosts`.
const MAX_SCRAPED: usize = 10_000;

/// List the newest sample of each of the organisation's hosts, ordered by name.
///
/// Hosts that have been silent for more than an hour are left out. In the Prometheus format, this is a scrape target.
#[utoipa::path(get, path = "/hosts/metrics/latest", tag = "hosts", operation_id = "list_latest_host_metrics",
    params(LatestQuery),
    responses(
        (status = 200, description = "A page of newest samples; formats other than JSON have the next cursor in the header `Next-Cursor`", content(
            (LatestPage = "application/json"), (String = "text/csv"), (String = "text/plain")))))]
pub(in super::super) async fn list_latest(
    State(hosts): State<HostService>,
    Extension(caller): Extension<Arc<Principal>>,
    Query(query): Query<LatestQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let scope = AccessScope::of(&caller, query.org_id.as_deref())?;
    let format = Format::of(query.format, &headers);
    let (cursor, limit) = match format {
        Format::Prometheus => (None, MAX_SCRAPED),
        _ => (
            query.cursor.as_ref().map(|HostCursor(after)| after),
            require_count("limit", query.limit.unwrap_or(DEFAULT_LIST), MAX_LIST)?,
        ),
    };
    let page = hosts.latest_page(&scope, cursor, limit).await?;
    let samples = page.items.iter().map(|latest| (&latest.host, &*latest.metrics));
    let owners = exported_owners(&hosts, format, &caller, &scope, page.items.iter().map(|latest| &latest.host)).await?;
    Ok(format.answer(samples, owners.as_ref(), page.next_cursor.as_deref(), &page))
}

/// The owners of hosts, unless the format is JSON, which has only the names of hosts.
async fn exported_owners<'a>(
    hosts: &HostService,
    format: Format,
    caller: &Principal,
    scope: &AccessScope,
    exported: impl Iterator<Item = &'a HostId>,
) -> Result<Option<Owners>, Problem> {
    if format == Format::Json { Ok(None) } else { Ok(hosts.owners(caller, scope, exported).await?) }
}

/// The format of past samples, which the Prometheus format cannot represent.
fn history_format(parameter: Option<Format>, headers: &HeaderMap) -> Result<Format, Problem> {
    match (parameter, Format::of(parameter, headers)) {
        (Some(Format::Prometheus), _) => Err(Problem::query_parameter(
            "format",
            "must be json, csv or influx here, got prometheus; /hosts/metrics/latest offers prometheus",
        )),
        (None, Format::Prometheus) => Ok(Format::Json),
        (_, format) => Ok(format),
    }
}
