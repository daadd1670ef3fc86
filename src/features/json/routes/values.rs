//! Changes arrays, numbers, strings and booleans inside documents.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;

use super::super::change::Action;
use super::super::model::{
    AppendRequest, AppendTextRequest, CalculateRequest, ClearedReply, InsertRequest, LengthsReply, NumbersReply,
    PathRequest, PopReply, PopRequest, ToggleReply, TrimRequest,
};
use super::super::service::JsonService;
use super::super::update::WriteOptions;
use super::{ConditionHeaders, KeyPath, updated, without_record};
use crate::http::extract::{Json, NoQuery, Path};
use crate::http::problem::Problem;

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
            Json($body): Json<$request>,
        ) -> Result<Response, Problem> {
            let path = $body.path.unwrap_or_default();
            let result = documents.update(&key, &options.update(path, $action)).await?;
            Ok(without_record(&documents, &key, updated(&result, "cleared")))
        }
    )+};
}

value_operations! {
    /// Append values to arrays.
    append_items: "/json/{key}/array/append",
        |body: AppendRequest| Action::Append(body.values)
        => LengthsReply, "The new length of each array; null for values that are not arrays";

    /// Insert values before an item of arrays.
    ///
    /// If one of the arrays is too short for the index, no array is changed.
    insert_items: "/json/{key}/array/insert",
        |body: InsertRequest| Action::Insert { index: body.index, values: body.values }
        => LengthsReply, "The new length of each array; null for values that are not arrays";

    /// Remove one item from arrays.
    pop_items: "/json/{key}/array/pop",
        |body: PopRequest| Action::Pop { index: body.index }
        => PopReply, "The item removed from each array; null for empty arrays and for values that are not arrays";

    /// Keep only a range of items of arrays.
    trim_arrays: "/json/{key}/array/trim",
        |body: TrimRequest| Action::Trim { start: body.start, stop: body.stop }
        => LengthsReply, "The new length of each array; null for values that are not arrays";

    /// Add to numbers.
    ///
    /// The sum of two 64-bit integers is an integer; every other sum is a 64-bit float. If one result is out of range,
    /// no value is changed.
    increment_numbers: "/json/{key}/number/increment",
        |body: CalculateRequest| Action::Increment(body.by)
        => NumbersReply, "Each new number; null for values that are not numbers";

    /// Multiply numbers.
    ///
    /// The product of two 64-bit integers is an integer; every other product is a 64-bit float. If one result is out of
    /// range, no value is changed.
    multiply_numbers: "/json/{key}/number/multiply",
        |body: CalculateRequest| Action::Multiply(body.by)
        => NumbersReply, "Each new number; null for values that are not numbers";

    /// Append text to strings.
    append_text: "/json/{key}/string/append",
        |body: AppendTextRequest| Action::AppendText(body.value.into())
        => LengthsReply, "The new length of each string in bytes of UTF-8; null for values that are not strings";

    /// Invert booleans.
    toggle_values: "/json/{key}/toggle",
        |body: PathRequest| Action::Toggle
        => ToggleReply, "Each new value; null for values that are not booleans";

    /// Empty arrays and objects and set numbers to 0.
    clear_values: "/json/{key}/clear",
        |body: PathRequest| Action::Clear
        => ClearedReply, "The number of values that changed";
}
