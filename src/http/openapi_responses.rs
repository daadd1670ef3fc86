//! The problems that an operation can return, in the API document.

use std::collections::BTreeMap;

use utoipa::IntoResponses;
use utoipa::openapi::OpenApi;
use utoipa::openapi::path::Operation;
use utoipa::openapi::{Content, Ref, RefOr, Response, ResponseBuilder};

use super::access::Access;
use super::openapi::operations;

/// Of operations that change nothing.
#[derive(Debug)]
pub struct ReadResponses;

/// Of operations that change something.
#[derive(Debug)]
pub struct WriteResponses;

/// Of operations that read a JSON body, beside what is wrong with its fields.
#[derive(Debug)]
pub struct JsonBodyResponses;

const CALLER: &[(&str, &str)] = &[
    ("401", "`unauthenticated`"),
    ("403", "`forbidden`"),
    ("500", "`internal-error`"),
    ("504", "`redis-timeout`, `deadline-exceeded`"),
];

impl IntoResponses for ReadResponses {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let away = ("503", "`redis-unavailable`, `redis-busy`, `redis-denied`, `overloaded`");
        CALLER.iter().chain([&away]).map(entry).collect()
    }
}

impl IntoResponses for WriteResponses {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let away = ("503", "`redis-unavailable`, `redis-busy`, `redis-denied`, `redis-writes-refused`, `overloaded`");
        let full = ("507", "`redis-out-of-memory`");
        CALLER.iter().chain([&away, &full]).map(entry).collect()
    }
}

impl IntoResponses for JsonBodyResponses {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let broken = ("400", "`invalid-json`, `json-too-deep`, `body-incomplete`");
        [broken, ("413", "`body-too-large`"), ("415", "`unsupported-media-type`")].iter().map(entry).collect()
    }
}

/// Documents the problems of every access row as responses of its operation.
pub fn describe(document: &mut OpenApi, rows: &[Access]) {
    for (path, item) in &mut document.paths.paths {
        for (method, operation) in operations(item) {
            let row = rows.iter().find(|row| (row.method, row.path) == (method, path.as_str()));
            for kind in row.into_iter().flat_map(|row| row.problems.iter().copied().flatten()) {
                add(operation, kind.status.as_str(), kind.slug);
            }
        }
    }
}

/// Adds a problem to the responses of an operation, unless it is already there.
pub(super) fn add(operation: &mut Operation, status: &str, slug: &str) {
    match operation.responses.responses.get_mut(status) {
        Some(RefOr::T(response)) if response.description.contains(&format!("`{slug}`")) => {}
        Some(RefOr::T(response)) => response.description = format!("{}, `{slug}`", response.description),
        _ => operation.responses.responses.extend([entry(&(status, &format!("`{slug}`")))]),
    }
}

/// A response with this status and these problems.
pub fn entry((status, description): &(&str, &str)) -> (String, RefOr<Response>) {
    let body = Content::new(Some(Ref::from_schema_name("Problem")));
    let response = ResponseBuilder::new().description(*description).content("application/problem+json", body);
    ((*status).to_owned(), RefOr::T(response.build()))
}
