//! What is told about values: types, lengths, names.

use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use utoipa::IntoParams;

use super::super::change::Answer;
use super::super::model::{DocumentKey, KeysReply, LengthOf, LengthsReply, TypesReply};
use super::super::service::{Aspect, JsonService};
use super::super::update::Done;
use super::openapi_responses::LookFailures;
use super::terms::InClear;
use super::{KeyParam, KeyPath, PathParam, changed};
use crate::http::extract::Query;
use crate::http::problem::Problem;

/// The types of what a path selects.
#[utoipa::path(get, path = "/json/{key}/type", tag = "json", operation_id = "get_types",
    params(KeyParam,
           PathParam),
    responses((status = 200, description = "One type per value; of a legacy path the first value's", body = TypesReply),
              LookFailures))]
pub(in super::super) async fn get_types(
    State(documents): State<JsonService>,
    KeyPath(key): KeyPath,
    Query(params): Query<PathParam>,
    clear: InClear,
) -> Result<Response, Problem> {
    documents.tell(&key, params.path.as_deref(), Aspect::Type, clear).await
}

/// Of what lengths are told.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in super::super) struct LengthParams {
    /// A JSON path; the whole document without it.
    #[param(max_length = 1_024, example = "$")]
    path: Option<String>,
    /// Only values of this type have a length.
    #[param(inline)]
    of: Option<LengthOf>,
}

/// The lengths of what a path selects: items of arrays, members of objects, bytes of strings.
#[utoipa::path(get, path = "/json/{key}/length", tag = "json", operation_id = "get_lengths",
    params(KeyParam,
           LengthParams),
    responses((status = 200, description = "One length per value, null for those that have none; of a legacy path the first value's", body = LengthsReply),
              LookFailures))]
pub(in super::super) async fn get_lengths(
    State(documents): State<JsonService>,
    KeyPath(key): KeyPath,
    Query(params): Query<LengthParams>,
    clear: InClear,
) -> Result<Response, Problem> {
    documents.tell(&key, params.path.as_deref(), Aspect::Length { of: params.of }, clear).await
}

/// The names of the members of what a path selects, in their order.
#[utoipa::path(get, path = "/json/{key}/keys", tag = "json", operation_id = "get_member_names",
    params(KeyParam,
           PathParam),
    responses((status = 200, description = "One list per value, null for those that are no objects; of a legacy path the first value's", body = KeysReply),
              LookFailures))]
pub(in super::super) async fn get_member_names(
    State(documents): State<JsonService>,
    KeyPath(key): KeyPath,
    Query(params): Query<PathParam>,
    clear: InClear,
) -> Result<Response, Problem> {
    documents.tell(&key, params.path.as_deref(), Aspect::Keys, clear).await
}

impl JsonService {
    async fn tell(
        &self,
        key: &DocumentKey,
        path: Option<&str>,
        aspect: Aspect,
        InClear(in_clear): InClear,
    ) -> Result<Response, Problem> {
        let path = self.query_path(path)?;
        let (results, source) = self.inspect(key, &path, aspect, in_clear).await?;
        let done = Done { answer: Answer::Results(results), etag: Some(source.etag()), ttl: source.ttl };
        Ok(changed(&done, ""))
    }
}
