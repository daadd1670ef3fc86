//! Changes of single values: arrays, numbers, strings, booleans.

use axum::extract::State;
use axum::response::Response;

use super::super::change::Change;
use super::super::model::{
    AppendRequest, AppendTextRequest, CalculateRequest, Cleared, DocumentKey, InsertRequest, LengthsReply,
    NumbersReply, PathRequest, PopReply, PopRequest, ToggleReply, TrimRequest,
};
use super::super::service::JsonService;
use super::openapi_responses::BodyFailures;
use super::terms::Terms;
use super::{ConditionHeaders, KeyParam, KeyPath, changed};
use crate::http::extract::{Json, NoQuery};
use crate::http::problem::Problem;

/// Append values to arrays.
#[utoipa::path(post, path = "/json/{key}/array/append", tag = "json", operation_id = "append_items",
    params(KeyParam, ConditionHeaders),
    request_body = AppendRequest,
    responses((status = 200, description = "The new length of each array; null for values that are none", body = LengthsReply,
               headers(("ETag" = String, description = "Of the document; never comes again once it has changed"))),
              BodyFailures))]
pub(in super::super) async fn append_items(
    State(documents): State<JsonService>,
    KeyPath(key): KeyPath,
    NoQuery: NoQuery,
    terms: Terms,
    Json(body): Json<AppendRequest>,
) -> Result<Response, Problem> {
    let path = documents.body_path("/path", body.path.as_deref())?;
    documents.answer_change(&key, Change::Append { path, values: body.values }, terms).await
}

/// Insert values before an item of arrays.
///
/// No array is changed when one of them is too short for the index.
#[utoipa::path(post, path = "/json/{key}/array/insert", tag = "json", operation_id = "insert_items",
    params(KeyParam, ConditionHeaders),
    request_body = InsertRequest,
    responses((status = 200, description = "The new length of each array; null for values that are none", body = LengthsReply,
               headers(("ETag" = String, description = "Of the document; never comes again once it has changed"))),
              BodyFailures))]
pub(in super::super) async fn insert_items(
    State(documents): State<JsonService>,
    KeyPath(key): KeyPath,
    NoQuery: NoQuery,
    terms: Terms,
    Json(body): Json<InsertRequest>,
) -> Result<Response, Problem> {
    let path = documents.body_path("/path", body.path.as_deref())?;
    documents.answer_change(&key, Change::Insert { path, index: body.index, values: body.values }, terms).await
}

/// Take one item out of arrays.
#[utoipa::path(post, path = "/json/{key}/array/pop", tag = "json", operation_id = "pop_items",
    params(KeyParam, ConditionHeaders),
    request_body = PopRequest,
    responses((status = 200, description = "The item taken from each array; null for empty ones and for values that are none", body = PopReply,
               headers(("ETag" = String, description = "Of the document; never comes again once it has changed"))),
              BodyFailures))]
pub(in super::super) async fn pop_items(
    State(documents): State<JsonService>,
    KeyPath(key): KeyPath,
    NoQuery: NoQuery,
    terms: Terms,
    Json(body): Json<PopRequest>,
) -> Result<Response, Problem> {
    let path = documents.body_path("/path", body.path.as_deref())?;
    documents.answer_change(&key, Change::Pop { path, index: body.index }, terms).await
}

/// Keep only a range of items of arrays.
#[utoipa::path(post, path = "/json/{key}/array/trim", tag = "json", operation_id = "trim_arrays",
    params(KeyParam, ConditionHeaders),
    request_body = TrimRequest,
    responses((status = 200, description = "The new length of each array; null for values that are none", body = LengthsReply,
               headers(("ETag" = String, description = "Of the document; never comes again once it has changed"))),
              BodyFailures))]
pub(in super::super) async fn trim_arrays(
    State(documents): State<JsonService>,
    KeyPath(key): KeyPath,
    NoQuery: NoQuery,
    terms: Terms,
    Json(body): Json<TrimRequest>,
) -> Result<Response, Problem> {
    let path = documents.body_path("/path", body.path.as_deref())?;
    documents.answer_change(&key, Change::Trim { path, start: body.start, stop: body.stop }, terms).await
}

/// Add to numbers.
///
/// Two integers of 64 bits make an integer; everything else is a float of 64 bits. No value is changed when one result has
/// no room.
#[utoipa::path(post, path = "/json/{key}/number/increment", tag = "json", operation_id = "increment_numbers",
    params(KeyParam, ConditionHeaders),
    request_body = CalculateRequest,
    responses((status = 200, description = "Each new number; null for values that are none", body = NumbersReply,
               headers(("ETag" = String, description = "Of the document; never comes again once it has changed"))),
              BodyFailures))]
