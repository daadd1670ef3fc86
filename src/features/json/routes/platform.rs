//! The platform's configuration documents and forms.

use axum::extract::{FromRequestParts, Request as HttpRequest, State};
use axum::http::request::Parts;
use axum::response::Response;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::super::keys::Collection;
use super::super::model::DocumentKey;
use super::super::scripts::Life;
use super::super::service::JsonService;
use super::openapi_responses::{BodyFailures, ChangeFailures, LookFailures};
use super::terms::{InClear, Terms};
use super::{ConditionHeaders, PathParam, Paths, PathsParam};
use crate::http::conditional::Preconditions;
use crate::http::extract::{self, Query};
use crate::http::problem::Problem;

/// Which configuration.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = ConfigurationKind)]
pub(in super::super) enum Kind {
    Trading,
    Market,
    Blockchain,
}

impl From<Kind> for Collection {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Trading => Self::Trading,
            Kind::Market => Self::Market,
            Kind::Blockchain => Self::Blockchain,
        }
    }
}

/// The `{kind}` and `{id}` of a configuration, as its key.
pub(in super::super) struct ConfigurationPath(DocumentKey);

impl<S: Send + Sync> FromRequestParts<S> for ConfigurationPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let extract::Path((kind, id)) = extract::Path::<(Kind, String)>::from_request_parts(parts, state).await?;
        Collection::from(kind).key(&id).map(Self).map_err(|rule| Problem::path_segment("id", rule))
    }
}

/// The `{id}` of a form, as the key of its data.
pub(in super::super) struct FormPath(DocumentKey);

impl<S: Send + Sync> FromRequestParts<S> for FormPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let extract::Path(id) = extract::Path::<String>::from_request_parts(parts, state).await?;
        Collection::Forms.key(&id).map(Self).map_err(|rule| Problem::path_segment("id", rule))
    }
}

/// Described here, read by [`ConfigurationPath`].
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "described here, read by ConfigurationPath")]
pub(in super::super) struct ConfigurationParam {
    /// Which configuration.
    #[param(inline, example = "market")]
    kind: Kind,
    /// The configuration's id, or the blockchain's network.
    #[param(min_length = 1, max_length = 256, pattern = r"^[^\x00-\x1F\x7F-\x9F]+$", example = "grid")]
    id: String,
}

/// Described here, read by [`FormPath`].
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "described here, read by FormPath")]
pub(in super::super) struct FormParam {
    /// The form's id.
    #[param(min_length = 1, max_length = 256, pattern = r"^[^\x00-\x1F\x7F-\x9F]+$", example = "meter-registration-7")]
    id: String,
}

/// Read a configuration, or what paths select of it.
#[utoipa::path(get, path = "/config/{kind}/{id}", tag = "json", operation_id = "get_configuration",
    params(ConfigurationParam, PathsParam, ConditionHeaders),
    responses((status = 200, description = "The document, or what was selected", body = serde_json::Value),
              (status = 304, description = "The caller has this version"),
              LookFailures))]
pub(in super::super) async fn get_configuration(
    State(documents): State<JsonService>,
    ConfigurationPath(key): ConfigurationPath,
    Paths(paths): Paths,
    clear: InClear,
    conditions: Preconditions,
) -> Result<Response, Problem> {
    documents.answer_get(&key, &paths, clear, &conditions).await
}

/// Store a configuration, or a value at a path of it.
#[utoipa::path(put, path = "/config/{kind}/{id}", tag = "json", operation_id = "put_configuration",
    params(ConfigurationParam, PathParam, ConditionHeaders),
    request_body(content = serde_json::Value, description = "A JSON object with the members that the collection requires; at a path, any JSON value",
                 example = json!({"symbol": "GRID", "base_currency": "THBC", "fee": "0.0025"})),
    responses((status = 201, description = "Stored; nothing was there"),
              (status = 204, description = "Stored; what was there is replaced"),
              BodyFailures))]
pub(in super::super) async fn put_configuration(
    State(documents): State<JsonService>,
    ConfigurationPath(key): ConfigurationPath,
    Query(params): Query<PathParam>,
    terms: Terms,
    request: HttpRequest,
) -> Result<Response, Problem> {
    let path = documents.query_path(params.path.as_deref())?;
    documents.answer_put(&key, path, Life::Keep, terms, request).await
}

