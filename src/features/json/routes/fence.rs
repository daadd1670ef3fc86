//! The route with which administrators reset fences.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;

use super::super::error::JsonError;
use super::super::service::JsonService;
use super::KeyPath;
use crate::http::auth::Principal;
use crate::http::extract::{NoQuery, Path};
use crate::http::problem::Problem;
use crate::http::reply::NoContent;

/// Forget the fencing tokens that a document has seen.
///
/// The document does not change. The next write with a `Fencing-Token` is accepted, even if a former holder of the lock
/// sends it: make sure that there is none. The audit log records the call.
#[utoipa::path(delete, path = "/fences/json/{key}", tag = "json", operation_id = "reset_json_fence",
    params(KeyPath), responses((status = 204, description = "The document remembers no token")))]
pub(in super::super) async fn reset_document_fence(
    State(documents): State<Arc<JsonService>>,
    Extension(caller): Extension<Arc<Principal>>,
    Path(KeyPath { key }): Path<KeyPath>,
    NoQuery: NoQuery,
) -> Result<NoContent, Problem> {
    documents.reset_fence(&key, &caller.id).await.map_err(JsonError::Redis)?;
    Ok(NoContent)
}