pub(in super::super) async fn increment_numbers(
    State(documents): State<JsonService>,
    KeyPath(key): KeyPath,
    NoQuery: NoQuery,
    terms: Terms,
    Json(body): Json<CalculateRequest>,
) -> Result<Response, Problem> {
    let path = documents.body_path("/path", body.path.as_deref())?;
    documents.answer_change(&key, Change::Increment { path, by: body.by }, terms).await
}

/// Multiply numbers.
///
/// Two integers of 64 bits make an integer; everything else is a float of 64 bits. No value is changed when one result has
/// no room.
#[utoipa::path(post, path = "/json/{key}/number/multiply", tag = "json", operation_id = "multiply_numbers",
    params(KeyParam, ConditionHeaders),
    request_body = CalculateRequest,
    responses((status = 200, description = "Each new number; null for values that are none", body = NumbersReply,
               headers(("ETag" = String, description = "Of the document; never comes again once it has changed"))),
              BodyFailures))]
pub(in super::super) async fn multiply_numbers(
    State(documents): State<JsonService>,
    KeyPath(key): KeyPath,
    NoQuery: NoQuery,
    terms: Terms,
    Json(body): Json<CalculateRequest>,
) -> Result<Response, Problem> {
    let path = documents.body_path("/path", body.path.as_deref())?;
    documents.answer_change(&key, Change::Multiply { path, by: body.by }, terms).await
}

/// Append text to strings.
#[utoipa::path(post, path = "/json/{key}/string/append", tag = "json", operation_id = "append_text",
    params(KeyParam, ConditionHeaders),
    request_body = AppendTextRequest,
    responses((status = 200, description = "The new length of each string in bytes of UTF-8; null for values that are none", body = LengthsReply,
               headers(("ETag" = String, description = "Of the document; never comes again once it has changed"))),
              BodyFailures))]
pub(in super::super) async fn append_text(
    State(documents): State<JsonService>,
    KeyPath(key): KeyPath,
    NoQuery: NoQuery,
    terms: Terms,
    Json(body): Json<AppendTextRequest>,
) -> Result<Response, Problem> {
    let path = documents.body_path("/path", body.path.as_deref())?;
    documents.answer_change(&key, Change::AppendText { path, text: body.value.into() }, terms).await
}

/// Turn booleans over.
#[utoipa::path(post, path = "/json/{key}/toggle", tag = "json", operation_id = "toggle_values",
    params(KeyParam, ConditionHeaders),
    request_body = PathRequest,
    responses((status = 200, description = "Each new value; null for values that are no booleans", body = ToggleReply,
               headers(("ETag" = String, description = "Of the document; never comes again once it has changed"))),
              BodyFailures))]
pub(in super::super) async fn toggle_values(
    State(documents): State<JsonService>,
    KeyPath(key): KeyPath,
    NoQuery: NoQuery,
    terms: Terms,
    Json(body): Json<PathRequest>,
) -> Result<Response, Problem> {
    let path = documents.body_path("/path", body.path.as_deref())?;
    documents.answer_change(&key, Change::Toggle { path }, terms).await
}

/// Empty arrays and objects and set numbers to 0.
#[utoipa::path(post, path = "/json/{key}/clear", tag = "json", operation_id = "clear_values",
    params(KeyParam, ConditionHeaders),
    request_body = PathRequest,
    responses((status = 200, description = "How many values were something else before", body = Cleared,
               headers(("ETag" = String, description = "Of the document; never comes again once it has changed"))),
              BodyFailures))]
pub(in super::super) async fn clear_values(
    State(documents): State<JsonService>,
    KeyPath(key): KeyPath,
    NoQuery: NoQuery,
    terms: Terms,
    Json(body): Json<PathRequest>,
) -> Result<Response, Problem> {
    let path = documents.body_path("/path", body.path.as_deref())?;
    documents.answer_change(&key, Change::Clear { path }, terms).await
}

impl JsonService {
    async fn answer_change(&self, key: &DocumentKey, change: Change, terms: Terms) -> Result<Response, Problem> {
        let done = self.update(key, &terms.of(change)).await?;
        Ok(self.discreet(key, changed(&done, "cleared")))
    }
}
