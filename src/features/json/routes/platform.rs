//! The platform's configurations, forms and user preferences: the document routes under the platform's own paths.

use std::sync::Arc;

use axum::extract::{Request as HttpRequest, State};
use axum::response::Response;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::super::change::PatchOperation;
use super::super::keys::{BLOCKCHAIN, FORMS, MARKET, PREFERENCES, TRADING};
use super::super::model::{DeletedReply, DocumentKey, Identifier};
use super::super::service::JsonService;
use super::super::update::WriteOptions;
use super::document::{delete, patch, put, read};
use super::write_options::CanDecrypt;
use super::{ConditionHeaders, PathParam, Paths, UserPath};
use crate::http::conditional::Preconditions;
use crate::http::extract::{NoQuery, Path, Query};
use crate::http::problem::Problem;

/// A kind of configuration.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = ConfigurationKind)]
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

/// Defines the four operations on one kind of document. `$query` is the query of PUT and PATCH, with or without a path.
macro_rules! platform_document {
    ($noun:literal, $route:literal, |$params:ident: $path:ident| $key:expr,
     |$query:pat_param, $query_type:ty| $target:expr, ($($documented:ident)?),
     body: ($($body:tt)+), $body_text:literal, example: $example:tt, patch_example: $patch_example:tt, $get:ident, $put:ident, $patch:ident, $delete:ident) => {
        #[utoipa::path(get, path = $route, tag = "json",
            summary = concat!("Read ", $noun, ", or the values that paths select."),
            params($path, Paths, ConditionHeaders),
            responses((status = 200, description = "The document, or the selected values", body = serde_json::Value),
                      (status = 304, description = "The caller has this version")))]
        pub(in super::super) async fn $get(
            State(documents): State<Arc<JsonService>>,
            Path($params): Path<$path>,
            paths: Paths,
            CanDecrypt(can_decrypt): CanDecrypt,
            conditions: Preconditions,
        ) -> Result<Response, Problem> {
            read(&documents, &$key, &paths.path, can_decrypt, &conditions).await
        }

        #[utoipa::path(put, path = $route, tag = "json",
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

        #[utoipa::path(patch, path = $route, tag = "json",
            summary = concat!("Change ", $noun, " by a merge patch or a JSON Patch."),
            params($path, $($documented,)? ConditionHeaders),
            request_body(content((serde_json::Value = "application/merge-patch+json", example = json!($patch_example)),
                                 (Vec<PatchOperation> = "application/json-patch+json", example = json!([])))),
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

        #[utoipa::path(delete, path = $route, tag = "json",
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
    "a configuration", "/config/{kind}/{id}",
    |of: ConfigurationPath| of.key(), |Query(target), Query<PathParam>| target.path, (PathParam),
    body: (serde_json::Value), "A JSON object with the members that the collection requires; at a path, any JSON value",
    example: {"symbol": "GRID", "base_currency": "THBC", "fee": "0.0025"},
    patch_example: {"symbol": "GRID", "base_currency": "THBC"},
    get_configuration, put_configuration, patch_configuration, delete_configuration
}

platform_document! {
    "the data of a form", "/forms/{id}", |of: FormPath| DocumentKey::in_collection(FORMS, &of.id),
    |Query(target), Query<PathParam>| target.path, (PathParam),
    body: (serde_json::Value), "A JSON object with the members that the collection requires; at a path, any JSON value",
    example: {"meter": "MTR-001", "answers": {"owner": "Ada"}},
    patch_example: {"answers": {"owner": "Ada L."}},
    get_form, put_form, patch_form, delete_form
}

platform_document! {
    "a user's preferences", "/users/{id}/preferences",
    |of: UserPath| DocumentKey::in_collection(PREFERENCES, &of.id),
    |NoQuery, NoQuery| None, (),
    body: (std::collections::BTreeMap<String, serde_json::Value>), "A JSON object",
    example: {"language": "th", "theme": "dark"},
    patch_example: {"theme": "light", "font": null},
    get_preferences, put_preferences, patch_preferences, delete_preferences
}
