//! Reads, stores, patches and deletes documents and the values at paths in them, one by one or in a batch.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Request as HttpRequest, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Deserialize;
use utoipa::IntoParams;

use super::super::batch::{BatchReply, BatchRequest, GetItem, SeparatedBatch, SetItem};
use super::super::change::{Action, Patch, PatchOperation, SetCondition};
use super::super::document::Node;
use super::super::error::JsonError;
use super::super::model::{DeletedReply, DocumentKey, JsonValue, Millis, TouchRequest};
use super::super::path::Path as JsonPath;
use super::super::schema::BrokenRule;
use super::super::service::JsonService;
use super::super::update::{Update, WriteOptions};
use super::super::{READ, WRITE};
use super::{
    CanDecrypt, ConditionHeaders, DocumentBody, KeyPath, MAX_PATHS, PathParam, Paths, json, parse_body,
    set_document_headers, updated, without_record,
};
use crate::http::auth::Principal;
use crate::http::batch_item::{check_results, errors_of, separate};
use crate::http::conditional::{Preconditions, refuse_ignored};
use crate::http::extract::{
    BodyLimit, Json, NoQuery, Path, Query, collect, media_type, parse_json, require_json, unsupported,
};
use crate::http::fencing::{GrantToken, reject_ahead};
use crate::http::idempotent_operation::Unrecorded;
use crate::http::problem::Problem;
use crate::http::reply::NoContent;

const MERGE_PATCH: &str = "application/merge-patch+json";
const JSON_PATCH: &str = "application/json-patch+json";

/// Read a document, or the values that paths select.
///
/// Without a path, the answer is the stored document. One `$` path gives the list of its values, one legacy path the
/// first value. Several paths give an object from path to value; if one of them is a `$` path, all values are lists.
#[utoipa::path(get, path = "/json/{key}", tag = "json", operation_id = "get_json_document",
    params(KeyPath, Paths, ConditionHeaders),
    responses((status = 200, description = "The document, or the selected values", body = JsonValue,
               headers(("ETag" = String, description = "The version of the document; never used twice"),
                       ("Document-TTL-Ms" = u64, description = "Milliseconds until the document expires; absent if it does not expire"))),
              (status = 304, description = "The caller has this version")))]
pub(in super::super) async fn get_document(
    State(documents): State<Arc<JsonService>>,
    Path(KeyPath { key }): Path<KeyPath>,
    Paths { path }: Paths,
    can_decrypt: CanDecrypt,
    conditions: Preconditions,
) -> Result<Response, Problem> {
    read(&documents, &key, path, &can_decrypt, &conditions).await
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in super::super) struct PutParams {
    /// A JSON path; without it, the whole document. A new member needs a path that names exactly that member.
    #[param(value_type = Option<String>, max_length = 1_024, example = "$")]
    path: Option<JsonPath>,
    /// The document's new TTL, milliseconds; without it, the document keeps its TTL.
    #[param(value_type = u64, required = false, minimum = 1, maximum = 31_536_000_000_u64, example = 60_000)]
    ttl_ms: Option<Millis>,
}

/// Store a document, or a value at a path.
///
/// Every value that the path selects is replaced. `If-None-Match: *` stores only if the path selects nothing,
/// `If-Match: *` only if it selects a value.
#[utoipa::path(put, path = "/json/{key}", tag = "json", operation_id = "put_json_document",
    params(KeyPath, PutParams, ConditionHeaders),
    request_body(content = JsonValue, description = "Any JSON value up to `json.document_limit`; names in an object are unique",
                 example = json!({"name": "Ada", "score": 12.50, "active": true, "tags": ["a", "b"]})),
    responses((status = 201, description = "Created",
               headers(("ETag" = String, description = "The version of the document; never used twice"),
                       ("Document-TTL-Ms" = u64, description = "Milliseconds until the document expires; absent if it does not expire")),
               links(("read" = (operation_id = "get_json_document", parameters(("key" = "$request.path.key")))),
                     ("describe" = (operation_id = "get_json_types", parameters(("key" = "$request.path.key")))),
                     ("clear" = (operation_id = "clear_json_values", parameters(("key" = "$request.path.key")))),
                     ("delete" = (operation_id = "delete_json_document", parameters(("key" = "$request.path.key")))))),
              (status = 204, description = "Replaced",
               headers(("ETag" = String, description = "The version of the document; never used twice"),
                       ("Document-TTL-Ms" = u64, description = "Milliseconds until the document expires; absent if it does not expire")))))]
