//! Reads the types, lengths and member names of values, and changes arrays, numbers, strings and booleans.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use utoipa::IntoParams;

use super::super::change::Action;
use super::super::document::Node;
use super::super::model::{
    AppendRequest, AppendTextRequest, CalculateRequest, ClearRequest, ClearedReply, DocumentKey, InsertRequest,
    KeysReply, LengthOf, LengthsReply, NumbersReply, PathRequest, PopReply, PopRequest, ToggleReply, TrimRequest,
    TypesReply,
};
use super::super::path::Path as JsonPath;
use super::super::service::JsonService;
use super::super::update::WriteOptions;
use super::{
    CanDecrypt, ConditionHeaders, DocumentBody, KeyPath, PathParam, json, set_document_headers, updated, without_record,
};
use crate::http::extract::{NoQuery, Path, Query};
use crate::http::problem::Problem;

/// Get the types of the selected values.
#[utoipa::path(get, path = "/json/{key}/type", tag = "json", operation_id = "get_json_types",
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
#[utoipa::path(get, path = "/json/{key}/length", tag = "json", operation_id = "get_json_lengths",
    params(KeyPath, LengthParams),
    responses((status = 200, description = "One length per value, null for values without a length; for a legacy path, the length of the first value", body = LengthsReply)))]
pub(in super::super) async fn get_lengths(
    State(documents): State<Arc<JsonService>>,
    Path(KeyPath { key }): Path<KeyPath>,
    Query(LengthParams { path, of }): Query<LengthParams>,
    can_decrypt: CanDecrypt,
) -> Result<Response, Problem> {
    let length = move |value: &Node| match (of, value) {
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
#[utoipa::path(get, path = "/json/{key}/keys", tag = "json", operation_id = "get_json_member_names",
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
    documents: &Arc<JsonService>,
    key: &DocumentKey,
    path: Option<JsonPath>,
    expected: &'static str,
    property: impl Fn(&Node) -> Option<Node> + Send + 'static,
    can_decrypt: CanDecrypt,
) -> Result<Response, Problem> {
    let path = path.unwrap_or_default();
    let (results, source) = documents.inspect(key, path, expected, property, can_decrypt.of(key)).await?;
    let mut response = json([b"{\"results\":", results.as_slice(), b"}"].concat());
    set_document_headers(source.etag(), source.ttl, response.headers_mut());
    Ok(response)
}

/// Defines operations that turn their body into an [`Action`] on the values at its path.
macro_rules! value_operations {
    ($($(#[$doc:meta])*
       $name:ident: $route:literal, |$body:ident: $request:ident| $action:expr => $reply:ident, $description:literal;)+) => {$(
        $(#[$doc])*
        #[utoipa::path(post, path = $route, tag = "json",
            params(KeyPath, ConditionHeaders), request_body = $request,
            responses((status = 200, description = $description, body = $reply,
                       headers(("ETag" = String, description = "The version of the document; never used twice")))))]
        pub(in super::super) async fn $name(
            State(documents): State<Arc<JsonService>>,
            Path(KeyPath { key }): Path<KeyPath>,
            NoQuery: NoQuery,
            options: WriteOptions,
            DocumentBody($body, _permit): DocumentBody<$request>,
        ) -> Result<Response, Problem> {
            let path = $body.path.unwrap_or_default();
            let result = documents.update(&key, options.update(path, $action)).await?;
            Ok(without_record(&documents, &key, updated(&result, "cleared")))
        }
    )+};
}

value_operations! {
    /// Append values to arrays.
    append_json_items: "/json/{key}/array/append",
        |body: AppendRequest| Action::Append(body.values)
        => LengthsReply, "The new length of each array; null for values that are not arrays";

    /// Insert values before an item of arrays.
    ///
    /// If one of the arrays is too short for the index, no array is changed.
    insert_json_items: "/json/{key}/array/insert",
        |body: InsertRequest| Action::Insert { index: body.index, values: body.values }
        => LengthsReply, "The new length of each array; null for values that are not arrays";

    /// Remove one item from arrays.
    pop_json_items: "/json/{key}/array/pop",
        |body: PopRequest| Action::Pop { index: body.index }
        => PopReply, "The item removed from each array; null for empty arrays and for values that are not arrays";

    /// Keep only a range of items of arrays.
    trim_json_arrays: "/json/{key}/array/trim",
        |body: TrimRequest| Action::Trim { start: body.start, stop: body.stop }
        => LengthsReply, "The new length of each array; null for values that are not arrays";

    /// Add to numbers.
    ///
    /// The sum of two 64-bit integers is an integer; every other sum is a 64-bit float. If one result is out of range,
    /// no value is changed.
    increment_json_numbers: "/json/{key}/number/increment",
        |body: CalculateRequest| Action::Increment(body.by)
        => NumbersReply, "Each new number; null for values that are not numbers";

    /// Multiply numbers.
    ///
    /// The product of two 64-bit integers is an integer; every other product is a 64-bit float. If one result is out of
    /// range, no value is changed.
    multiply_json_numbers: "/json/{key}/number/multiply",
        |body: CalculateRequest| Action::Multiply(body.by)
        => NumbersReply, "Each new number; null for values that are not numbers";

    /// Append text to strings.
    append_json_text: "/json/{key}/string/append",
        |body: AppendTextRequest| Action::AppendText(body.value.into())
        => LengthsReply, "The new length of each string in bytes of UTF-8; null for values that are not strings";

    /// Invert booleans.
    toggle_json_values: "/json/{key}/toggle",
        |body: PathRequest| Action::Toggle
        => ToggleReply, "Each new value; null for values that are not booleans";

    /// Empty arrays and objects and set numbers to 0.
    clear_json_values: "/json/{key}/clear",
        |body: ClearRequest| Action::Clear
        => ClearedReply, "The number of values that changed";
}
