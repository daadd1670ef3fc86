//! Routes that reserve a cost and settle it later.

use std::slice;
use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse, Response};

use super::super::check::{Decision, ReserveReply};
use super::super::error::LimitError;
use super::super::headers::fields;
use super::super::model::{ReserveRequest, SettleRequest};
use super::super::reservations::ReservationId;
use super::super::service::LimitService;
use super::{allow_key, life, limit_repetitions};
use crate::http::auth::Principal;
use crate::http::extract::{Json, NoQuery, Path};
use crate::http::idempotent_operation::{FirstResponse, Operation, Repeated};
use crate::http::problem::{Location, Problem};

/// Reserve a cost, to be settled when the used cost is known.
///
/// The cost is taken as by a check. A reservation that is not settled in time is returned in full.
#[utoipa::path(post, path = "/ratelimit/reserve", tag = "ratelimit", operation_id = "reserve_limit",
    request_body = ReserveRequest,
    responses((status = 200, description = "The decision, with the reservation if it was granted", body = ReserveReply,
               headers(("RateLimit-Policy" = String, description = "Name, quota and window of each limit"),
                       ("RateLimit" = String, description = "The available cost of each limit, and the time until more is available")))))]
pub(in super::super) async fn reserve_limit(
    State(limits): State<Arc<LimitService>>,
    Extension(caller): Extension<Arc<Principal>>,
    NoQuery: NoQuery,
    operation: Operation,
    Json(request): Json<ReserveRequest>,
) -> Result<Response, Problem> {
    allow_key(&caller, &request.limiter, &request.key)?;
    let (check, hold_ms) =
        limits.resolve_reservation(&caller, request).map_err(|invalid| invalid.at(Location::Body))?;
    let reply = limits.reserve(check, hold_ms).await?;
    // After its end, a reservation cannot be settled.
    let life = life(slice::from_ref(&reply.decision)).map(|reset_ms| reply.hold_ms.unwrap_or(reset_ms));
    let response = (fields(slice::from_ref(&reply.decision)), Json(reply)).into_response();
    Ok(limit_repetitions(&operation, life, response))
}

/// Settle a reservation: the unused cost is returned, and cost beyond the reservation becomes debt.
///
/// With an `Idempotency-Key`, a repetition settles nothing and receives the present state of the limit.
#[utoipa::path(post, path = "/ratelimit/reservations/{id}/settle", tag = "ratelimit",
    operation_id = "settle_reservation",
    params(("id" = String, Path, description = "The `reservation` of the response that granted it",
            example = "0123456789abcdef0123456789abcdef.dHJhZGluZyB1c2VyLTc")),
    request_body = SettleRequest,
    responses((status = 200, description = "The new state of the limit", body = Decision,
               headers(("RateLimit-Policy" = String, description = "Name, quota and window of each limit"),
                       ("RateLimit" = String, description = "The available cost of each limit, and the time until more is available")))))]
pub(in super::super) async fn settle_reservation(
    State(limits): State<Arc<LimitService>>,
    Extension(caller): Extension<Arc<Principal>>,
    Path(id): Path<String>,
    NoQuery: NoQuery,
    first: FirstResponse,
    Json(SettleRequest { cost }): Json<SettleRequest>,
) -> Result<(Option<Extension<Repeated>>, Decision), Problem> {
    let id = ReservationId::parse(&id).ok_or(LimitError::UnknownReservation)?;
    allow_key(&caller, &id.limiter, &id.key)?;
    if first.0.is_some() {
        return Ok((Some(Extension(Repeated)), limits.state_of(&id).await?));
    }
    Ok((None, limits.settle(&id, cost).await?))
}
