//! What is said of samples.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;

use super::super::model::HostPath;
use super::super::service::HostService;
use super::within;
use crate::features::hosts::access_scope::AccessScope;
use crate::features::hosts::analysis::anomaly::AnomalyAnswer;
use crate::features::hosts::analysis::forecast::ForecastAnswer;
use crate::features::hosts::analysis::gauge::Gauge;
use crate::features::hosts::read::summary::{Bucket, FieldList, SummaryAnswer, SummaryRequest};
use crate::http::auth::Principal;
use crate::http::extract::{Json, Path, Query};
use crate::http::problem::Problem;
use crate::http::times::QueryTime;

/// The window of a summary, and what of it is wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
pub(in super::super) struct SummaryQuery {
    /// How long a bucket is; hours and days are those of UTC.
    #[param(value_type = String, required = false, pattern = "^(1h|1d)$", default = "1h")]
    #[serde(default)]
    bucket: Bucket,
    /// The oldest time; 24 hours ago when absent, 30 days for days. Its bucket is answered as a whole.
    #[param(inline, example = "-24h")]
    start_time: Option<QueryTime>,
    /// The newest time; now, or what agents whose clocks are ahead have sent, when absent. Its bucket is answered as a whole.
    #[param(inline, example = "now")]
    end_time: Option<QueryTime>,
    /// Names of fields with commas between; a part such as `cpu` means all of it. All when absent.
    #[param(value_type = String, required = false, example = "cpu.usage,memory",
        pattern = "^(cpu|memory|disk|network)(\\.[A-Za-z0-9.]+)?(,(cpu|memory|disk|network)(\\.[A-Za-z0-9.]+)?)*$")]
    #[serde(default)]
    fields: FieldList,
    /// The organisation; it must be the credential's.
    #[param(required = false, example = "grid-one")]
    org_id: Option<String>,
}

/// Average, extremes and percentiles of a host's samples by the hour or by the day.
///
/// Every bucket is of all its samples, also of late ones, and percentiles are exact. Samples that another replica has taken
/// are among them after its next batch. Redis away: 503, since memory has the last minutes only.
#[utoipa::path(get, path = "/hosts/{id}/metrics/summary", tag = "hosts", operation_id = "get_host_metrics_summary",
    params(HostPath, SummaryQuery),
    responses(
        (status = 200, description = "The buckets that have samples, oldest first; at most 2,232", body = SummaryAnswer)))]
pub(in super::super) async fn get_summary(
    State(hosts): State<HostService>,
    Extension(caller): Extension<Arc<Principal>>,
    Path(HostPath { id }): Path<HostPath>,
    Query(query): Query<SummaryQuery>,
) -> Result<Json<SummaryAnswer>, Problem> {
    let scope = AccessScope::of(&caller, query.org_id.as_deref())?;
    let SummaryQuery { bucket, start_time, end_time, fields, .. } = query;
    let request = SummaryRequest { bucket, start: start_time, end: end_time, fields };
    Ok(Json(hosts.summary(&scope, &id, request).await?))
}

/// A field that goes up and down.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in super::super) struct AnomalyQuery {
    /// The field; network counters, which only grow, are none.
    #[param(value_type = String, example = "cpu.usage",
        pattern = "^(cpu\\.(usage|cores|loadAvg\\.(1|5|15))|(memory|disk)\\.(total|used|free|usagePercent))$")]
    field: Gauge,
    /// The organisation; it must be the credential's.
    #[serde(rename = "orgId")]
    #[param(rename = "orgId", required = false, example = "grid-one")]
    org_id: Option<String>,
}

/// Whether a host's newest value is beyond the usual band of its hour of day.
///
/// What is usual is said by the same hour (UTC) of the last 28 days: from the median of its smallest values to the median of
/// its largest, widened by 4 robust standard deviations (median absolute deviation x 1.4826) of these. Fewer than 7 such
/// hours are not enough history, and the verdict says so. The numbers are settings.
#[utoipa::path(get, path = "/hosts/{id}/metrics/anomaly", tag = "hosts", operation_id = "get_host_metrics_anomaly",
    params(HostPath, AnomalyQuery),
    responses(
        (status = 200, description = "The value, the band and the verdict", body = AnomalyAnswer)))]
pub(in super::super) async fn get_anomaly(
    State(hosts): State<HostService>,
    Extension(caller): Extension<Arc<Principal>>,
    Path(HostPath { id }): Path<HostPath>,
    Query(AnomalyQuery { field, org_id }): Query<AnomalyQuery>,
) -> Result<Json<AnomalyAnswer>, Problem> {
    let scope = AccessScope::of(&caller, org_id.as_deref())?;
    Ok(Json(hosts.anomaly(&scope, &id, field).await?))
}

const DEFAULT_HORIZON: usize = 24;
/// A week: what lies further ahead is a guess.
const MAX_HORIZON: usize = 168;

/// A field that goes up and down, and how far to look ahead.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in super::super) struct ForecastQuery {
    /// The field; network counters, which only grow, are none.
    #[param(value_type = String, example = "disk.usagePercent",
        pattern = "^(cpu\\.(usage|cores|loadAvg\\.(1|5|15))|(memory|disk)\\.(total|used|free|usagePercent))$")]
    field: Gauge,
    /// Hours.
    #[param(value_type = u64, required = false, minimum = 1, maximum = 168, default = 24)]
    horizon: Option<usize>,
    /// The organisation; it must be the credential's.
    #[serde(rename = "orgId")]
    #[param(rename = "orgId", required = false, example = "grid-one")]
    org_id: Option<String>,
}

/// What the hourly averages of a field will be, if they go on as they did.
///
/// From the hours of the last 28 days: their trend goes on by exponential smoothing (ETS), the course of a day and, from
/// three weeks on, of a week repeats (MSTL). Hours without samples are filled linearly. Fewer than 48 hours with samples are
/// not enough history: the forecast is empty.
#[utoipa::path(get, path = "/hosts/{id}/metrics/forecast", tag = "hosts", operation_id = "get_host_metrics_forecast",
    params(HostPath, ForecastQuery),
    responses(
        (status = 200, description = "The hours to come, each with its bounds", body = ForecastAnswer)))]
pub(in super::super) async fn get_forecast(
    State(hosts): State<HostService>,
    Extension(caller): Extension<Arc<Principal>>,
    Path(HostPath { id }): Path<HostPath>,
    Query(ForecastQuery { field, horizon, org_id }): Query<ForecastQuery>,
) -> Result<Json<ForecastAnswer>, Problem> {
    let scope = AccessScope::of(&caller, org_id.as_deref())?;
    let horizon = within("horizon", horizon, DEFAULT_HORIZON, MAX_HORIZON)?;
    Ok(Json(hosts.forecast(&scope, &id, field, horizon).await?))
}
