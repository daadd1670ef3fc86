//! What is said of samples.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;

use super::super::model::HostPath;
use super::super::service::HostService;
use super::super::summary::{Bucket, FieldList, SummaryAnswer, SummaryRequest};
use super::super::tenancy::Reach;
use crate::http::auth::Principal;
use crate::http::extract::{Json, Path, Query};
use crate::http::failures::ReadFailures;
use crate::http::problem::{Problem, ProblemBody};
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
        ReadFailures,
        (status = 200, description = "The buckets that have samples, oldest first; at most 2,232", body = SummaryAnswer),
        (status = 403, description = "wrong-organisation", body = ProblemBody, content_type = "application/problem+json"),
        (status = 404, description = "host-not-found", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "wrong-type", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "invalid-path, invalid-query", body = ProblemBody, content_type = "application/problem+json")))]
pub(in super::super) async fn get_summary(
    State(hosts): State<HostService>,
    Extension(caller): Extension<Arc<Principal>>,
    Path(HostPath { id }): Path<HostPath>,
    Query(query): Query<SummaryQuery>,
) -> Result<Json<SummaryAnswer>, Problem> {
    let reach = Reach::of(&caller, query.org_id.as_deref())?;
    let SummaryQuery { bucket, start_time, end_time, fields, .. } = query;
    let request = SummaryRequest { bucket, start: start_time, end: end_time, fields };
    Ok(Json(hosts.summary(&reach, &id, request).await?))
}
