//! Lists, records and deletes a user's activity.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use utoipa::IntoParams;

use super::super::document::Node;
use super::super::keys::ACTIVITY;
use super::super::model::{ActivityPage, DeletedReply, DocumentKey, RecordedReply};
use super::super::path::Path as JsonPath;
use super::super::service::JsonService;
use super::super::update::WriteOptions;
use super::document::delete;
use super::write_options::CanDecrypt;
use super::{ConditionHeaders, UserPath, body, set_document_headers, updated, without_record};
use crate::http::extract::{Json, NoQuery, Path, Query};
use crate::http::problem::Problem;

const DEFAULT_LIMIT: usize = 100;
const MAX_LIMIT: usize = 1_000;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in super::super) struct ActivityParams {
    /// `next_cursor` of the previous page.
    #[param(value_type = String, required = false, pattern = "^(0|[1-9][0-9]{0,18})$")]
    cursor: Option<u64>,
    /// The number of entries per page.
    #[param(value_type = u64, required = false, minimum = 1, maximum = 1_000, default = 100)]
    limit: Option<usize>,
}

/// List a user's activity, newest first.
#[utoipa::path(get, path = "/users/{id}/activity", tag = "json", operation_id = "list_activity",
    params(UserPath, ActivityParams),
    responses((status = 200, description = "A page of entries; empty if there are none", body = ActivityPage)))]
pub(in super::super) async fn list_activity(
    State(documents): State<Arc<JsonService>>,
    Path(UserPath { id }): Path<UserPath>,
    Query(ActivityParams { cursor, limit }): Query<ActivityParams>,
    CanDecrypt(can_decrypt): CanDecrypt,
) -> Result<Response, Problem> {
    let limit = limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(Problem::query_parameter("limit", format!("must be between 1 and {MAX_LIMIT}, got {limit}")));
    }
    let (page, source) =
        documents.list_activity(&DocumentKey::in_collection(ACTIVITY, &id), cursor, limit, can_decrypt).await?;
    let mut response = body(&page);
    if let Some(source) = source {
        set_document_headers(source.etag(), source.ttl, response.headers_mut());
    }
    Ok(response)
}

/// Record an activity of a user.
///
/// The service adds a `timestamp` to an entry without one. Beyond `json.activity_limit` entries, the oldest are
/// dropped.
#[utoipa::path(post, path = "/users/{id}/activity", tag = "json", operation_id = "record_activity",
    params(UserPath, ConditionHeaders),
    request_body(content = std::collections::BTreeMap<String, serde_json::Value>, description = "A JSON object", example = json!({"action": "login", "from": "web"})),
    responses((status = 201, description = "Recorded", body = RecordedReply)))]
pub(in super::super) async fn record_activity(
    State(documents): State<Arc<JsonService>>,
    Path(UserPath { id }): Path<UserPath>,
    NoQuery: NoQuery,
    options: WriteOptions,
    Json(entry): Json<Node>,
) -> Result<Response, Problem> {
    let key = DocumentKey::in_collection(ACTIVITY, &id);
    let Node::Object(members) = entry else {
        return Err(Problem::body_field("", format!("must be an object, got {}", entry.type_name())));
    };
    let result = documents.record_activity(&key, members, options).await?;
    let mut response = updated(&result, "entries");
    *response.status_mut() = StatusCode::CREATED;
    Ok(without_record(&documents, &key, response))
}

/// Delete a user's activity log.
#[utoipa::path(delete, path = "/users/{id}/activity", tag = "json", operation_id = "delete_activity",
    params(UserPath, ConditionHeaders),
    responses((status = 200, description = "1 if the log existed, otherwise 0", body = DeletedReply)))]
pub(in super::super) async fn delete_activity(
    State(documents): State<Arc<JsonService>>,
    Path(UserPath { id }): Path<UserPath>,
    NoQuery: NoQuery,
    options: WriteOptions,
) -> Result<Response, Problem> {
    delete(&documents, &DocumentKey::in_collection(ACTIVITY, &id), JsonPath::default(), options).await
}
