//! Bodies of samples: one object, or an array whose good items are told apart from the bad ones.

use serde_json::value::RawValue;

use super::model::{NewSample, Refused};
use super::sample::{Breach, Sample};
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
    Breaches(Vec<Breach>),
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
    judge: impl Fn(&NewSample) -> Result<Sample, Vec<Breach>>,
) -> Result<Ingest, Refusal> {
    let is_array = body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[');
    if !is_array {
        let new: NewSample = parse_json(body)?;
        let sample = judge(&new).map_err(Refusal::Breaches)?;
        return Ok(Ingest { good: vec![sample], refused: Vec::new() });
    }
    // Most arrays are good altogether; the others are read again, item by item.
    let items: Vec<Result<NewSample, Vec<Breach>>> = match serde_json::from_slice::<Vec<NewSample>>(body) {
        Ok(items) => items.into_iter().map(Ok).collect(),
        Err(_) => parse_json::<Vec<Box<RawValue>>>(body)?.iter().map(|text| item(text)).collect(),
    };
    if items.len() > limit {
        return Err(Refusal::Breaches(vec![Breach::new(
            "",
            format!("has {} samples; at most {limit} are taken", items.len()),
        )]));
    }
    let mut ingest = Ingest::default();
    for (index, item) in items.into_iter().enumerate() {
        match item.and_then(|new| judge(&new)) {
            Ok(sample) => ingest.good.push(sample),
            Err(breaches) => ingest.refused.extend(breaches.into_iter().map(|Breach { pointer, detail }| Refused {
                index,
                pointer: format!("/{index}{pointer}"),
                detail,
            })),
        }
    }
    if ingest.good.is_empty() && ingest.refused.is_empty() {
        return Err(Refusal::Breaches(vec![Breach::new("", "there is no sample in it")]));
    }
    if ingest.good.is_empty() {
        let named = |Refused { pointer, detail, .. }| Breach { pointer, detail };
        return Err(Refusal::Breaches(ingest.refused.into_iter().map(named).collect()));
    }
    Ok(ingest)
}

fn item(text: &RawValue) -> Result<NewSample, Vec<Breach>> {
    parse_json(text.get().as_bytes()).map_err(|problem| {
        problem
            .violations()
            .iter()
            .map(|violation| Breach::new(violation.pointer.clone(), violation.detail.clone()))
            .collect()
    })
}
