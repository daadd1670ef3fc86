//! The problems that calls of one series can answer, for the API document.

use std::collections::BTreeMap;

use utoipa::IntoResponses;
use utoipa::openapi::{RefOr, Response};

use crate::http::openapi_responses::{JsonBodyResponses, ReadResponses, WriteResponses, entry};

/// Of calls that look at a series.
#[derive(Debug)]
pub(in super::super) struct LookFailures;

/// Of calls that read a window of one.
#[derive(Debug)]
pub(in super::super) struct RangeFailures;

/// Of calls that change one.
#[derive(Debug)]
pub(in super::super) struct ChangeFailures;

/// Of calls that change one and say how in a JSON body.
#[derive(Debug)]
pub(in super::super) struct BodyFailures;

const SERIES: &[(&str, &str)] =
    &[("404", "`series-not-found`"), ("409", "`wrong-type`"), ("422", "`invalid-path`, `invalid-query`")];
const RANGE: &[(&str, &str)] = &[("422", "`invalid-path`, `invalid-query`, `range-too-wide`")];
const BODY: &[(&str, &str)] = &[("422", "`invalid-path`, `invalid-query`, `invalid-body`")];

type Responses = BTreeMap<String, RefOr<Response>>;

impl IntoResponses for LookFailures {
    fn responses() -> Responses {
        ReadResponses::responses().into_iter().chain(SERIES.iter().map(entry)).collect()
    }
}

impl IntoResponses for RangeFailures {
    fn responses() -> Responses {
        LookFailures::responses().into_iter().chain(RANGE.iter().map(entry)).collect()
    }
}

impl IntoResponses for ChangeFailures {
    fn responses() -> Responses {
        WriteResponses::responses().into_iter().chain(SERIES.iter().map(entry)).collect()
    }
}

impl IntoResponses for BodyFailures {
    fn responses() -> Responses {
        let body = JsonBodyResponses::responses().into_iter().chain(BODY.iter().map(entry));
        ChangeFailures::responses().into_iter().chain(body).collect()
    }
}
