//! A user's preferences: a document, and each of its members by name.

use axum::extract::{FromRequestParts, Request as HttpRequest, State};
use axum::http::request::Parts;
use axum::response::Response;
use utoipa::IntoParams;

use super::super::change::Change;
use super::super::document::{Members, Node};
use super::super::keys::{Collection, ID_LIMIT};
use super::super::model::DocumentKey;
use super::super::path::Path;
use super::super::scripts::Life;
use super::super::service::JsonService;
use super::super::update::Request;
use super::openapi_responses::{BodyFailures, ChangeFailures, LookFailures};
use super::terms::{InClear, Terms};
use super::{ConditionHeaders, PathParam, Paths, PathsParam, changed};
use crate::http::conditional::Preconditions;
use crate::http::extract::{self, NoQuery, Query};
use crate::http::problem::Problem;

/// Described here, read by [`PreferencesPath`] and [`PreferencePath`].
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "described here, read by its extractor")]
pub(in super::super) struct UserParam {
    /// The user.
    #[param(min_length = 1, max_length = 256, pattern = r"^[^\x00-\x1F\x7F-\x9F]+$", example = "7f0c1d2e")]
    id: String,
}

/// The `{id}` of a user, as the key of their preferences.
pub(in super::super) struct PreferencesPath(DocumentKey);

impl<S: Send + Sync> FromRequestParts<S> for PreferencesPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let extract::Path(id) = extract::Path::<String>::from_request_parts(parts, state).await?;
        Collection::Preferences.key(&id).map(Self).map_err(|rule| Problem::path_segment("id", rule))
    }
}

/// The same with the `{name}` of one preference.
pub(in super::super) struct PreferencePath {
    key: DocumentKey,
    name: String,
}

impl<S: Send + Sync> FromRequestParts<S> for PreferencePath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let extract::Path((id, name)) = extract::Path::<(String, String)>::from_request_parts(parts, state).await?;
        let key = Collection::Preferences.key(&id).map_err(|rule| Problem::path_segment("id", rule))?;
        if name.len() > ID_LIMIT || name.chars().any(char::is_control) {
            let rule = format!("needs 1 to {ID_LIMIT} bytes without control characters");
            return Err(Problem::path_segment("name", rule));
        }
        Ok(Self { key, name })
    }
}

/// Described here, read by [`PreferencePath`].
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "described here, read by PreferencePath")]
pub(in super::super) struct PreferenceParam {
    /// The preference's name.
    #[param(min_length = 1, max_length = 256, pattern = r"^[^\x00-\x1F\x7F-\x9F]+$", example = "language")]
    name: String,
}

/// Read a user's preferences, or what paths select of them.
#[utoipa::path(get, path = "/users/{id}/preferences", tag = "json", operation_id = "get_preferences",
    params(UserParam, PathsParam, ConditionHeaders),
    responses((status = 200, description = "The preferences, or what was selected", body = serde_json::Value),
              (status = 304, description = "The caller has this version"),
              LookFailures))]
pub(in super::super) async fn get_preferences(
    State(documents): State<JsonService>,
    PreferencesPath(key): PreferencesPath,
    Paths(paths): Paths,
    clear: InClear,
    conditions: Preconditions,
) -> Result<Response, Problem> {
    documents.answer_get(&key, &paths, clear, &conditions).await
}

/// Store a user's preferences.
#[utoipa::path(put, path = "/users/{id}/preferences", tag = "json", operation_id = "put_preferences",
    params(UserParam, ConditionHeaders),
    request_body(content = std::collections::BTreeMap<String, serde_json::Value>, description = "A JSON object", example = json!({"language": "th", "theme": "dark"})),
    responses((status = 201, description = "Stored; there were none"),
              (status = 204, description = "Stored; the former ones are replaced"),
              BodyFailures))]
pub(in super::super) async fn put_preferences(
    State(documents): State<JsonService>,
    PreferencesPath(key): PreferencesPath,
    NoQuery: NoQuery,
    terms: Terms,
    request: HttpRequest,
) -> Result<Response, Problem> {
    documents.answer_put(&key, Path::root(), Life::Keep, terms, request).await
}

