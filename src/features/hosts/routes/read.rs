//! Samples on their way out.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Deserialize;
use utoipa::IntoParams;

use super::super::model::{HostEntry, HostId, HostPath, Latest, LatestPage, RangeAnswer, Recent};
use super::super::service::HostService;
use super::{OrganisationQuery, within};
use crate::features::hosts::access_scope::AccessScope;
use crate::features::hosts::read::export::Format;
use crate::features::hosts::read::range::{Cursor, RangeRequest};
use crate::http::auth::Principal;
use crate::http::extract::{Json, Path, Query};
use crate::http::problem::Problem;
use crate::http::reply::Page;
use crate::http::times::QueryTime;

/// The newest sample of a host.
#[utoipa::path(get, path = "/hosts/{id}/metrics/latest", tag = "hosts", operation_id = "get_latest_host_metrics",
    params(HostPath, OrganisationQuery),
    responses(
        (status = 200, description = "The newest sample that any replica has taken, at most 5 s old news", body = Latest)))]
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

/// How many of the newest samples are wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in super::super) struct RecentQuery {
    #[param(value_type = u64, required = false, minimum = 1, maximum = 1_000, default = 100)]
    count: Option<usize>,
    /// `json`, `csv` or `influx`; else as `Accept` says.
    #[param(value_type = String, required = false, pattern = "^(json|csv|influx)$")]
    format: Option<Format>,
    /// The organisation; it must be the credential's.
    #[serde(rename = "orgId")]
    #[param(rename = "orgId", required = false, example = "grid-one")]
    org_id: Option<String>,
}

/// The newest samples of a host, newest first.
///
/// Samples that another replica has taken are among them after its next batch.
#[utoipa::path(get, path = "/hosts/{id}/metrics/recent", tag = "hosts", operation_id = "get_recent_host_metrics",
    params(HostPath, RecentQuery),
    responses(
        (status = 200, description = "The newest samples; `source` says whether Redis could be asked", content(
            (Recent = "application/json"), (String = "text/csv"), (String = "text/plain")))))]
pub(in super::super) async fn get_recent(
    State(hosts): State<HostService>,
    Extension(caller): Extension<Arc<Principal>>,
    Path(HostPath { id }): Path<HostPath>,
    Query(RecentQuery { count, format, org_id }): Query<RecentQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let scope = AccessScope::of(&caller, org_id.as_deref())?;
    let count = within("count", count, DEFAULT_RECENT, MAX_RECENT)?;
    let format = of_windows(format, &headers)?;
    let recent = hosts.recent(&scope, &id, count).await?;
    let samples = recent.metrics.iter().map(|sample| (&id, &**sample));
    Ok(format.answer(samples, None, &recent))
}

const DEFAULT_RANGE: usize = 1_000;
const MAX_RANGE: usize = 10_000;

/// The window and the page of a range.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
pub(in super::super) struct RangeQuery {
    /// The oldest time, included; 24 hours ago when absent.
    #[param(inline, example = "-24h")]
    start_time: Option<QueryTime>,
    /// The newest time, included; now, or what agents whose clocks are ahead have sent, when absent.
    #[param(inline, example = "now")]
    end_time: Option<QueryTime>,
    /// The most samples of a page.
    #[param(value_type = u64, required = false, minimum = 1, maximum = 10_000, default = 1_000)]
    limit: Option<usize>,
    /// `next_cursor` of the page before, which holds the window as well.
    #[param(value_type = String, required = false, pattern = "^[0-9a-f]+(-[0-9a-f]+){3}$")]
    cursor: Option<Cursor>,
    /// `json`, `csv` or `influx`; else as `Accept` says.
    #[param(value_type = String, required = false, pattern = "^(json|csv|influx)$")]
    format: Option<Format>,
    /// The organisation; it must be the credential's.
    #[param(required = false, example = "grid-one")]
    org_id: Option<String>,
}

/// The samples of a window, oldest first.
#[utoipa::path(get, path = "/hosts/{id}/metrics/range", tag = "hosts", operation_id = "get_host_metrics_range",
    params(HostPath, RangeQuery),
    responses(
        (status = 200, description = "A page of samples; `truncated` when there are more", content(
            (RangeAnswer = "application/json"), (String = "text/csv"), (String = "text/plain")))))]
