//! The problems that an operation can return, in the API document.

use utoipa::openapi::OpenApi;
use utoipa::openapi::path::Operation;
use utoipa::openapi::{Content, Ref, RefOr, Response, ResponseBuilder};

use super::access::Access;
use super::openapi::operations;

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
