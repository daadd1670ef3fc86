//! Whole documents, and what stands at paths in them.

use axum::extract::{Request as HttpRequest, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Deserialize;
use utoipa::IntoParams;

use super::super::change::{Change, PatchForm};
use super::super::document::Node;
use super::super::error::JsonError;
use super::super::model::{DocumentKey, Millis, TouchRequest};
use super::super::path::Path;
use super::super::scripts::Life;
use super::super::service::JsonService;
use super::super::update::Request;
use super::openapi_responses::{BodyFailures, ChangeFailures, LookFailures};
use super::terms::{InClear, Terms};
use super::{ConditionHeaders, KeyParam, KeyPath, PathParam, Paths, PathsParam, changed, describe, json};
use crate::http::conditional::Preconditions;
use crate::http::extract::{
    BodyLimit, Json, NoQuery, Query, collect, media_type, parse_json, require_json, unsupported,
};
use crate::http::fencing::GrantToken;
use crate::http::problem::{Location, Problem};
use crate::http::reply::NoContent;

const MERGE_PATCH: &str = "application/merge-patch+json";
const JSON_PATCH: &str = "application/json-patch+json";

/// Read a document, or what paths select of it.
///
/// Without a path the document is answered as it is stored. One `$` path gives the list of its values, one legacy path
/// the first value. Several paths give an object from path to value; all are lists as soon as one is a `$` path.
#[utoipa::path(get, path = "/json/{key}", tag = "json", operation_id = "get_document",
    params(KeyParam,
           PathsParam,
           ConditionHeaders),
    responses((status = 200, description = "The document, or what was selected", body = serde_json::Value,
               headers(("ETag" = String, description = "Of the document; never comes again once it has changed"),
                       ("Document-TTL-Ms" = u64, description = "Milliseconds left; absent when the document does not expire"))),
              (status = 304, description = "The caller has this version"),
              LookFailures))]
pub(in super::super) async fn get_document(
    State(documents): State<JsonService>,
    KeyPath(key): KeyPath,
    Paths(paths): Paths,
    clear: InClear,
    conditions: Preconditions,
) -> Result<Response, Problem> {
    documents.answer_get(&key, &paths, clear, &conditions).await
}

/// How a document is stored.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in super::super) struct PutParams {
    /// Where in the document; the whole document without it. A new member needs a path that names it and nothing else.
    #[param(max_length = 1_024, example = "$")]
    path: Option<String>,
    /// The document's life from now on, milliseconds; without it, it keeps what it has left.
    #[param(value_type = u64, required = false, minimum = 1, maximum = 31_536_000_000_u64, example = 60_000)]
    ttl_ms: Option<Millis>,
}

/// Store a document, or a value at a path of it.
///
/// Every value that the path selects is replaced. `If-None-Match: *` stores only what is not there yet, `If-Match: *`
/// only what is there already, at the path.
#[utoipa::path(put, path = "/json/{key}", tag = "json", operation_id = "put_document",
    params(KeyParam,
           PutParams,
           ConditionHeaders),
    request_body(content = serde_json::Value, description = "Any JSON value up to `json.document_limit`, each name once per object",
                 example = json!({"name": "Ada", "score": 12.50, "tags": ["a"]})),
    responses((status = 201, description = "Stored; nothing was there",
               headers(("ETag" = String, description = "Of the document; never comes again once it has changed"),
                       ("Document-TTL-Ms" = u64, description = "Milliseconds left; absent when the document does not expire")),
               links(("read" = (operation_id = "get_document", parameters(("key" = "$request.path.key")))),
                     ("describe" = (operation_id = "get_types", parameters(("key" = "$request.path.key")))),
                     ("clear" = (operation_id = "clear_values", parameters(("key" = "$request.path.key")))),
                     ("delete" = (operation_id = "delete_document", parameters(("key" = "$request.path.key")))))),
              (status = 204, description = "Stored; what was there is replaced",
               headers(("ETag" = String, description = "Of the document; never comes again once it has changed"),
                       ("Document-TTL-Ms" = u64, description = "Milliseconds left; absent when the document does not expire"))),
              BodyFailures))]
pub(in super::super) async fn put_document(
    State(documents): State<JsonService>,
    KeyPath(key): KeyPath,
    Query(params): Query<PutParams>,
    terms: Terms,
    request: HttpRequest,
) -> Result<Response, Problem> {
    let path = documents.query_path(params.path.as_deref())?;
    documents.check_ttl(params.ttl_ms, Location::Query, "/ttl_ms")?;
    let life = params.ttl_ms.map_or(Life::Keep, |ttl| Life::Ends(ttl.get()));
    documents.answer_put(&key, path, life, terms, request).await
}

/// Change a document by a merge patch (RFC 7396) or a JSON Patch (RFC 6902), by its Content-Type.
///
/// A merge patch goes to `path`, or the whole document. Where there is nothing yet it is stored as it is. A JSON Patch
/// has paths of its own, which are JSON pointers; it is made whole or not at all.
#[utoipa::path(patch, path = "/json/{key}", tag = "json", operation_id = "patch_document",
    params(KeyParam,
           PathParam,
           ConditionHeaders),
    request_body(content((serde_json::Value = "application/merge-patch+json", example = json!({"score": null, "name": "Ada L."})),
                         (Vec<super::super::model::PatchOperation> = "application/json-patch+json", example = json!([])))),
    responses((status = 201, description = "Stored; nothing was there",
               headers(("ETag" = String, description = "Of the document; never comes again once it has changed"))),
              (status = 204, description = "Changed",
               headers(("ETag" = String, description = "Of the document; never comes again once it has changed"))),
              BodyFailures))]
