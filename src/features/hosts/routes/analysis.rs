//! Summaries and anomalies.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;

use super::super::analysis::anomaly::AnomalyAnswer;
use super::super::analysis::gauge::Gauge;
use super::super::model::HostPath;
use super::super::read::summary::{Bucket, FieldList, SummaryAnswer};
use super::super::service::HostService;
use super::super::tenancy::AccessScope;
use crate::http::auth::Principal;
use crate::http::extract::{Json, Path, Query};
use crate::http::problem::Problem;
use crate::http::times::QueryTime;

/// The window and the fields of a summary.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
pub(in super::super) struct SummaryQuery {
    /// The length of a bucket; hours and days are those of UTC.
    #[param(value_type = String, required = false, pattern = "^(1h|1d)$", default = "1h")]
    #[serde(default)]
    bucket: Bucket,
    /// The oldest time; by default 24 hours ago, or 30 days ago for daily buckets. Its bucket is always complete.
    #[param(inline, example = "-24h")]
    start_time: Option<QueryTime>,
    /// The newest time; by default 5 minutes from now, to include agents whose clocks are ahead. Its bucket is always complete.
    #[param(inline, example = "now")]
    end_time: Option<QueryTime>,
    /// Names of fields, separated by commas; a prefix such as `cpu` selects all fields below it. By default all fields.
    #[param(value_type = String, required = false, example = "cpu.usage,memory",
        pattern = "^(cpu|memory|disk|network)(\\.[A-Za-z0-9.]+)?(,(cpu|memory|disk|network)(\\.[A-Za-z0-9.]+)?)*$")]
    #[serde(default)]
    fields: FieldList,
    /// The credential's organisation. Administrators without an organisation may name any.
    #[param(required = false, example = "grid-one")]
    org_id: Option<String>,
}

/// Get the average, extremes and percentiles of a host's samples by hour or by day.
///
/// Every bucket covers all its samples, including late ones, and percentiles are exact. Samples that another replica
/// accepted are included after its next batch. While Redis is unavailable, the response is 503: memory has only the most
/// recent samples.
#[utoipa::path(get, path = "/hosts/{id}/metrics/summary", tag = "hosts", operation_id = "get_host_metrics_summary",
    params(HostPath, SummaryQuery),
    responses((status = 200, description = "The buckets with samples, oldest first; at most 2,232", body = SummaryAnswer)))]
pub(in super::super) async fn get_summary(
    State(hosts): State<HostService>,
    Extension(caller): Extension<Arc<Principal>>,
    Path(HostPath { id }): Path<HostPath>,
    Query(query): Query<SummaryQuery>,
) -> Result<Json<SummaryAnswer>, Problem> {
    let SummaryQuery { bucket, start_time, end_time, fields, org_id } = query;
    let scope = AccessScope::of(&caller, org_id.as_deref())?;
    Ok(Json(hosts.summary(&scope, &id, bucket, start_time, end_time, &fields).await?))
}

/// The field to check.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
pub(in super::super) struct AnomalyQuery {
    /// A field that rises and falls; network counters only grow and are not allowed.
    #[param(value_type = String, example = "cpu.usage",
        pattern = "^(cpu\\.(usage|cores|loadAvg\\.(1|5|15))|(memory|disk)\\.(total|used|free|usagePercent))$")]
    field: Gauge,
    /// The credential's organisation. Administrators without an organisation may name any.
    #[param(required = false, example = "grid-one")]
    org_id: Option<String>,
}

/// Check whether a host's newest value is outside the usual band of its hour of day.
///
/// The band is computed from the same hour (UTC) of the last 28 days: from the median of the hourly minima to the median of
/// the hourly maxima, widened by 4 robust standard deviations (median absolute deviation x 1.4826) of these. With fewer than
/// 7 such hours, the verdict is `not_enough_history`.
#[utoipa::path(get, path = "/hosts/{id}/metrics/anomaly", tag = "hosts", operation_id = "get_host_metrics_anomaly",
    params(HostPath, AnomalyQuery),
    responses((status = 200, description = "The value, the band and the verdict", body = AnomalyAnswer)))]
pub(in super::super) async fn get_anomaly(
    State(hosts): State<HostService>,
    Extension(caller): Extension<Arc<Principal>>,
    Path(HostPath { id }): Path<HostPath>,
    Query(AnomalyQuery { field, org_id }): Query<AnomalyQuery>,
) -> Result<Json<AnomalyAnswer>, Problem> {
    let scope = AccessScope::of(&caller, org_id.as_deref())?;
    Ok(Json(hosts.anomaly(&scope, &id, field).await?))
}
