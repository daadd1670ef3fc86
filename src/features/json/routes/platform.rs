//! The platform's own documents under their own paths: configurations, forms, users' preferences and activity.

use std::sync::Arc;

use axum::extract::{Request as HttpRequest, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::super::change::PatchOperation;
use super::super::document::{Members, Node};
use super::super::keys::{ACTIVITY, BLOCKCHAIN, FORMS, MARKET, PREFERENCES, TRADING};
use super::super::model::{ActivityPage, DeletedReply, DocumentKey, Identifier, JsonValue, RecordedReply};
use super::super::path::Path as JsonPath;
use super::super::service::JsonService;
use super::super::update::WriteOptions;
use super::document::{delete, patch, put, read};
use super::{
    CanDecrypt, ConditionHeaders, DocumentBody, PathParam, Paths, body, set_document_headers, updated, without_record,
};
use crate::http::conditional::Preconditions;
use crate::http::counts::require_count;
use crate::http::extract::{NoQuery, Path, Query};
use crate::http::problem::Problem;

/// A kind of configuration.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = ConfigurationKind)]
#[schema(title = "ConfigurationKind")]
pub(in super::super) enum Kind {
    Trading,
    Market,
    Blockchain,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(in super::super) struct ConfigurationPath {
    /// The kind of configuration.
    #[param(inline, example = "market")]
    kind: Kind,
    /// The configuration's id, or the blockchain's network.
    #[param(value_type = String, min_length = 1, max_length = 256, pattern = r"^[^\x00-\x1F\x7F-\x9F]+$", example = "grid")]
    id: Identifier,
}

impl ConfigurationPath {
    fn key(&self) -> DocumentKey {
        let collection = match self.kind {
            Kind::Trading => TRADING,
            Kind::Market => MARKET,
            Kind::Blockchain => BLOCKCHAIN,
        };
        DocumentKey::in_collection(collection, &self.id)
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(in super::super) struct FormPath {
    /// The form's id.
    #[param(value_type = String, min_length = 1, max_length = 256, pattern = r"^[^\x00-\x1F\x7F-\x9F]+$", example = "meter-registration-7")]
    id: Identifier,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(in super::super) struct UserPath {
    /// The user.
    #[param(value_type = String, min_length = 1, max_length = 256, pattern = r"^[^\x00-\x1F\x7F-\x9F]+$", example = "7f0c1d2e")]
    id: Identifier,
}

/// Defines the four operations on one kind of document. `$query` is the query of PUT and PATCH, with or without a path.
macro_rules! platform_document {
    ($noun:literal, $tag:literal, $route:literal, |$params:ident: $path:ident| $key:expr,
     |$query:pat_param, $query_type:ty| $target:expr, ($($documented:ident)?),
     body: ($($body:tt)+), $body_text:literal, example: $example:tt, merge_patch: $merge_patch:tt, json_patch: $json_patch:tt, $get:ident, $put:ident, $patch:ident, $delete:ident) => {
        #[utoipa::path(get, path = $route, tag = $tag,
            summary = concat!("Read ", $noun, ", or the values that paths select."),
            params($path, Paths, ConditionHeaders),
            responses((status = 200, description = "The document, or the selected values", body = JsonValue),
                      (status = 304, description = "The caller has this version")))]
        pub(in super::super) async fn $get(
            State(documents): State<Arc<JsonService>>,
            Path($params): Path<$path>,
            paths: Paths,
            can_decrypt: CanDecrypt,
            conditions: Preconditions,
        ) -> Result<Response, Problem> {
            read(&documents, &$key, paths.path, &can_decrypt, &conditions).await
        }

        #[utoipa::path(put, path = $route, tag = $tag,
            summary = concat!("Store ", $noun, "."),
            params($path, $($documented,)? ConditionHeaders),
            request_body(content = $($body)+, description = $body_text, example = json!($example)),
            responses((status = 201, description = "Created"), (status = 204, description = "Replaced")))]
        pub(in super::super) async fn $put(
            State(documents): State<Arc<JsonService>>,
            Path($params): Path<$path>,
            $query: $query_type,
            options: WriteOptions,
            request: HttpRequest,
        ) -> Result<Response, Problem> {
            put(&documents, &$key, $target.unwrap_or_default(), None, None, options, request).await
        }

        #[utoipa::path(patch, path = $route, tag = $tag,
            summary = concat!("Change ", $noun, " by a merge patch or a JSON Patch."),
            params($path, $($documented,)? ConditionHeaders),
            request_body(content((JsonValue = "application/merge-patch+json", example = json!($merge_patch)),
                                 (Vec<PatchOperation> = "application/json-patch+json", example = json!($json_patch)))),
            responses((status = 201, description = "Created"), (status = 204, description = "Changed")))]
        pub(in super::super) async fn $patch(
            State(documents): State<Arc<JsonService>>,
            Path($params): Path<$path>,
            $query: $query_type,
            options: WriteOptions,
            request: HttpRequest,
        ) -> Result<Response, Problem> {
            patch(&documents, &$key, $target, options, request).await
        }

        #[utoipa::path(delete, path = $route, tag = $tag,
            summary = concat!("Delete ", $noun, ", or the values that a path selects."),
            params($path, PathParam, ConditionHeaders),
            responses((status = 200, description = "The number of deleted values", body = DeletedReply)))]
        pub(in super::super) async fn $delete(
            State(documents): State<Arc<JsonService>>,
            Path($params): Path<$path>,
            Query(PathParam { path }): Query<PathParam>,
            options: WriteOptions,
        ) -> Result<Response, Problem> {
            delete(&documents, &$key, path.unwrap_or_default(), options).await
        }
    };
}

