//! Many documents.

use axum::extract::State;
use axum::response::{IntoResponse, Response};

use super::super::batch::{Batch, BatchReply, BatchRequest, DeleteItem, GetItem, SetItem};
use super::super::change::{Change, Only};
use super::super::model::{DocumentKey, Millis};
use super::super::path::Path;
use super::super::scripts::Life;
use super::super::service::JsonService;
use super::super::update::Request;
use super::MAX_PATHS;
use super::terms::Rights;
use crate::http::extract::{Json, NoQuery};
use crate::http::idempotent_operation::Unrecorded;
use crate::http::openapi_responses::{JsonBodyResponses, WriteResponses};
use crate::http::problem::{Location, Problem, ProblemBody};

/// Read, delete and store many documents in one call.
///
/// Reads are answered as things were before; then the deletions are made, then the writes, those of one document in
/// their order. It is no transaction: every item has a result of its own. A `Fencing-Token` is judged by every document
/// that is stored or deleted.
#[utoipa::path(post, path = "/json/batch", tag = "json", operation_id = "run_json_batch",
    request_body = BatchRequest,
    responses((status = 200, description = "One result per item", body = BatchReply),
              (status = 422, description = "`invalid-query`, `invalid-body`", body = ProblemBody, content_type = "application/problem+json"),
              JsonBodyResponses, WriteResponses))]
pub(in super::super) async fn run_json_batch(
    State(documents): State<JsonService>,
    NoQuery: NoQuery,
    rights: Rights,
    Json(request): Json<BatchRequest>,
) -> Result<Response, Problem> {
    let limit = documents.config.batch_limit;
    for (list, items) in [("/get", request.get.len()), ("/set", request.set.len()), ("/delete", request.delete.len())] {
        if items > limit {
            return Err(Problem::body_field(list, format!("has {items} items; at most {limit} are allowed")));
        }
    }
    let get = request.get.into_iter().enumerate().map(|(at, item)| documents.get_item(at, item));
    let set = request.set.into_iter().enumerate().map(|(at, item)| documents.set_item(at, item, rights));
    let delete = request.delete.into_iter().enumerate().map(|(at, item)| documents.delete_item(at, item, rights));
    let batch = Batch {
        get: get.collect::<Result<_, _>>()?,
        set: set.collect::<Result<_, _>>()?,
        delete: delete.collect::<Result<_, _>>()?,
    };
    let touches_secrets = batch.keys().any(|key| documents.vault.guards(key));
    let mut response = Json(documents.run_batch(batch, rights.in_clear).await).into_response();
    if touches_secrets {
        response.extensions_mut().insert(Unrecorded);
    }
    Ok(response)
}

type Item<T> = (DocumentKey, T);

impl JsonService {
    fn get_item(&self, at: usize, item: GetItem) -> Result<Item<Vec<Path>>, Problem> {
        if item.paths.len() > MAX_PATHS {
            let rule = format!("has {} paths; at most {MAX_PATHS} are read", item.paths.len());
            return Err(Problem::body_field(&format!("/get/{at}/paths"), rule));
        }
        let path = |(nth, text): (usize, &String)| self.body_path(&format!("/get/{at}/paths/{nth}"), Some(text));
        let paths = item.paths.iter().enumerate().map(path).collect::<Result<_, _>>()?;
        Ok((item.key, paths))
    }

    fn set_item(&self, at: usize, item: SetItem, rights: Rights) -> Result<Item<Request>, Problem> {
        let path = self.body_path(&format!("/set/{at}/path"), item.path.as_deref())?;
        self.check_ttl(item.ttl_ms, Location::Body, &format!("/set/{at}/ttl_ms"))?;
        let life = item.ttl_ms.map_or(Life::Keep, |ttl: Millis| Life::Ends(ttl.get()));
        let change = Change::Set { path, value: item.value, only: Only::Either };
        Ok((item.key, Request { life, ..rights.of(change) }))
    }

    fn delete_item(&self, at: usize, item: DeleteItem, rights: Rights) -> Result<Item<Request>, Problem> {
        let path = self.body_path(&format!("/delete/{at}/path"), item.path.as_deref())?;
        Ok((item.key, rights.of(Change::Delete { path })))
    }
}
