//! Reserve now, settle later.

use axum::extract::State;
use axum::response::{IntoResponse, Response};

use super::super::error::LimitError;
use super::super::fields::describe;
use super::super::model::{CheckReply, ReserveReply, ReserveRequest, SettleRequest};
use super::super::reservations::ReservationId;
use super::super::service::LimitService;
use crate::http::extract::{Json, NoQuery, Path};
use crate::http::openapi_responses::{JsonBodyResponses, WriteResponses};
use crate::http::problem::{Location, Problem, ProblemBody};

/// Reserve a cost, to be settled when it is known what was used.
///
/// The cost is taken as by a check. A reservation that nobody settles in time is given back by itself.
#[utoipa::path(post, path = "/ratelimit/reserve", tag = "ratelimit", operation_id = "reserve_limit",
    request_body = ReserveRequest,
    responses((status = 200, description = "The decision, with the reservation if it was granted", body = ReserveReply,
               headers(("RateLimit-Policy" = String, description = "Name, quota and window of the limit"),
                       ("RateLimit" = String, description = "What is left, and when there is more"))),
              (status = 409, description = "`too-many-reservations`, `wrong-type`", body = ProblemBody, content_type = "application/problem+json"),
              (status = 422, description = "`invalid-query`, `invalid-body`", body = ProblemBody, content_type = "application/problem+json"),
              JsonBodyResponses, WriteResponses))]
pub(in super::super) async fn reserve_limit(
    State(limits): State<LimitService>,
    NoQuery: NoQuery,
    Json(request): Json<ReserveRequest>,
) -> Result<Response, Problem> {
    let (ask, length) = limits.hold(request).map_err(|bad| bad.at(Location::Body))?;
    let (decision, reservation) = limits.reserve(ask, length).await?;
    let reply = ReserveReply::new(&decision, reservation.as_ref());
    let mut response = Json(reply).into_response();
    describe(response.headers_mut(), &[decision]);
    Ok(response)
}

/// Settle a reservation: what was not used is given back, what was used beyond it is debt.
#[utoipa::path(post, path = "/ratelimit/reservations/{id}/settle", tag = "ratelimit",
    operation_id = "settle_reservation",
    params(("id" = String, Path, description = "`reservation` of the answer that granted it",
            example = "0123456789abcdef0123456789abcdef.dHJhZGluZyB1c2VyLTc")),
    request_body = SettleRequest,
    responses((status = 200, description = "How the limit stands now, as a look would say", body = CheckReply,
               headers(("RateLimit-Policy" = String, description = "Name, quota and window of the limit"),
                       ("RateLimit" = String, description = "What is left, and when there is more"))),
              (status = 404, description = "`unknown-reservation`", body = ProblemBody, content_type = "application/problem+json"),
              (status = 409, description = "`wrong-type`", body = ProblemBody, content_type = "application/problem+json"),
              (status = 422, description = "`invalid-path`, `invalid-query`, `invalid-body`", body = ProblemBody, content_type = "application/problem+json"),
              JsonBodyResponses, WriteResponses))]
pub(in super::super) async fn settle_reservation(
    State(limits): State<LimitService>,
    Path(id): Path<String>,
    NoQuery: NoQuery,
    Json(SettleRequest { cost }): Json<SettleRequest>,
) -> Result<Response, Problem> {
    let id = ReservationId::parse(&id).ok_or(LimitError::UnknownReservation)?;
    let decision = limits.settle(&id, cost).await?;
    let mut response = Json(CheckReply::from(&decision)).into_response();
    describe(response.headers_mut(), &[decision]);
    Ok(response)
}
