//! The problems that calls of series can answer, for the API document.

use std::collections::BTreeMap;

use utoipa::IntoResponses;
use utoipa::openapi::{RefOr, Response};

use crate::http::failures::entry;

/// Of calls that name a series.
#[derive(Debug)]
pub(in super::super) struct SeriesFailures;

/// Of calls with a JSON body.
#[derive(Debug)]
pub(in super::super) struct BodyFailures;

const SERIES: &[(&str, &str)] = &[("404", "`series-not-found`"), ("409", "`wrong-type`")];

const BODY: &[(&str, &str)] = &[
    ("400", "`invalid-json`, `json-too-deep`, `body-incomplete`"),
    ("413", "`body-too-large`"),
    ("415", "`unsupported-media-type`"),
];

impl IntoResponses for SeriesFailures {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        SERIES.iter().map(entry).collect()
    }
}

impl IntoResponses for BodyFailures {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        BODY.iter().map(entry).collect()
    }
}
