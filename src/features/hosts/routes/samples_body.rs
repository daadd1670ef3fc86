//! Parses the body of an ingest request: one sample, or an array whose items are parsed one by one.

use serde_json::value::RawValue;

use super::super::ingest::accept::SamplesBody;
use super::super::model::NewSample;
use super::super::sample::Violation;
use crate::http::extract::parse_json;
use crate::http::problem::Problem;

/// # Errors
/// The body is not JSON, or neither a sample nor an array.
pub(super) fn read(body: &[u8]) -> Result<SamplesBody, Problem> {
    if body.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'[') {
        return Ok(SamplesBody::One(parse_json(body)?));
    }
    // Most arrays are valid as a whole; only the others are parsed again, item by item.
    Ok(SamplesBody::Many(match serde_json::from_slice::<Vec<NewSample>>(body) {
        Ok(items) => items.into_iter().map(Ok).collect(),
        Err(_) => parse_json::<Vec<Box<RawValue>>>(body)?.iter().map(|text| item(text)).collect(),
    }))
}

fn item(text: &RawValue) -> Result<NewSample, Vec<Violation>> {
    parse_json(text.get().as_bytes()).map_err(|problem| {
        let violations = problem.violations().iter();
        violations.map(|violation| Violation::new(violation.pointer.clone(), violation.detail.clone())).collect()
    })
}