/// Change a user's preferences by a merge patch or a JSON Patch.
#[utoipa::path(patch, path = "/users/{id}/preferences", tag = "json", operation_id = "patch_preferences",
    params(UserParam, ConditionHeaders),
    request_body(content((serde_json::Value = "application/merge-patch+json", example = json!({"theme": "light", "font": null})),
                         (Vec<super::super::model::PatchOperation> = "application/json-patch+json", example = json!([])))),
    responses((status = 201, description = "Stored; there were none"),
              (status = 204, description = "Changed"),
              BodyFailures))]
pub(in super::super) async fn patch_preferences(
    State(documents): State<JsonService>,
    PreferencesPath(key): PreferencesPath,
    NoQuery: NoQuery,
    terms: Terms,
    request: HttpRequest,
) -> Result<Response, Problem> {
    documents.answer_patch(&key, None, terms, request).await
}

/// Delete a user's preferences, or what a path selects of them.
#[utoipa::path(delete, path = "/users/{id}/preferences", tag = "json", operation_id = "delete_preferences",
    params(UserParam, PathParam, ConditionHeaders),
    responses((status = 200, description = "How many values were deleted", body = super::super::model::Deleted),
              ChangeFailures))]
pub(in super::super) async fn delete_preferences(
    State(documents): State<JsonService>,
    PreferencesPath(key): PreferencesPath,
    Query(params): Query<PathParam>,
    terms: Terms,
) -> Result<Response, Problem> {
    let path = documents.query_path(params.path.as_deref())?;
    documents.answer_delete(&key, path, terms).await
}

/// Read one preference.
#[utoipa::path(get, path = "/users/{id}/preferences/{name}", tag = "json", operation_id = "get_preference",
    params(UserParam, PreferenceParam, ConditionHeaders),
    responses((status = 200, description = "Its value", body = serde_json::Value),
              (status = 304, description = "The caller has this version of the preferences"),
              LookFailures))]
pub(in super::super) async fn get_preference(
    State(documents): State<JsonService>,
    PreferencePath { key, name }: PreferencePath,
    NoQuery: NoQuery,
    clear: InClear,
    conditions: Preconditions,
) -> Result<Response, Problem> {
    documents.answer_selected(&key, &[Path::of_member(&name)], clear, &conditions).await
}

/// Store one preference; the first one makes the user's preferences.
#[utoipa::path(put, path = "/users/{id}/preferences/{name}", tag = "json", operation_id = "put_preference",
    params(UserParam, PreferenceParam, ConditionHeaders),
    request_body(content = serde_json::Value, description = "Any JSON value", example = json!("th")),
    responses((status = 201, description = "Stored; there was none of this name"),
              (status = 204, description = "Stored; the former value is replaced"),
              BodyFailures))]
pub(in super::super) async fn put_preference(
    State(documents): State<JsonService>,
    PreferencePath { key, name }: PreferencePath,
    NoQuery: NoQuery,
    mut terms: Terms,
    request: HttpRequest,
) -> Result<Response, Problem> {
    let value = documents.json_body(request).await?;
    let change = Change::Set { path: Path::of_member(&name), value, only: terms.only() };
    let start = Some(Node::Object(Members::new()));
    let done = documents.update(&key, &Request { start, ..terms.of(change) }).await?;
    Ok(changed(&done, ""))
}

/// Delete one preference.
#[utoipa::path(delete, path = "/users/{id}/preferences/{name}", tag = "json", operation_id = "delete_preference",
    params(UserParam, PreferenceParam, ConditionHeaders),
    responses((status = 200, description = "Whether there was one: 1 or 0", body = super::super::model::Deleted),
              ChangeFailures))]
pub(in super::super) async fn delete_preference(
    State(documents): State<JsonService>,
    PreferencePath { key, name }: PreferencePath,
    NoQuery: NoQuery,
    terms: Terms,
) -> Result<Response, Problem> {
    documents.answer_delete(&key, Path::of_member(&name), terms).await
}
