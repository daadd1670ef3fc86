//! The problems that calls of documents can answer, for the API document.

use std::collections::BTreeMap;

use utoipa::IntoResponses;
use utoipa::openapi::{RefOr, Response};

use crate::http::openapi_responses::{ReadResponses, WriteResponses, entry};

/// Of calls that look at a document.
#[derive(Debug)]
pub(in super::super) struct LookFailures;

/// Of calls that change one.
#[derive(Debug)]
pub(in super::super) struct ChangeFailures;

/// Of calls that change one and say how in a body.
#[derive(Debug)]
pub(in super::super) struct BodyFailures;

const LOOK: &[(&str, &str)] = &[
    ("404", "`json-missing`, `json-path-missing`"),
    ("409", "`json-wrong-type`, `wrong-type`"),
    ("412", "`precondition-failed`"),
    ("422", "`invalid-path`, `invalid-query`, `invalid-header`, `json-path-too-complex`"),
];

const CHANGE: &[(&str, &str)] = &[
    ("404", "`json-missing`, `json-path-missing`"),
    ("409", "`json-wrong-type`, `json-no-number`, `json-patch-failed`, `json-contended`, `wrong-type`"),
    ("412", "`precondition-failed`"),
    (
        "422",
        "`invalid-path`, `invalid-query`, `invalid-header`, `invalid-body`, `json-not-settable`, `json-out-of-bounds`, \
         `json-path-too-complex`, `json-schema-violation`",
    ),
];

const BODY: &[(&str, &str)] = &[
    ("400", "`invalid-json`, `json-too-deep`, `body-incomplete`"),
    ("413", "`body-too-large`, `json-too-large`"),
    ("415", "`unsupported-media-type`"),
];

impl IntoResponses for LookFailures {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let mut responses = ReadResponses::responses();
        responses.extend(LOOK.iter().map(entry));
        responses
    }
}

impl IntoResponses for ChangeFailures {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let mut responses = WriteResponses::responses();
        responses.extend(CHANGE.iter().map(entry));
        responses
    }
}

impl IntoResponses for BodyFailures {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let mut responses = ChangeFailures::responses();
        responses.extend(BODY.iter().map(entry));
        responses
    }
}
