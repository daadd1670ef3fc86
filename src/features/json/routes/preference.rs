//! One preference of a user: a member of the user's preferences, by its name.

use std::sync::Arc;

use axum::extract::{Request as HttpRequest, State};
use axum::response::Response;
use serde::Deserialize;
use utoipa::IntoParams;

use super::super::document::{Members, Node};
use super::super::keys::PREFERENCES;
use super::super::model::{DeletedReply, DocumentKey, Identifier};
use super::super::path::Path as JsonPath;
use super::super::service::JsonService;
use super::super::update::WriteOptions;
use super::ConditionHeaders;
use super::document::{delete, put, read};
use super::write_options::CanDecrypt;
use crate::http::conditional::Preconditions;
use crate::http::extract::{NoQuery, Path};
use crate::http::problem::Problem;

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
#[utoipa::path(get, path = "/users/{id}/preferences/{name}", tag = "json", operation_id = "get_preference",
    params(PreferencePath, ConditionHeaders),
    responses((status = 200, description = "The value of the preference", body = serde_json::Value),
              (status = 304, description = "The caller has this version of the preferences")))]
pub(in super::super) async fn get_preference(
    State(documents): State<Arc<JsonService>>,
    Path(preference): Path<PreferencePath>,
    NoQuery: NoQuery,
    CanDecrypt(can_decrypt): CanDecrypt,
    conditions: Preconditions,
) -> Result<Response, Problem> {
    read(&documents, &preference.key(), &[preference.path()], can_decrypt, &conditions).await
}

/// Store one preference of a user.
#[utoipa::path(put, path = "/users/{id}/preferences/{name}", tag = "json", operation_id = "put_preference",
    params(PreferencePath, ConditionHeaders),
    request_body(content = serde_json::Value, description = "Any JSON value", example = json!("th")),
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
#[utoipa::path(delete, path = "/users/{id}/preferences/{name}", tag = "json", operation_id = "delete_preference",
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
