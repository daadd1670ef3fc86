//! The HTTP operations of epochs.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::error::EpochError;
use super::model::{AdvanceRequest, Epoch, EpochChange, EpochQuery, ListQuery, MAX_PAGE};
use super::service::{EpochService, Shown};
use crate::http::auth::Principal;
use crate::http::conditional::Preconditions;
use crate::http::counts::require_count;
use crate::http::extract::{Json, NoQuery, Query};
use crate::http::fencing::GrantToken;
use crate::http::idempotent_operation::FirstResponse;
use crate::http::problem::Problem;
use crate::http::reply::{NoContent, Page};

impl IntoResponse for Shown {
    fn into_response(self) -> Response {
        let status = if self.is_new { StatusCode::CREATED } else { StatusCode::OK };
        (status, [(header::ETAG, self.etag.header())], Json(self.epoch)).into_response()
    }
}

/// Get the open epoch, or begin the next one.
///
/// All callers get the same epoch, even at the same time. A `pending` epoch whose beginning has passed becomes `active`.
/// If the open epoch has ended, the answer is 409: clear or cancel it first. With an `Idempotency-Key`, a repetition receives
/// the epoch of the first request as it is then.
#[utoipa::path(post, path = "/market/epoch/advance", tag = "market", operation_id = "advance_market_epoch",
    request_body = AdvanceRequest,
    responses((status = 200, description = "The epoch that was open", body = Epoch),
              (status = 201, description = "The epoch that this call has created", body = Epoch)))]
pub(super) async fn advance_epoch(
    State(epochs): State<Arc<EpochService>>,
    NoQuery: NoQuery,
    GrantToken(token): GrantToken,
    first: FirstResponse,
    Json(request): Json<AdvanceRequest>,
) -> Result<Response, Problem> {
    if let Some(first) = first.to_refresh::<Epoch>()? {
        return match epochs.get(Some(first.epoch_number)).await {
            Ok(now) => Ok(now.into_response()),
            // The service does not keep it any more.
            Err(EpochError::NotFound(_)) => Ok(Json(first).into_response()),
            Err(error) => Err(error.into()),
        };
    }
    Ok(epochs.advance(request.length_ms, token).await?.into_response())
}

/// Forget the fencing tokens that the epochs have seen.
///
/// The next change with a `Fencing-Token` is accepted, even if a former holder of the lock sends it: make sure that there is
/// none. The audit log records the call.
#[utoipa::path(delete, path = "/fences/market/epoch", tag = "market", operation_id = "reset_epoch_fence",
    responses((status = 204, description = "The epochs remember no token")))]
pub(super) async fn reset_epoch_fence(
    State(epochs): State<Arc<EpochService>>,
    Extension(caller): Extension<Arc<Principal>>,
    NoQuery: NoQuery,
) -> Result<NoContent, Problem> {
    epochs.reset_fence(&caller.id).await?;
    Ok(NoContent)
}

/// Get the current epoch, or an earlier one.
#[utoipa::path(get, path = "/market/epoch", tag = "market", operation_id = "get_market_epoch",
    params(EpochQuery),
    responses((status = 200, description = "The epoch", body = Epoch,
               headers(("ETag" = String, description = "The state of the epoch")))))]
pub(super) async fn get_epoch(
    State(epochs): State<Arc<EpochService>>,
    Query(query): Query<EpochQuery>,
) -> Result<Shown, Problem> {
    Ok(epochs.get(query.number).await?)
}

/// Change an epoch, or create one.
///
/// Fields that are absent keep their values. A repetition of a change that was made is answered 200 and changes nothing.
#[utoipa::path(put, path = "/market/epoch", tag = "market", operation_id = "put_market_epoch",
    params(("If-Match" = Option<String>, Header, description = "Change the epoch only in this state"),
           ("If-None-Match" = Option<String>, Header, description = "`*`: only create an epoch")),
    request_body = EpochChange,
    responses((status = 200, description = "The epoch after the change", body = Epoch),
              (status = 201, description = "The epoch that this call has created", body = Epoch)))]
pub(super) async fn put_epoch(
    State(epochs): State<Arc<EpochService>>,
    NoQuery: NoQuery,
    GrantToken(token): GrantToken,
    conditions: Preconditions,
    Json(change): Json<EpochChange>,
) -> Result<Shown, Problem> {
    Ok(epochs.put(&change, &conditions, token).await?)
}

/// List epochs, newest first.
///
/// The service keeps the newest 3,000. A page can have fewer items than `limit`.
#[utoipa::path(get, path = "/market/epochs", tag = "market", operation_id = "list_market_epochs",
    params(ListQuery),
    responses((status = 200, description = "A page of epochs", body = Page<Epoch>)))]
pub(super) async fn list_epochs(
    State(epochs): State<Arc<EpochService>>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Page<Epoch>>, Problem> {
    require_count("limit", query.limit, MAX_PAGE)?;
    Ok(Json(epochs.list(query.limit, query.cursor).await?))
}
