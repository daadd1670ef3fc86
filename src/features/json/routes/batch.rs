//! Reads, deletes and stores many documents in one call.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};

use super::super::batch::{BatchReply, BatchRequest};
use super::super::service::JsonService;
use super::{CanDecrypt, MAX_PATHS};
use crate::http::extract::{Json, NoQuery};
use crate::http::fencing::GrantToken;
use crate::http::idempotent_operation::Unrecorded;
use crate::http::problem::Problem;

/// The items of each list of a batch. The API document states this limit.
const MAX_ITEMS: usize = 100;

/// Read, delete and store many documents in one call.
///
/// Reads answer the documents as they were before the batch; then the deletions run, then the writes. Changes of one
/// document run in their order. A batch is not a transaction: every item has its own result. A `Fencing-Token` is
/// checked for every document that is stored or deleted.
#[utoipa::path(post, path = "/json/batch", tag = "json", operation_id = "run_json_batch",
    request_body = BatchRequest,
    responses((status = 200, description = "One result per item", body = BatchReply)))]
pub(in super::super) async fn run_json_batch(
    State(documents): State<Arc<JsonService>>,
    NoQuery: NoQuery,
    GrantToken(token): GrantToken,
    CanDecrypt(can_decrypt): CanDecrypt,
    Json(batch): Json<BatchRequest>,
) -> Result<Response, Problem> {
    check(&documents, &batch)?;
    let changed = batch.set.iter().map(|item| &item.key).chain(batch.delete.iter().map(|item| &item.key));
    let has_secrets =
        batch.get.iter().map(|item| &item.key).chain(changed).any(|key| documents.encryption.encrypts(key));
    let mut response = Json(documents.run_batch(batch, token, can_decrypt).await).into_response();
    if has_secrets {
        response.extensions_mut().insert(Unrecorded);
    }
    Ok(response)
}

/// Checks the rules that a whole batch must follow before any item runs.
fn check(documents: &JsonService, batch: &BatchRequest) -> Result<(), Problem> {
    for (list, items) in [("/get", batch.get.len()), ("/set", batch.set.len()), ("/delete", batch.delete.len())] {
        if items > MAX_ITEMS {
            return Err(Problem::body_field(list, format!("must have at most {MAX_ITEMS} items, got {items}")));
        }
    }
    for (at, item) in batch.get.iter().enumerate() {
        if item.paths.len() > MAX_PATHS {
            let rule = format!("must have at most {MAX_PATHS} paths, got {}", item.paths.len());
            return Err(Problem::body_field(&format!("/get/{at}/paths"), rule));
        }
    }
    for (at, item) in batch.set.iter().enumerate() {
        let invalid = |rule| Problem::body_field(&format!("/set/{at}/ttl_ms"), rule);
        documents.check_ttl(item.ttl_ms).map_err(invalid)?;
    }
    Ok(())
}
