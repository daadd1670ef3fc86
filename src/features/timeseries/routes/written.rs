//! The response to a write of samples: what happened is visible without reading the body.

use axum::http::{HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::super::error::SAMPLES_REFUSED;
use super::super::model::{RefusalCode, SamplesAnswer, StreamAnswer};
use super::super::platform::model::WriteAnswer;
use super::super::series::SeriesKey;
use crate::http::extract::Json;
use crate::http::problem::{Location, Problem};
use crate::redis::Outcome;

/// The header that states how many samples were refused; absent if all were accepted.
pub(in crate::features::timeseries) const REFUSED: HeaderName = HeaderName::from_static("samples-refused");

/// A refused sample in a problem.
pub(in crate::features::timeseries) struct Refusal<'a> {
    /// Its position in the request, as the answer counts it.
    position: u64,
    series: Option<&'a SeriesKey>,
    code: RefusalCode,
    detail: &'a str,
}

/// The result of a write of samples.
pub(in crate::features::timeseries) trait Written: Serialize {
    fn accepted(&self) -> u64;

    fn refused_total(&self) -> u64;

    /// The first refused samples.
    fn refusals(&self) -> impl Iterator<Item = Refusal<'_>>;
}

impl Written for SamplesAnswer {
    fn accepted(&self) -> u64 {
        self.accepted as u64
    }

    fn refused_total(&self) -> u64 {
        self.refused.len() as u64
    }

    fn refusals(&self) -> impl Iterator<Item = Refusal<'_>> {
        self.refused.iter().take(StreamAnswer::MAX_REFUSALS).map(|refused| Refusal {
            position: refused.index as u64,
            series: None,
            code: refused.code,
            detail: &refused.detail,
        })
    }
}

impl Written for StreamAnswer {
    fn accepted(&self) -> u64 {
        self.accepted
    }

    fn refused_total(&self) -> u64 {
        self.refused_total
    }

    fn refusals(&self) -> impl Iterator<Item = Refusal<'_>> {
        self.refused.iter().map(|refused| Refusal {
            position: refused.line,
            series: refused.series.as_ref(),
            code: refused.code,
            detail: &refused.detail,
        })
    }
}

impl Written for WriteAnswer {
    fn accepted(&self) -> u64 {
        self.accepted
    }

    fn refused_total(&self) -> u64 {
        self.refused_total
    }

    fn refusals(&self) -> impl Iterator<Item = Refusal<'_>> {
        self.refused.iter().map(|refused| Refusal {
            position: refused.index as u64,
            series: refused.series.as_ref(),
            code: refused.code,
            detail: &refused.detail,
        })
    }
}

/// Responds to a write. `pointer` names the sample at a position of the request.
///
/// # Errors
/// `samples-refused` (422) if there were samples and all of them were refused; `invalid-body` (422) if there were none.
pub(in crate::features::timeseries) fn written(
    answer: impl Written,
    pointer: impl Fn(u64) -> String,
) -> Result<Response, Problem> {
    let refused = answer.refused_total();
    if refused == 0 && answer.accepted() == 0 {
        return Err(Problem::body_field("", "must have at least 1 sample, got 0"));
    }
    if refused == 0 {
        return Ok(Json(answer).into_response());
    }
    if answer.accepted() > 0 {
        return Ok(([(REFUSED, HeaderValue::from(refused))], Json(answer)).into_response());
    }
    let problem = Problem::new(&SAMPLES_REFUSED)
        .detail(format!("{refused} samples were refused, 0 were stored"))
        .outcome(Outcome::NotApplied);
    Err(answer.refusals().fold(problem, |problem, Refusal { position, series, code, detail }| {
        let series = series.map(|series| format!(" (series `{series}`)")).unwrap_or_default();
        problem.violation(Location::Body, pointer(position), format!("{}: {detail}{series}", code.name()))
    }))
}