platform_document! {
    "a configuration", "config", "/config/{kind}/{id}",
    |of: ConfigurationPath| of.key(), |Query(target), Query<PathParam>| target.path, (PathParam),
    body: (JsonValue), "A JSON object with the members that the collection requires; at a path, any JSON value",
    example: {"symbol": "GRID", "base_currency": "THBC", "fee": "0.0025"},
    merge_patch: {"fee": "0.0030"},
    json_patch: [{"op": "replace", "path": "/fee", "value": "0.0030"}],
    get_configuration, put_configuration, patch_configuration, delete_configuration
}

platform_document! {
    "the data of a form", "forms", "/forms/{id}",
    |of: FormPath| DocumentKey::in_collection(FORMS, &of.id),
    |Query(target), Query<PathParam>| target.path, (PathParam),
    body: (JsonValue), "A JSON object with the members that the collection requires; at a path, any JSON value",
    example: {"meter": "MTR-001", "answers": {"owner": "Ada"}},
    merge_patch: {"answers": {"owner": "Ada L."}},
    json_patch: [{"op": "add", "path": "/answers/zone", "value": 1}],
    get_form, put_form, patch_form, delete_form
}

platform_document! {
    "a user's preferences", "users", "/users/{id}/preferences",
    |of: UserPath| DocumentKey::in_collection(PREFERENCES, &of.id),
    |NoQuery, NoQuery| None, (),
    body: (std::collections::BTreeMap<String, serde_json::Value>), "A JSON object",
    example: {"language": "th", "theme": "dark"},
    merge_patch: {"theme": "light", "font": null},
    json_patch: [{"op": "replace", "path": "/theme", "value": "light"}],
    get_user_preferences, put_user_preferences, patch_user_preferences, delete_user_preferences
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(in super::super) struct PreferencePath {
    /// The user.
    #[param(value_type = String, min_length = 1, max_length = 256, pattern = r"^[^\x00-\x1F\x7F-\x9F]+$", example = "7f0c1d2e")]
    id: Identifier,
    /// The preference's name.
    #[param(value_type = String, min_length = 1, max_length = 256, pattern = r"^[^\x00-\x1F\x7F-\x9F]+$", example = "language")]
    name: Identifier,
}

impl PreferencePath {
    fn key(&self) -> DocumentKey {
        DocumentKey::in_collection(PREFERENCES, &self.id)
    }

    fn path(&self) -> JsonPath {
        JsonPath::of_member(self.name.as_str())
    }
}

/// Read one preference of a user.
#[utoipa::path(get, path = "/users/{id}/preferences/{name}", tag = "users", operation_id = "get_user_preference",
    params(PreferencePath, ConditionHeaders),
    responses((status = 200, description = "The value of the preference", body = JsonValue),
              (status = 304, description = "The caller has this version of the preferences")))]
