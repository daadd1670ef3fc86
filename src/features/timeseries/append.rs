//! Appends the samples of a JSON body to one series.

use std::borrow::Cow;

use super::backend::{BATCH_SAMPLES, SampleBatch};
use super::error::TimeseriesError;
use super::index::warn_not_registered;
use super::model::{NewSample, NewSamples, RefusalCode, SampleRefusal, SamplesAnswer};
use super::series::{DuplicatePolicy, Sample, SeriesKey};
use super::service::TimeseriesService;
use crate::http::batch_item::BatchItem;
use crate::redis::FencingToken;

impl TimeseriesService {
    /// Appends samples to one series, in batches and in the order of time.
    ///
    /// Sending the same samples again changes nothing, except under the duplicate policy `sum`. The body may name the policy
    /// for this request.
    ///
    /// # Errors
    /// [`TimeseriesError::InvalidBody`] if there are no samples or too many; [`TimeseriesError::NotFound`] if the series does
    /// not exist and has no family; [`TimeseriesError::Interrupted`] if Redis failed or the client lost its lock between two
    /// batches, in which case some samples may be stored.
    pub(super) async fn append(
        &self,
        key: SeriesKey,
        body: NewSamples,
        token: Option<FencingToken>,
    ) -> Result<SamplesAnswer, TimeseriesError> {
        let NewSamples { samples, on_duplicate } = body;
        self.check_length("samples", samples.len())?;
        let now = self.clock.now();
        let (mut rows, mut invalid) = (Vec::with_capacity(samples.len()), Vec::new());
        let mut has_untimed = false;
        for (index, item) in samples.into_iter().enumerate() {
            let detail = match item {
                BatchItem::Valid(NewSample { timestamp: None, .. }) if has_untimed => {
                    Cow::Borrowed(RefusalCode::SAME_TIME)
                }
                BatchItem::Valid(NewSample { timestamp, value }) => {
                    has_untimed |= timestamp.is_none();
                    rows.push((Sample { timestamp: timestamp.map_or(now, |timestamp| timestamp.0), value }, index));
                    continue;
                }
                BatchItem::Invalid { problem, .. } => Cow::Owned(problem.text().to_owned()),
            };
            invalid.push(SampleRefusal { index, timestamp: None, code: RefusalCode::InvalidSample, detail });
        }
        // Stable, since the duplicate policies depend on the order of samples with the same timestamp.
        rows.sort_by_key(|(sample, _)| sample.timestamp);
        let mut answer = self.append_rows(&key, &rows, on_duplicate, token).await?;
        answer.refused.extend(invalid);
        answer.refused.sort_by_key(|refused| refused.index);
        self.metrics.count(answer.stored, answer.accepted - answer.stored, answer.refused.len());
        Ok(answer)
    }

    async fn append_rows(
        &self,
        key: &SeriesKey,
        rows: &[(Sample, usize)],
        policy: Option<DuplicatePolicy>,
        token: Option<FencingToken>,
    ) -> Result<SamplesAnswer, TimeseriesError> {
        let mut answer = SamplesAnswer { accepted: 0, stored: 0, refused: Vec::new() };
        let mut listed = true;
        for rows in rows.chunks(BATCH_SAMPLES) {
            let samples: Vec<Sample> = rows.iter().map(|(sample, _)| *sample).collect();
            let mut outcomes = self.backend.append(&[SampleBatch { key, samples: &samples, policy }], token).await;
            let outcome = outcomes.pop().unwrap_or_default();
            answer.accepted += outcome.settled - outcome.refused.len();
            answer.stored += outcome.stored;
            answer.refused.extend(outcome.refused.iter().filter_map(|&(at, code)| {
                let (sample, index) = *rows.get(at)?;
                Some(SampleRefusal {
                    index,
                    timestamp: Some(sample.timestamp),
                    code,
                    detail: Cow::Borrowed(code.detail()),
                })
            }));
            if outcome.missing {
                return Err(TimeseriesError::NotFound(key.clone()));
            }
            if let Some(fault) = outcome.fault {
                return Err(TimeseriesError::interrupted(fault, answer.accepted));
            }
            listed = outcome.listed;
        }
        if !listed {
            let registered = self.index.register(vec![key.clone()]).await;
            registered.unwrap_or_else(|fault| warn_not_registered(&fault));
        }
        Ok(answer)
    }
}