/// Change a configuration by a merge patch or a JSON Patch.
#[utoipa::path(patch, path = "/config/{kind}/{id}", tag = "json", operation_id = "patch_configuration",
    params(ConfigurationParam, PathParam, ConditionHeaders),
    request_body(content((serde_json::Value = "application/merge-patch+json", example = json!({"symbol": "GRID", "base_currency": "THBC"})),
                         (Vec<super::super::model::PatchOperation> = "application/json-patch+json", example = json!([])))),
    responses((status = 201, description = "Stored; nothing was there"),
              (status = 204, description = "Changed"),
              BodyFailures))]
pub(in super::super) async fn patch_configuration(
    State(documents): State<JsonService>,
    ConfigurationPath(key): ConfigurationPath,
    Query(params): Query<PathParam>,
    terms: Terms,
    request: HttpRequest,
) -> Result<Response, Problem> {
    documents.answer_patch(&key, params.path.as_deref(), terms, request).await
}

/// Delete a configuration, or what a path selects of it.
#[utoipa::path(delete, path = "/config/{kind}/{id}", tag = "json", operation_id = "delete_configuration",
    params(ConfigurationParam, PathParam, ConditionHeaders),
    responses((status = 200, description = "How many values were deleted", body = super::super::model::Deleted),
              ChangeFailures))]
pub(in super::super) async fn delete_configuration(
    State(documents): State<JsonService>,
    ConfigurationPath(key): ConfigurationPath,
    Query(params): Query<PathParam>,
    terms: Terms,
) -> Result<Response, Problem> {
    let path = documents.query_path(params.path.as_deref())?;
    documents.answer_delete(&key, path, terms).await
}

/// Read the data of a form, or what paths select of it.
#[utoipa::path(get, path = "/forms/{id}", tag = "json", operation_id = "get_form",
    params(FormParam, PathsParam, ConditionHeaders),
    responses((status = 200, description = "The document, or what was selected", body = serde_json::Value),
              (status = 304, description = "The caller has this version"),
              LookFailures))]
pub(in super::super) async fn get_form(
    State(documents): State<JsonService>,
    FormPath(key): FormPath,
    Paths(paths): Paths,
    clear: InClear,
    conditions: Preconditions,
) -> Result<Response, Problem> {
    documents.answer_get(&key, &paths, clear, &conditions).await
}

/// Store the data of a form, or a value at a path of it.
#[utoipa::path(put, path = "/forms/{id}", tag = "json", operation_id = "put_form",
    params(FormParam, PathParam, ConditionHeaders),
    request_body(content = serde_json::Value, description = "A JSON object with the members that the collection requires; at a path, any JSON value",
                 example = json!({"meter": "MTR-001", "answers": {"owner": "Ada"}})),
    responses((status = 201, description = "Stored; nothing was there"),
              (status = 204, description = "Stored; what was there is replaced"),
              BodyFailures))]
pub(in super::super) async fn put_form(
    State(documents): State<JsonService>,
    FormPath(key): FormPath,
    Query(params): Query<PathParam>,
    terms: Terms,
    request: HttpRequest,
) -> Result<Response, Problem> {
    let path = documents.query_path(params.path.as_deref())?;
    documents.answer_put(&key, path, Life::Keep, terms, request).await
}

/// Change the data of a form by a merge patch or a JSON Patch.
#[utoipa::path(patch, path = "/forms/{id}", tag = "json", operation_id = "patch_form",
    params(FormParam, PathParam, ConditionHeaders),
    request_body(content((serde_json::Value = "application/merge-patch+json", example = json!({"answers": {"owner": "Ada L."}})),
                         (Vec<super::super::model::PatchOperation> = "application/json-patch+json", example = json!([])))),
    responses((status = 201, description = "Stored; nothing was there"),
              (status = 204, description = "Changed"),
              BodyFailures))]
pub(in super::super) async fn patch_form(
    State(documents): State<JsonService>,
    FormPath(key): FormPath,
    Query(params): Query<PathParam>,
    terms: Terms,
    request: HttpRequest,
) -> Result<Response, Problem> {
    documents.answer_patch(&key, params.path.as_deref(), terms, request).await
}

/// Delete the data of a form, or what a path selects of it.
#[utoipa::path(delete, path = "/forms/{id}", tag = "json", operation_id = "delete_form",
    params(FormParam, PathParam, ConditionHeaders),
    responses((status = 200, description = "How many values were deleted", body = super::super::model::Deleted),
              ChangeFailures))]
pub(in super::super) async fn delete_form(
    State(documents): State<JsonService>,
    FormPath(key): FormPath,
    Query(params): Query<PathParam>,
    terms: Terms,
) -> Result<Response, Problem> {
    let path = documents.query_path(params.path.as_deref())?;
    documents.answer_delete(&key, path, terms).await
}