pub(in super::super) async fn put_document(
    State(documents): State<Arc<JsonService>>,
    Path(KeyPath { key }): Path<KeyPath>,
    Query(PutParams { path, ttl_ms }): Query<PutParams>,
    options: WriteOptions,
    request: HttpRequest,
) -> Result<Response, Problem> {
    documents.check_ttl(ttl_ms).map_err(|rule| Problem::query_parameter("ttl_ms", rule))?;
    put(&documents, &key, path.unwrap_or_default(), None, ttl_ms, options, request).await
}

/// Change a document by a merge patch (RFC 7396) or a JSON Patch (RFC 6902), depending on the Content-Type.
///
/// A merge patch applies to `path`, or to the whole document; if no value exists, the patch itself is stored. A JSON
/// Patch contains its own paths, which are JSON pointers. It is applied completely or not at all.
#[utoipa::path(patch, path = "/json/{key}", tag = "json", operation_id = "patch_json_document",
    params(KeyPath, PathParam, ConditionHeaders),
    request_body(content((JsonValue = "application/merge-patch+json", example = json!({"name": "Ada L.", "nickname": null})),
                         (Vec<PatchOperation> = "application/json-patch+json",
                          example = json!([{"op": "add", "path": "/tags/-", "value": "c"}])))),
    responses((status = 201, description = "Created",
               headers(("ETag" = String, description = "The version of the document; never used twice"))),
              (status = 204, description = "Changed",
               headers(("ETag" = String, description = "The version of the document; never used twice")))))]
pub(in super::super) async fn patch_document(
    State(documents): State<Arc<JsonService>>,
    Path(KeyPath { key }): Path<KeyPath>,
    Query(PathParam { path }): Query<PathParam>,
    options: WriteOptions,
    request: HttpRequest,
) -> Result<Response, Problem> {
    patch(&documents, &key, path, options, request).await
}

/// Delete a document, or the values that a path selects.
///
/// A document whose last member or item is deleted is itself deleted. Deleting a value that does not exist succeeds.
#[utoipa::path(delete, path = "/json/{key}", tag = "json", operation_id = "delete_json_document",
    params(KeyPath, PathParam, ConditionHeaders),
    responses((status = 200, description = "The number of deleted values, not counting values inside others", body = DeletedReply,
               headers(("ETag" = String, description = "The version of the remaining document")))))]
pub(in super::super) async fn delete_document(
    State(documents): State<Arc<JsonService>>,
    Path(KeyPath { key }): Path<KeyPath>,
    Query(PathParam { path }): Query<PathParam>,
    options: WriteOptions,
) -> Result<Response, Problem> {
    delete(&documents, &key, path.unwrap_or_default(), options).await
}

/// Reset a document's TTL, or remove it.
#[utoipa::path(post, path = "/json/{key}/touch", tag = "json", operation_id = "touch_json_document",
    params(KeyPath), request_body = TouchRequest,
    responses((status = 204, description = "The document has the new TTL")))]
pub(in super::super) async fn touch_document(
    State(documents): State<Arc<JsonService>>,
    Path(KeyPath { key }): Path<KeyPath>,
    NoQuery: NoQuery,
    GrantToken(token): GrantToken,
    headers: HeaderMap,
    Json(body): Json<TouchRequest>,
) -> Result<NoContent, Problem> {
    refuse_ignored(&headers)?;
    documents.check_ttl(body.ttl_ms).map_err(|rule| Problem::body_field("/ttl_ms", rule))?;
    documents.touch(&key, body.ttl_ms, token).await?;
    Ok(NoContent)
}

