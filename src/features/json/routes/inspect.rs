//! Answers the types, lengths and member names of values.

use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use utoipa::IntoParams;

use super::super::change::ChangeReply;
use super::super::model::{DocumentKey, KeysReply, LengthOf, LengthsReply, TypesReply};
use super::super::path::Path as JsonPath;
use super::super::service::{JsonService, Property};
use super::super::update::Updated;
use super::write_options::CanDecrypt;
use super::{KeyPath, PathParam, updated};
use crate::http::extract::{Path, Query};
use crate::http::problem::Problem;

/// Get the types of the selected values.
#[utoipa::path(get, path = "/json/{key}/type", tag = "json", operation_id = "get_types",
    params(KeyPath, PathParam),
    responses((status = 200, description = "One type per value; for a legacy path, the type of the first value", body = TypesReply)))]
pub(in super::super) async fn get_types(
    State(documents): State<JsonService>,
    Path(KeyPath { key }): Path<KeyPath>,
    Query(PathParam { path }): Query<PathParam>,
    can_decrypt: CanDecrypt,
) -> Result<Response, Problem> {
    inspect(&documents, &key, path, Property::Type, can_decrypt).await
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in super::super) struct LengthParams {
    /// A JSON path; without it, the whole document.
    #[param(value_type = Option<String>, max_length = 1_024, example = "$")]
    path: Option<JsonPath>,
    /// Limits the lengths to values of this type.
    #[param(inline)]
    of: Option<LengthOf>,
}

/// Get the lengths of the selected values: the items of arrays, the members of objects, the bytes of strings.
#[utoipa::path(get, path = "/json/{key}/length", tag = "json", operation_id = "get_lengths",
    params(KeyPath, LengthParams),
    responses((status = 200, description = "One length per value, null for values without a length; for a legacy path, the length of the first value", body = LengthsReply)))]
pub(in super::super) async fn get_lengths(
    State(documents): State<JsonService>,
    Path(KeyPath { key }): Path<KeyPath>,
    Query(LengthParams { path, of }): Query<LengthParams>,
    can_decrypt: CanDecrypt,
) -> Result<Response, Problem> {
    inspect(&documents, &key, path, Property::Length { of }, can_decrypt).await
}

/// Get the member names of the selected values, in their order.
#[utoipa::path(get, path = "/json/{key}/keys", tag = "json", operation_id = "get_member_names",
    params(KeyPath, PathParam),
    responses((status = 200, description = "One list per value, null for values that are not objects; for a legacy path, the list of the first value", body = KeysReply)))]
pub(in super::super) async fn get_member_names(
    State(documents): State<JsonService>,
    Path(KeyPath { key }): Path<KeyPath>,
    Query(PathParam { path }): Query<PathParam>,
    can_decrypt: CanDecrypt,
) -> Result<Response, Problem> {
    inspect(&documents, &key, path, Property::MemberNames, can_decrypt).await
}

async fn inspect(
    documents: &JsonService,
    key: &DocumentKey,
    path: Option<JsonPath>,
    property: Property,
    CanDecrypt(can_decrypt): CanDecrypt,
) -> Result<Response, Problem> {
    let (results, source) = documents.inspect(key, &path.unwrap_or_default(), property, can_decrypt).await?;
    let reply = ChangeReply::Results(results);
    Ok(updated(&Updated { reply, etag: Some(source.etag()), ttl: source.ttl }, ""))
}
