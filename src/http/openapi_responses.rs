//! The problems that an operation can return, in the API document.

use serde_json::json;
use utoipa::openapi::OpenApi;
use utoipa::openapi::path::Operation;
use utoipa::openapi::{Content, Ref, RefOr, Response, ResponseBuilder};

use super::access::Access;
use super::openapi::operations;
use super::problem::ProblemKind;

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

/// Gives each response with problems the first of them as its example. The first of `kinds` with a slug counts.
pub fn exemplify(document: &mut OpenApi, kinds: &[&ProblemKind]) {
    let operations = document.paths.paths.values_mut().flat_map(operations);
    for response in operations.flat_map(|(_, operation)| operation.responses.responses.values_mut()) {
        let RefOr::T(Response { description, content, .. }) = response else { continue };
        let slug = description.split('`').nth(1).unwrap_or_default();
        let kind = kinds.iter().find(|kind| kind.slug == slug);
        if let (Some(kind), Some(RefOr::T(content))) = (kind, content.get_mut("application/problem+json")) {
            content.example = Some(json!({
                "type": format!("/problems/{slug}"), "title": kind.title, "status": kind.status.as_u16(),
                "instance": "/the/path/of/the/request", "code": slug, "request_id": "0af7651916cd43dd8448eb211c80319c",
            }));
        }
    }
}

/// A response with this status and these problems.
pub fn entry((status, description): &(&str, &str)) -> (String, RefOr<Response>) {
    let body = Content::new(Some(Ref::from_schema_name("Problem")));
    let response = ResponseBuilder::new().description(*description).content("application/problem+json", body);
    ((*status).to_owned(), RefOr::T(response.build()))
}