/// The document, or the values that `paths` select; 304 if the caller has this version.
pub(super) async fn read(
    documents: &Arc<JsonService>,
    key: &DocumentKey,
    paths: Vec<JsonPath>,
    can_decrypt: &CanDecrypt,
    conditions: &Preconditions,
) -> Result<Response, Problem> {
    let (text, source) = documents.read(key, paths, can_decrypt.of(key)).await?;
    let etag = source.etag();
    if !conditions.matches(Some(etag)) {
        return Err(JsonError::PreconditionFailed.into());
    }
    let mut response =
        if conditions.already_has(Some(etag)) { StatusCode::NOT_MODIFIED.into_response() } else { json(text) };
    set_document_headers(etag, source.ttl, response.headers_mut());
    Ok(response)
}

/// Stores the body at `path`. If no document exists, `initial` is the document in which it is stored.
pub(super) async fn put(
    documents: &Arc<JsonService>,
    key: &DocumentKey,
    path: JsonPath,
    initial: Option<Node>,
    ttl: Option<Millis>,
    mut options: WriteOptions,
    request: HttpRequest,
) -> Result<Response, Problem> {
    require_json(request.headers())?;
    let (value, _permit) = parse_body(documents, collect_document(documents, request).await?, parse_document).await?;
    // `*` is a condition on the value at the path; entity tags are conditions on the document.
    let condition = if options.conditions.is_create_only() {
        SetCondition::IfAbsent
    } else if options.conditions.is_update_only() {
        SetCondition::IfPresent
    } else {
        SetCondition::Always
    };
    if condition != SetCondition::Always {
        options.conditions = Preconditions::default();
    }
    let update = Update { initial, ttl, ..options.update(path, Action::Set(value, condition)) };
    Ok(updated(&documents.update(key, update).await?, ""))
}

/// Applies the merge patch or JSON Patch of the body.
pub(super) async fn patch(
    documents: &Arc<JsonService>,
    key: &DocumentKey,
    path: Option<JsonPath>,
    options: WriteOptions,
    request: HttpRequest,
) -> Result<Response, Problem> {
    let (action, _permit) = match media_type(request.headers()).as_deref() {
        Some(MERGE_PATCH) => {
            let body = collect_document(documents, request).await?;
            let (value, permit) = parse_body(documents, body, parse_document).await?;
            (Action::Merge(value), permit)
        }
        Some(JSON_PATCH) if path.is_some() => {
            return Err(Problem::query_parameter(
                "path",
                "must not be given with a JSON Patch, which has its own paths",
            ));
        }
        Some(JSON_PATCH) => {
            let body = collect_document(documents, request).await?;
            let (operations, permit) = parse_body(documents, body, parse_patch).await?;
            (Action::Patch(operations), permit)
        }
        other => return Err(unsupported(other, &[MERGE_PATCH, JSON_PATCH])),
    };
    let result = documents.update(key, options.update(path.unwrap_or_default(), action)).await?;
    Ok(without_record(documents, key, updated(&result, "")))
}

pub(super) async fn delete(
    documents: &Arc<JsonService>,
    key: &DocumentKey,
    path: JsonPath,
    options: WriteOptions,
) -> Result<Response, Problem> {
    let result = documents.update(key, options.update(path, Action::Delete)).await?;
    Ok(updated(&result, "deleted"))
}

fn parse_document(body: &[u8]) -> Result<Node, Problem> {
    Ok(Node::parse(body)?)
}

fn parse_patch(body: &[u8]) -> Result<Patch, Problem> {
    let invalid = |BrokenRule { pointer, rule }| Problem::body_field(&pointer, rule);
    Patch::parse(parse_json(body)?).map_err(invalid)
}

/// Collects a body within the size limit of documents.
async fn collect_document(documents: &JsonService, mut request: HttpRequest) -> Result<Bytes, Problem> {
    request.extensions_mut().insert(BodyLimit(documents.size_limit.0));
    collect(request).await
}

/// The items of each list of a batch. The API document states this limit.
const MAX_ITEMS: usize = 100;

