//! The problems that an operation can return, in the API document.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;
use utoipa::openapi::OpenApi;
use utoipa::openapi::path::Operation;
use utoipa::openapi::{Content, Ref, RefOr, Response, ResponseBuilder};

use super::access::Access;
use super::openapi::{operations, with_rows};
use super::problem::{COMMON, PROBLEM_PAGES, ProblemKind, UNAUTHENTICATED};

const MEDIA_TYPE: &str = "application/problem+json";

/// Documents the problems of every access row as responses of its operation.
pub fn describe(document: &mut OpenApi, rows: &[Access]) {
    for (operation, row) in with_rows(document, rows) {
        for kind in row.problems.iter().copied().flatten() {
            add(operation, kind.status.as_str(), kind.slug);
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

/// Replaces the responses with common problems only by one response that the operations share, and states the own
/// problems of a capability first in the others. A response to HEAD has no body and stays.
pub fn share_common(document: &mut OpenApi) {
    let mut common: BTreeMap<u16, Vec<&str>> = BTreeMap::new();
    for kind in COMMON {
        common.entry(kind.status.as_u16()).or_default().push(kind.slug);
    }
    let slugs: Vec<&str> = common.values().flatten().copied().collect();
    let list: Vec<String> = common.iter().map(|(status, slugs)| format!("{status} {}", quoted(slugs))).collect();
    let (_, shared) =
        entry(&("default", &format!("A problem that is the same in all operations: {}", list.join("; "))));
    document.components.get_or_insert_default().responses.insert("Problem".to_owned(), shared);
    for (method, operation) in document.paths.paths.values_mut().flat_map(operations) {
        let responses = &mut operation.responses.responses;
        let before = responses.len();
        responses.retain(|_, response| {
            let RefOr::T(response) = response else { return true };
            let (shared, own): (Vec<&str>, Vec<&str>) =
                problems(&response.description).into_iter().partition(|slug| slugs.contains(slug));
            if own.is_empty() {
                return shared.is_empty() || method == "HEAD" || !response.headers.is_empty();
            }
            response.description = quoted(&[own, shared].concat());
            true
        });
        if responses.len() < before {
            responses.insert("default".to_owned(), RefOr::Ref(Ref::from_response_name("Problem")));
        }
    }
}

/// The problems of a description that is a list of them; none for other text.
fn problems(description: &str) -> Vec<&str> {
    let is_list = description.split(", ").all(|item| item.starts_with('`') && item.ends_with('`'));
    if is_list { description.split(", ").map(|item| item.trim_matches('`')).collect() } else { Vec::new() }
}

fn quoted(slugs: &[&str]) -> String {
    slugs.iter().map(|slug| format!("`{slug}`")).collect::<Vec<_>>().join(", ")
}

/// Gives examples to the response that the operations share, and to one response of each operation: that which the most
/// operations have. The first of `kinds` with a slug counts.
pub fn exemplify(document: &mut OpenApi, kinds: &[&ProblemKind]) {
    let mut lists: Vec<Vec<String>> = Vec::new();
    for (_, operation) in document.paths.paths.values_mut().flat_map(operations) {
        let responses = operation.responses.responses.values();
        let texts =
            responses.filter_map(|response| if let RefOr::T(response) = response { Some(response) } else { None });
        let texts = texts.map(|response| response.description.clone());
        lists.push(texts.filter(|text| !problems(text).is_empty()).collect());
    }
    let uses = |text: &String| lists.iter().filter(|list| list.contains(text)).count();
    let chosen: BTreeSet<&String> = lists.iter().filter_map(|list| list.iter().max_by_key(|text| uses(text))).collect();
    let of_operations = document.paths.paths.values_mut().flat_map(operations);
    for response in of_operations.flat_map(|(_, operation)| operation.responses.responses.values_mut()) {
        if let RefOr::T(response) = response
            && chosen.contains(&response.description)
            && let Some(slug) = problems(&response.description).first()
            && let Some(kind) = kinds.iter().find(|kind| kind.slug == *slug)
        {
            response.content.get_mut(MEDIA_TYPE).into_iter().for_each(|content| show(content, kind));
        }
    }
    let shared = document.components.iter_mut().flat_map(|components| components.responses.values_mut());
    for response in shared {
        if let RefOr::T(response) = response {
            response.content.get_mut(MEDIA_TYPE).into_iter().for_each(|content| show(content, &UNAUTHENTICATED));
        }
    }
}

fn show(content: &mut RefOr<Content>, kind: &ProblemKind) {
    if let RefOr::T(content) = content {
        content.example = Some(json!({
            "type": format!("{PROBLEM_PAGES}{}", kind.slug), "title": kind.title, "status": kind.status.as_u16(),
            "instance": "/the/path/of/the/request", "code": kind.slug, "request_id": "0af7651916cd43dd8448eb211c80319c",
        }));
    }
}

/// A response with this status and these problems.
pub fn entry((status, description): &(&str, &str)) -> (String, RefOr<Response>) {
    let body = Content::new(Some(Ref::from_schema_name("Problem")));
    let response = ResponseBuilder::new().description(*description).content(MEDIA_TYPE, body);
    ((*status).to_owned(), RefOr::T(response.build()))
}