pub(in super::super) async fn patch_document(
    State(documents): State<JsonService>,
    KeyPath(key): KeyPath,
    Query(params): Query<PathParam>,
    terms: Terms,
    request: HttpRequest,
) -> Result<Response, Problem> {
    documents.answer_patch(&key, params.path.as_deref(), terms, request).await
}

/// Delete a document, or what a path selects of it.
///
/// A document whose last member or item is deleted is deleted itself. Deleting what is not there succeeds.
#[utoipa::path(delete, path = "/json/{key}", tag = "json", operation_id = "delete_document",
    params(KeyParam,
           PathParam,
           ConditionHeaders),
    responses((status = 200, description = "How many values were deleted, those inside another one not counted", body = super::super::model::Deleted,
               headers(("ETag" = String, description = "Of what is left of the document"))),
              ChangeFailures))]
pub(in super::super) async fn delete_document(
    State(documents): State<JsonService>,
    KeyPath(key): KeyPath,
    Query(params): Query<PathParam>,
    terms: Terms,
) -> Result<Response, Problem> {
    let path = documents.query_path(params.path.as_deref())?;
    documents.answer_delete(&key, path, terms).await
}

/// Give a document a new life from now on, or one that does not end.
#[utoipa::path(post, path = "/json/{key}/touch", tag = "json", operation_id = "touch_document",
    params(KeyParam),
    request_body = TouchRequest,
    responses((status = 204, description = "The document has the new life"),
              BodyFailures))]
pub(in super::super) async fn touch_document(
    State(documents): State<JsonService>,
    KeyPath(key): KeyPath,
    NoQuery: NoQuery,
    GrantToken(token): GrantToken,
    Json(body): Json<TouchRequest>,
) -> Result<NoContent, Problem> {
    documents.touch(&key, body.ttl_ms, token).await?;
    Ok(NoContent)
}

/// The same answers for every route to a document.
impl JsonService {
    pub(super) async fn answer_get(
        &self,
        key: &DocumentKey,
        paths: &[String],
        clear: InClear,
        conditions: &Preconditions,
    ) -> Result<Response, Problem> {
        let paths = paths.iter().map(|text| self.query_path(Some(text))).collect::<Result<Vec<Path>, Problem>>()?;
        self.answer_selected(key, &paths, clear, conditions).await
    }

    pub(super) async fn answer_selected(
        &self,
        key: &DocumentKey,
        paths: &[Path],
        InClear(in_clear): InClear,
        conditions: &Preconditions,
    ) -> Result<Response, Problem> {
        let selected = self.get(key, paths, in_clear).await?;
        let etag = selected.source.etag();
        if !conditions.matches(Some(etag)) {
            return Err(JsonError::PreconditionFailed.into());
        }
        let mut response = if conditions.already_has(Some(etag)) {
            StatusCode::NOT_MODIFIED.into_response()
        } else {
            json(selected.body)
        };
        describe(etag, selected.source.ttl, response.headers_mut());
        Ok(response)
    }

    pub(super) async fn answer_put(
        &self,
        key: &DocumentKey,
        path: Path,
        life: Life,
        mut terms: Terms,
        request: HttpRequest,
    ) -> Result<Response, Problem> {
        let value = self.json_body(request).await?;
        let change = Change::Set { path, value, only: terms.only() };
        let done = self.update(key, &Request { life, ..terms.of(change) }).await?;
        Ok(changed(&done, ""))
    }

    pub(super) async fn answer_patch(
        &self,
        key: &DocumentKey,
        path: Option<&str>,
        terms: Terms,
        request: HttpRequest,
    ) -> Result<Response, Problem> {
        let media_type = media_type(request.headers());
        let change = match media_type.as_deref() {
            Some(MERGE_PATCH) => {
                let path = self.query_path(path)?;
                Change::Merge { path, change: Node::parse(&self.collect(request).await?)? }
            }
            Some(JSON_PATCH) if path.is_some() => {
                return Err(Problem::query_parameter("path", "belongs to merge patches: a JSON Patch has its own"));
            }
            Some(JSON_PATCH) => {
                let form: PatchForm = parse_json(&self.collect(request).await?)?;
                let read = form.read(self.config.patch_limit);
                Change::Patch(read.map_err(|fault| Problem::body_field(&fault.pointer, fault.rule))?)
            }
            other => return Err(unsupported(other, &[MERGE_PATCH, JSON_PATCH])),
        };
        let done = self.update(key, &terms.of(change)).await?;
        Ok(self.discreet(key, changed(&done, "")))
    }

    pub(super) async fn answer_delete(&self, key: &DocumentKey, path: Path, terms: Terms) -> Result<Response, Problem> {
        let done = self.update(key, &terms.of(Change::Delete { path })).await?;
        Ok(changed(&done, "deleted"))
    }

    /// A body that is one JSON value.
    pub(super) async fn json_body(&self, request: HttpRequest) -> Result<Node, Problem> {
        require_json(request.headers())?;
        Ok(Node::parse(&self.collect(request).await?)?)
    }

    /// A body within the limit of documents.
    async fn collect(&self, mut request: HttpRequest) -> Result<Bytes, Problem> {
        request.extensions_mut().insert(BodyLimit(self.bounds.document));
        collect(request).await
    }
}