pub(in super::super) async fn get_preference(
    State(documents): State<Arc<JsonService>>,
    Path(preference): Path<PreferencePath>,
    NoQuery: NoQuery,
    can_decrypt: CanDecrypt,
    conditions: Preconditions,
) -> Result<Response, Problem> {
    read(&documents, &preference.key(), vec![preference.path()], &can_decrypt, &conditions).await
}

/// Store one preference of a user.
#[utoipa::path(put, path = "/users/{id}/preferences/{name}", tag = "users", operation_id = "put_user_preference",
    params(PreferencePath, ConditionHeaders),
    request_body(content = JsonValue, description = "Any JSON value", example = json!("th")),
    responses((status = 201, description = "Created"), (status = 204, description = "Replaced")))]
pub(in super::super) async fn put_preference(
    State(documents): State<Arc<JsonService>>,
    Path(preference): Path<PreferencePath>,
    NoQuery: NoQuery,
    options: WriteOptions,
    request: HttpRequest,
) -> Result<Response, Problem> {
    let empty = Node::Object(Members::new());
    put(&documents, &preference.key(), preference.path(), Some(empty), None, options, request).await
}

/// Delete one preference of a user.
#[utoipa::path(delete, path = "/users/{id}/preferences/{name}", tag = "users", operation_id = "delete_user_preference",
    params(PreferencePath, ConditionHeaders),
    responses((status = 200, description = "1 if the preference existed, otherwise 0", body = DeletedReply)))]
pub(in super::super) async fn delete_preference(
    State(documents): State<Arc<JsonService>>,
    Path(preference): Path<PreferencePath>,
    NoQuery: NoQuery,
    options: WriteOptions,
) -> Result<Response, Problem> {
    delete(&documents, &preference.key(), preference.path(), options).await
}

/// The entries of an activity log per page. The API document states these numbers.
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
#[utoipa::path(get, path = "/users/{id}/activity", tag = "users", operation_id = "list_user_activity",
    params(UserPath, ActivityParams),
    responses((status = 200, description = "A page of entries; empty if there are none", body = ActivityPage)))]
pub(in super::super) async fn list_activity(
    State(documents): State<Arc<JsonService>>,
    Path(UserPath { id }): Path<UserPath>,
    Query(ActivityParams { cursor, limit }): Query<ActivityParams>,
    can_decrypt: CanDecrypt,
) -> Result<Response, Problem> {
    let limit = require_count("limit", limit.unwrap_or(DEFAULT_LIMIT), MAX_LIMIT)?;
    let key = DocumentKey::in_collection(ACTIVITY, &id);
    let (page, source) = documents.list_activity(&key, cursor, limit, can_decrypt.of(&key)).await?;
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
#[utoipa::path(post, path = "/users/{id}/activity", tag = "users", operation_id = "record_user_activity",
    params(UserPath, ConditionHeaders),
    request_body(content = std::collections::BTreeMap<String, serde_json::Value>, description = "A JSON object", example = json!({"action": "login", "from": "web"})),
    responses((status = 201, description = "Recorded", body = RecordedReply)))]
pub(in super::super) async fn record_activity(
    State(documents): State<Arc<JsonService>>,
    Path(UserPath { id }): Path<UserPath>,
    NoQuery: NoQuery,
    options: WriteOptions,
    DocumentBody(entry, _permit): DocumentBody<Node>,
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
#[utoipa::path(delete, path = "/users/{id}/activity", tag = "users", operation_id = "delete_user_activity",
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
