//! A user's activity log.

use axum::extract::{FromRequestParts, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::IntoParams;

use super::super::change::{Answer, Change, LogPage, empty_log, log_page};
use super::super::document::{Node, Number};
use super::super::error::JsonError;
use super::super::keys::Collection;
use super::super::model::{ActivityPage, DocumentKey, Recorded};
use super::super::path::Path;
use super::super::service::JsonService;
use super::super::update::Request;
use super::openapi_responses::{BodyFailures, ChangeFailures, LookFailures};
use super::terms::{InClear, Terms};
use super::{ConditionHeaders, UserParam, body, describe};
use crate::http::extract::{self, Json, NoQuery, Query};
use crate::http::problem::Problem;

const DEFAULT_LIMIT: usize = 100;
const MAX_LIMIT: usize = 1_000;

/// The `{id}` of a user, as the key of their activity log.
pub(in super::super) struct ActivityPath(DocumentKey);

impl<S: Send + Sync> FromRequestParts<S> for ActivityPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let extract::Path(id) = extract::Path::<String>::from_request_parts(parts, state).await?;
        Collection::Activity.key(&id).map(Self).map_err(|rule| Problem::path_segment("id", rule))
    }
}

/// Which entries are listed.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in super::super) struct ActivityParams {
    /// `next_cursor` of the page before.
    #[param(value_type = String, required = false, pattern = "^(0|[1-9][0-9]{0,18})$")]
    cursor: Option<u64>,
    /// The most entries of a page.
    #[param(value_type = u64, required = false, minimum = 1, maximum = 1_000, default = 100)]
    limit: Option<usize>,
}

/// List what a user did, newest first.
#[utoipa::path(get, path = "/users/{id}/activity", tag = "json", operation_id = "list_activity",
    params(UserParam, ActivityParams),
    responses((status = 200, description = "A page of entries; without any, an empty one", body = ActivityPage),
              LookFailures))]
pub(in super::super) async fn list_activity(
    State(documents): State<JsonService>,
    ActivityPath(key): ActivityPath,
    Query(params): Query<ActivityParams>,
    InClear(in_clear): InClear,
) -> Result<Response, Problem> {
    let limit = params.limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(Problem::query_parameter("limit", format!("is {limit}; 1 to {MAX_LIMIT} are allowed")));
    }
    let (document, source) = match documents.document(&key, in_clear).await? {
        Some((document, source)) => (document, Some(source)),
        None => (empty_log(), None),
    };
    let LogPage { entries, next } = log_page(&document, params.cursor, limit).map_err(JsonError::from)?;
    let next = next.map_or(Node::Null, |number| Node::String(number.to_string().into()));
    let items = Node::Array(entries.into_iter().cloned().collect());
    let mut response = body(&Node::Object(vec![("items".into(), items), ("next_cursor".into(), next)]));
    if let Some(source) = source {
        describe(source.etag(), source.ttl, response.headers_mut());
    }
    Ok(response)
}

/// Record what a user did.
///
/// An entry without a `timestamp` gets the service's. Beyond `json.activity_limit` entries the oldest ones are dropped.
#[utoipa::path(post, path = "/users/{id}/activity", tag = "json", operation_id = "record_activity",
    params(UserParam, ConditionHeaders),
    request_body(content = std::collections::BTreeMap<String, serde_json::Value>, description = "A JSON object", example = json!({"action": "login", "from": "web"})),
    responses((status = 201, description = "Recorded", body = Recorded),
              BodyFailures))]
pub(in super::super) async fn record_activity(
    State(documents): State<JsonService>,
    ActivityPath(key): ActivityPath,
    NoQuery: NoQuery,
    terms: Terms,
    Json(entry): Json<Node>,
) -> Result<Response, Problem> {
    let Node::Object(mut members) = entry else {
        return Err(Problem::body_field("", format!("is {}, not an object", entry.type_name())));
    };
    if !members.iter().any(|(name, _)| name == "timestamp") {
        let now = Number::integer(documents.clock.now().into());
        members.push(("timestamp".into(), Node::Number(now)));
    }
    let change = Change::Record { entry: Node::Object(members), limit: documents.config.activity_limit };
    let request = Request { start: Some(empty_log()), ..terms.of(change) };
    let done = documents.update(&key, &request).await?;
    let Answer::Count(entries) = done.answer else { return Ok(StatusCode::CREATED.into_response()) };
    let mut response = body(&Node::Object(vec![("entries".into(), Node::count(entries))]));
    *response.status_mut() = StatusCode::CREATED;
    if let Some(etag) = done.etag {
        describe(etag, done.ttl, response.headers_mut());
    }
    Ok(documents.discreet(&key, response))
}

/// Delete a user's activity log.
#[utoipa::path(delete, path = "/users/{id}/activity", tag = "json", operation_id = "delete_activity",
    params(UserParam, ConditionHeaders),
    responses((status = 200, description = "Whether there was one: 1 or 0", body = super::super::model::Deleted),
              ChangeFailures))]
pub(in super::super) async fn delete_activity(
    State(documents): State<JsonService>,
    ActivityPath(key): ActivityPath,
    NoQuery: NoQuery,
    terms: Terms,
) -> Result<Response, Problem> {
    documents.answer_delete(&key, Path::root(), terms).await
}