pub(in super::super) async fn get_range(
    State(hosts): State<HostService>,
    Extension(caller): Extension<Arc<Principal>>,
    Path(HostPath { id }): Path<HostPath>,
    Query(query): Query<RangeQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let scope = AccessScope::of(&caller, query.org_id.as_deref())?;
    let limit = within("limit", query.limit, DEFAULT_RANGE, MAX_RANGE)?;
    let request = RangeRequest { start: query.start_time, end: query.end_time, cursor: query.cursor };
    let format = of_windows(query.format, &headers)?;
    let page = hosts.range(&scope, &id, request, limit).await?;
    let samples = page.metrics.iter().map(|sample| (&id, &**sample));
    Ok(format.answer(samples, page.next_cursor.as_deref(), &page))
}

const DEFAULT_LIST: usize = 100;
const MAX_LIST: usize = 1_000;

/// Which hosts are listed.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in super::super) struct ListQuery {
    /// The most hosts of a page.
    #[param(value_type = u64, required = false, minimum = 1, maximum = 1_000, default = 100)]
    limit: Option<usize>,
    /// `next_cursor` of the page before.
    #[param(value_type = String, required = false, max_length = 128, pattern = "^[A-Za-z0-9._:-]+$")]
    cursor: Option<HostId>,
    /// The organisation; it must be the credential's.
    #[serde(rename = "orgId")]
    #[param(rename = "orgId", required = false, example = "grid-one")]
    org_id: Option<String>,
}

/// List the organisation's hosts in the order of their names.
#[utoipa::path(get, path = "/hosts", tag = "hosts", operation_id = "list_hosts", params(ListQuery),
    responses((status = 200, description = "A page of hosts; while Redis is away, those in memory", body = Page<HostEntry>)))]
pub(in super::super) async fn list_hosts(
    State(hosts): State<HostService>,
    Extension(caller): Extension<Arc<Principal>>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Page<HostEntry>>, Problem> {
    let scope = AccessScope::of(&caller, query.org_id.as_deref())?;
    let limit = within("limit", query.limit, DEFAULT_LIST, MAX_LIST)?;
    Ok(Json(hosts.list(&scope, query.cursor.as_ref(), limit).await?))
}

/// Which newest samples are listed, and how.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in super::super) struct LatestQuery {
    /// The most hosts of a page.
    #[param(value_type = u64, required = false, minimum = 1, maximum = 1_000, default = 100)]
    limit: Option<usize>,
    /// `next_cursor` of the page before.
    #[param(value_type = String, required = false, max_length = 128, pattern = "^[A-Za-z0-9._:-]+$")]
    cursor: Option<HostId>,
    /// `json`, `csv`, `influx`, or `prometheus`, which has all hosts on one page; else as `Accept` says.
    #[param(value_type = String, required = false, pattern = "^(json|csv|influx|prometheus)$")]
    format: Option<Format>,
    /// The organisation; it must be the credential's.
    #[serde(rename = "orgId")]
    #[param(rename = "orgId", required = false, example = "grid-one")]
    org_id: Option<String>,
}

/// Hosts of one scrape; more than one replica keeps in memory by default.
const MAX_SCRAPED: usize = 10_000;

/// The newest sample of each of the organisation's hosts, in the order of their names.
///
/// Hosts that were silent for longer than `hosts.current_life` are left out. As Prometheus text, this is a scrape target.
#[utoipa::path(get, path = "/hosts/metrics/latest", tag = "hosts", operation_id = "list_latest_host_metrics",
    params(LatestQuery),
    responses((status = 200, description = "A page of newest samples; forms without a place for it have `Next-Cursor` in a header", content(
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
        _ => (query.cursor.as_ref(), within("limit", query.limit, DEFAULT_LIST, MAX_LIST)?),
    };
    let page = hosts.latest_of_all(&scope, cursor, limit).await?;
    let samples = page.items.iter().map(|latest| (&latest.host, &*latest.metrics));
    Ok(format.answer(samples, page.next_cursor.as_deref(), &page))
}

/// The form of a window; Prometheus's has no place for past samples.
fn of_windows(parameter: Option<Format>, headers: &HeaderMap) -> Result<Format, Problem> {
    match (parameter, Format::of(parameter, headers)) {
        (Some(Format::Prometheus), _) => {
            Err(Problem::query_parameter("format", "`prometheus` is for newest samples: /hosts/metrics/latest"))
        }
        (None, Format::Prometheus) => Ok(Format::Json),
        (_, format) => Ok(format),
    }
}
