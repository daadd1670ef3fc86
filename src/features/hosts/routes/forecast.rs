//! Forecasts.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;

use super::super::analysis::forecast::ForecastAnswer;
use super::super::analysis::gauge::Gauge;
use super::super::model::HostPath;
use super::super::service::HostService;
use super::super::tenancy::AccessScope;
use crate::http::auth::Principal;
use crate::http::counts::require_count;
use crate::http::extract::{Json, Path, Query};
use crate::http::problem::Problem;

const DEFAULT_HORIZON: usize = 24;
/// A week: a forecast of a later hour is a guess.
const MAX_HORIZON: usize = 168;

/// The field to forecast, and for how long.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
pub(in super::super) struct ForecastQuery {
    /// A field that rises and falls; network counters only grow and are not allowed.
    #[param(value_type = String, example = "disk.usagePercent",
        pattern = "^(cpu\\.(usage|cores|loadAvg\\.(1|5|15))|(memory|disk)\\.(total|used|free|usagePercent))$")]
    field: Gauge,
    /// The number of hours.
    #[param(value_type = u64, required = false, minimum = 1, maximum = 168, default = 24)]
    horizon: Option<usize>,
    /// The credential's organisation. Administrators without an organisation may name any.
    #[param(required = false, example = "grid-one")]
    org_id: Option<String>,
}

/// Forecast the hourly averages of a field.
///
/// The forecast is computed from the hours of the last 28 days: exponential smoothing (ETS) continues the trend, and the
/// daily season and, with at least three weeks of history, the weekly season repeat (MSTL). Hours without samples are
/// interpolated linearly. With fewer than 48 hours with samples, the forecast is empty.
#[utoipa::path(get, path = "/hosts/{id}/metrics/forecast", tag = "hosts", operation_id = "get_host_metrics_forecast",
    params(HostPath, ForecastQuery),
    responses((status = 200, description = "The forecast hours, each with its bounds", body = ForecastAnswer)))]
pub(in super::super) async fn get_forecast(
    State(hosts): State<HostService>,
    Extension(caller): Extension<Arc<Principal>>,
    Path(HostPath { id }): Path<HostPath>,
    Query(ForecastQuery { field, horizon, org_id }): Query<ForecastQuery>,
) -> Result<Json<ForecastAnswer>, Problem> {
    let scope = AccessScope::of(&caller, org_id.as_deref())?;
    let horizon = require_count("horizon", horizon.unwrap_or(DEFAULT_HORIZON), MAX_HORIZON)?;
    Ok(Json(hosts.forecast(&scope, &id, field, horizon).await?))
}