/// Read, delete and store many documents in one call.
///
/// Reads answer the documents as they were before the batch; then the deletions run, then the writes. Changes of one
/// document run in their order. A batch is not a transaction: every item has its own result, and neither an invalid item nor
/// one that the credential does not permit stops the others; `Items-Failed` counts those that changed nothing. A batch whose items
/// have all failed has the status of its first one, and reads that find nothing do not fail by themselves. Reads need the scope `json:read`, deletions and writes the scope `json:write`. A `Fencing-Token` is checked for
/// every document that is stored or deleted.
///
/// The paths of all items together visit at most a million values, and all reads together return at most
/// 8 * `json.document_limit` bytes. The items beyond have the status 422.
#[utoipa::path(post, path = "/json/batch", tag = "json", operation_id = "run_json_batch",
    request_body = BatchRequest,
    responses((status = 200, description = "One result per item", body = BatchReply,
        headers(("Items-Failed" = u64, description = "How many deletions and writes failed; absent if none did")))))]
pub(in super::super) async fn run_json_batch(
    State(documents): State<Arc<JsonService>>,
    Extension(caller): Extension<Arc<Principal>>,
    NoQuery: NoQuery,
    GrantToken(token): GrantToken,
    can_decrypt: CanDecrypt,
    DocumentBody(batch, _permit): DocumentBody<BatchRequest>,
) -> Result<Response, Problem> {
    let batch = separate_batch(&documents, &caller, batch)?;
    let SeparatedBatch { get, set, delete } = &batch;
    let changed = set.valid.iter().map(|item| &item.key).chain(delete.valid.iter().map(|item| &item.key));
    let mut keys = get.valid.iter().map(|item| &item.key).chain(changed);
    let only_reads = set.valid.is_empty() && delete.valid.is_empty();
    let has_secrets = keys.any(|key| documents.encryption.encrypts(key));
    let reply = documents.run_batch(batch, token, can_decrypt).await?;
    let (stored, deleted) = (reply.set.iter().map(|item| &item.error), reply.delete.iter().map(|item| &item.error));
    reject_ahead(stored.chain(deleted).map(Option::as_ref))?;
    let has_read = reply.get.iter().any(|item| item.error.is_none());
    let stored = errors_of("set", reply.set.iter().map(|item| &item.error));
    let failed =
        check_results(has_read, stored.chain(errors_of("delete", reply.delete.iter().map(|item| &item.error))))?;
    let mut response = (failed, Json(reply)).into_response();
    if has_secrets || only_reads {
        response.extensions_mut().insert(Unrecorded);
    }
    Ok(response)
}

/// Separates the items of a batch that can run.
///
/// # Errors
/// `invalid-body` if a list is too long, or if no item can run.
fn separate_batch(documents: &JsonService, caller: &Principal, batch: BatchRequest) -> Result<SeparatedBatch, Problem> {
    for (list, items) in [("/get", batch.get.len()), ("/set", batch.set.len()), ("/delete", batch.delete.len())] {
        if items > MAX_ITEMS {
            return Err(Problem::body_field(list, format!("must have at most {MAX_ITEMS} items, got {items}")));
        }
    }
    let check_paths = |item: &GetItem| match item.paths.len() {
        ..=MAX_PATHS => Ok(()),
        paths => Err(Problem::body_field("/paths", format!("must have at most {MAX_PATHS} paths, got {paths}"))),
    };
    let check_ttl =
        |item: &SetItem| documents.check_ttl(item.ttl_ms).map_err(|rule| Problem::body_field("/ttl_ms", rule));
    let may = |scope: &str, key: &DocumentKey| caller.require_key(scope, key.as_str());
    let batch = SeparatedBatch {
        get: separate(
            batch.get,
            |item| item.key.as_str(),
            |item| may(READ, &item.key).and_then(|()| check_paths(item)),
        ),
        set: separate(batch.set, |item| item.key.as_str(), |item| may(WRITE, &item.key).and_then(|()| check_ttl(item))),
        delete: separate(batch.delete, |item| item.key.as_str(), |item| may(WRITE, &item.key)),
    };
    batch.require_valid()
}
