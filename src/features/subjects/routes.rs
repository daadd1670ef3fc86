//! The HTTP operations of exports and erasures.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt as _;
use futures_util::stream;

use super::model::{EraseRequest, Erasure, ErasurePath, ExportRequest, SubjectPath};
use super::service::SubjectService;
use crate::http::extract::{Json, NoQuery, Path};
use crate::http::problem::Problem;
use crate::lifecycle::Tasks;

/// What the routes need.
#[derive(Clone, Debug)]
pub(super) struct SubjectRoutes {
    pub subjects: Arc<SubjectService>,
    /// An export is read from Redis as fast as its client reads it.
    pub tasks: Tasks,
}

/// Export everything that contains an id of a person.
///
/// Each line is a key, or the members of a key that contain an id. The last line has the capability `end`: without it the export is
/// incomplete. Samples of series are exported by `GET /timeseries/{key}/export`; encrypted values stay encrypted.
#[utoipa::path(post, path = "/admin/subjects/{id}/export", tag = "subjects", operation_id = "export_subject",
    params(SubjectPath), request_body = ExportRequest,
    responses((status = 200, description = "The lines", content((String = "application/x-ndjson")))))]
pub(super) async fn export_subject(
    State(routes): State<SubjectRoutes>,
    Path(path): Path<SubjectPath>,
    NoQuery: NoQuery,
    Json(request): Json<ExportRequest>,
) -> Result<Response, Problem> {
    let ids = SubjectService::ids(&path.id, &request.aliases)?;
    // Without Redis, this fails before the response begins.
    let matcher = routes.subjects.matcher(&ids).await?;
    let (pieces, work) = routes.subjects.export(matcher);
    routes.tasks.spawn_tracked_connection(work);
    let lines = stream::unfold(pieces, async |mut pieces| pieces.recv().await.map(|piece| (piece, pieces))).fuse();
    let mut response = Body::from_stream(lines).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// Erase a person.
///
/// One of the replicas walks over all names and values, removes what contains an id of the person, and walks again until nothing
/// is left but what is kept for a stated reason. `GET /admin/erasures/{id}` shows how far it is, and then the receipt.
#[utoipa::path(post, path = "/admin/subjects/{id}/erase", tag = "subjects", operation_id = "erase_subject",
    params(SubjectPath), request_body = EraseRequest,
    responses((status = 202, description = "The erasure has begun", body = Erasure)))]
pub(super) async fn erase_subject(
    State(routes): State<SubjectRoutes>,
    Path(path): Path<SubjectPath>,
    NoQuery: NoQuery,
    Json(request): Json<EraseRequest>,
) -> Result<(StatusCode, Json<Erasure>), Problem> {
    Ok((StatusCode::ACCEPTED, Json(routes.subjects.erase(&path.id, request).await?)))
}

/// Get the state of an erasure, or its receipt.
#[utoipa::path(get, path = "/admin/erasures/{id}", tag = "subjects", operation_id = "get_erasure", params(ErasurePath),
    responses((status = 200, description = "The erasure; signed when it is complete", body = Erasure)))]
pub(super) async fn get_erasure(
    State(routes): State<SubjectRoutes>,
    Path(path): Path<ErasurePath>,
    NoQuery: NoQuery,
) -> Result<Json<Erasure>, Problem> {
    Ok(Json(routes.subjects.erasure(&path.id).await?))
}
