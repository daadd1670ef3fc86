//! Bodies of samples: one object, or an array whose good items are told apart from the bad ones.

use serde_json::value::RawValue;

use crate::features::hosts::model::{NewSample, Refused};
use crate::features::hosts::sample::{Sample, Violation};
use crate::http::extract::parse_json;
use crate::http::problem::Problem;

/// What a body holds.
#[derive(Debug, Default)]
pub(super) struct Ingest {
    pub good: Vec<Sample>,
    pub refused: Vec<Refused>,
}

/// Why a body is refused as a whole.
#[derive(Debug)]
pub(super) enum Refusal {
    /// It is no JSON of the expected form.
    Problem(Problem),
    /// Its samples, or their number, break rules.
    Violations(Vec<Violation>),
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

/// Reads a body; `judge` makes a new sample one that is kept.
///
/// # Errors
/// [`Refusal`] when there is no good sample in it.
pub(super) fn read(
    body: &[u8],
    limit: usize,
    validate: impl Fn(&NewSample) -> Result<Sample, Vec<Violation>>,
) -> Result<Ingest, Refusal> {
    let is_array = body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[');
    if !is_array {
        let new: NewSample = parse_json(body)?;
        let sample = validate(&new).map_err(Refusal::Violations)?;
        return Ok(Ingest { good: vec![sample], refused: Vec::new() });
    }
    // Most arrays are good altogether; the others are read again, item by item.
    let items: Vec<Result<NewSample, Vec<Violation>>> = match serde_json::from_slice::<Vec<NewSample>>(body) {
        Ok(items) => items.into_iter().map(Ok).collect(),
        Err(_) => parse_json::<Vec<Box<RawValue>>>(body)?.iter().map(|text| item(text)).collect(),
    };
    if items.len() > limit {
        return Err(Refusal::Violations(vec![Violation::new(
            "",
            format!("has {} samples; at most {limit} are taken", items.len()),
        )]));
    }
    let mut ingest = Ingest::default();
    for (index, item) in items.into_iter().enumerate() {
        match item.and_then(|new| validate(&new)) {
            Ok(sample) => ingest.good.push(sample),
            Err(violations) => {
                ingest.refused.extend(violations.into_iter().map(|Violation { pointer, detail }| Refused {
                    index,
                    pointer: format!("/{index}{pointer}"),
                    detail,
                }))
            }
        }
    }
    if ingest.good.is_empty() && ingest.refused.is_empty() {
        return Err(Refusal::Violations(vec![Violation::new("", "there is no sample in it")]));
    }
    if ingest.good.is_empty() {
        let named = |Refused { pointer, detail, .. }| Violation { pointer, detail };
        return Err(Refusal::Violations(ingest.refused.into_iter().map(named).collect()));
    }
    Ok(ingest)
}

fn item(text: &RawValue) -> Result<NewSample, Vec<Violation>> {
    parse_json(text.get().as_bytes()).map_err(|problem| {
        problem
            .violations()
            .iter()
            .map(|violation| Violation::new(violation.pointer.clone(), violation.detail.clone()))
            .collect()
    })
}
