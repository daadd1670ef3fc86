//! The problems that every guarded operation over Redis can answer, for the API document.

use std::collections::BTreeMap;

use utoipa::IntoResponses;
use utoipa::openapi::path::Operation;
use utoipa::openapi::{Content, Ref, RefOr, Response, ResponseBuilder};

/// Of operations that change nothing.
#[derive(Debug)]
pub struct ReadFailures;

/// Of operations that change something.
#[derive(Debug)]
pub struct WriteFailures;

/// Of operations that read a JSON body, beside what is wrong with its fields.
#[derive(Debug)]
pub struct JsonBodyFailures;

const CALLER: &[(&str, &str)] = &[
    ("401", "`unauthenticated`"),
    ("403", "`forbidden`"),
    ("500", "`internal-error`"),
    ("504", "`redis-timeout`, `deadline-exceeded`"),
];

impl IntoResponses for ReadFailures {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let away = ("503", "`redis-unavailable`, `redis-busy`, `redis-denied`, `overloaded`");
        CALLER.iter().chain([&away]).map(entry).collect()
    }
}

impl IntoResponses for WriteFailures {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let away = ("503", "`redis-unavailable`, `redis-busy`, `redis-denied`, `redis-writes-refused`, `overloaded`");
        let full = ("507", "`redis-out-of-memory`");
        CALLER.iter().chain([&away, &full]).map(entry).collect()
    }
}

impl IntoResponses for JsonBodyFailures {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let broken = ("400", "`invalid-json`, `json-too-deep`, `body-incomplete`");
        [broken, ("413", "`body-too-large`"), ("415", "`unsupported-media-type`")].iter().map(entry).collect()
    }
}

/// Adds a problem to those that an operation may answer, unless it is among them.
pub(super) fn add(operation: &mut Operation, status: &str, slug: &str) {
    match operation.responses.responses.get_mut(status) {
        Some(RefOr::T(response)) if response.description.contains(slug) => {}
        Some(RefOr::T(response)) => response.description = format!("{}, `{slug}`", response.description),
        _ => operation.responses.responses.extend([entry(&(status, &format!("`{slug}`")))]),
    }
}

/// A status and the problems behind it, as an answer of the API document.
pub fn entry((status, description): &(&str, &str)) -> (String, RefOr<Response>) {
    let body = Content::new(Some(Ref::from_schema_name("Problem")));
    let response = ResponseBuilder::new().description(*description).content("application/problem+json", body);
    ((*status).to_owned(), RefOr::T(response.build()))
}
