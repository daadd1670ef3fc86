//! Answers the types, lengths and member names of values.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use utoipa::IntoParams;

use super::super::change::ChangeReply;
use super::super::document::Node;
use super::super::model::{DocumentKey, KeysReply, LengthOf, LengthsReply, TypesReply};
use super::super::path::Path as JsonPath;
use super::super::service::JsonService;
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
    State(documents): State<Arc<JsonService>>,
    Path(KeyPath { key }): Path<KeyPath>,
    Query(PathParam { path }): Query<PathParam>,
    can_decrypt: CanDecrypt,
) -> Result<Response, Problem> {
    let type_name = |value: &Node| Some(Node::String(value.type_name().into()));
    inspect(&documents, &key, path, "a value", type_name, can_decrypt).await
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
    State(documents): State<Arc<JsonService>>,
    Path(KeyPath { key }): Path<KeyPath>,
    Query(LengthParams { path, of }): Query<LengthParams>,
    can_decrypt: CanDecrypt,
) -> Result<Response, Problem> {
    let length = |value: &Node| match (of, value) {
        (None | Some(LengthOf::Array), Node::Array(items)) => Some(Node::count(items.len())),
        (None | Some(LengthOf::String), Node::String(text)) => Some(Node::count(text.len())),
        (None | Some(LengthOf::Object), Node::Object(members)) => Some(Node::count(members.len())),
        _ => None,
    };
    let expected = match of {
        None => "an array, an object or a string",
        Some(LengthOf::Array) => "an array",
        Some(LengthOf::String) => "a string",
        Some(LengthOf::Object) => "an object",
    };
    inspect(&documents, &key, path, expected, length, can_decrypt).await
}

/// Get the member names of the selected values, in their order.
#[utoipa::path(get, path = "/json/{key}/keys", tag = "json", operation_id = "get_member_names",
    params(KeyPath, PathParam),
    responses((status = 200, description = "One list per value, null for values that are not objects; for a legacy path, the list of the first value", body = KeysReply)))]
pub(in super::super) async fn get_member_names(
    State(documents): State<Arc<JsonService>>,
    Path(KeyPath { key }): Path<KeyPath>,
    Query(PathParam { path }): Query<PathParam>,
    can_decrypt: CanDecrypt,
) -> Result<Response, Problem> {
    let names = |value: &Node| match value {
        Node::Object(members) => {
            Some(Node::Array(members.iter().map(|(name, _)| Node::String(name.clone())).collect()))
        }
        _ => None,
    };
    inspect(&documents, &key, path, "an object", names, can_decrypt).await
}

/// Answers a property of the selected values; `expected` are the types of values that have it.
async fn inspect(
    documents: &JsonService,
    key: &DocumentKey,
    path: Option<JsonPath>,
    expected: &'static str,
    property: impl Fn(&Node) -> Option<Node>,
    CanDecrypt(can_decrypt): CanDecrypt,
) -> Result<Response, Problem> {
    let path = path.unwrap_or_default();
    let (results, source) = documents.inspect(key, &path, expected, property, can_decrypt).await?;
    let reply = ChangeReply::Results(results);
    Ok(updated(&Updated { reply, etag: Some(source.etag()), ttl: source.ttl }, ""))
}
