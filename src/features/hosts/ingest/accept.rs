//! Accepting samples: checks them against the rules and keeps the valid ones.

use std::sync::atomic::Ordering;

use super::super::error::HostsError;
use super::super::heartbeat::HeartbeatContent;
use super::super::model::{HostId, IngestAnswer, NewSample, RefusedSample};
use super::super::sample::{Sample, Violation, check_timestamp};
use super::super::service::{HostService, signed};
use super::super::tenancy::AccessScope;
use crate::telemetry::episodes;

/// Samples of one request: more than an hour of an agent's samples at one every 5 s, and half of what `http.body_limit`
/// allows by default.
const MAX_SAMPLES: usize = 1_000;

/// A parsed body of samples.
#[derive(Debug)]
pub(in super::super) enum SamplesBody {
    One(NewSample),
    /// The items of an array, each a sample or the rules that it breaks.
    Many(Vec<Result<NewSample, Vec<Violation>>>),
}

impl HostService {
    /// Keeps the valid samples of a body.
    ///
    /// # Errors
    /// [`HostsError::InvalidSamples`] if no sample is valid or there are too many, and the errors of
    /// [`HostService::record`].
    pub(in super::super) async fn ingest(
        &self,
        scope: &AccessScope,
        id: HostId,
        body: SamplesBody,
    ) -> Result<IngestAnswer, HostsError> {
        let (sent, validated) = match body {
            SamplesBody::One(new) => (1, self.validate(&new).map(|sample| (vec![sample], Vec::new()))),
            SamplesBody::Many(items) => (items.len(), self.validate_all(items)),
        };
        match &validated {
            Ok((samples, refused)) => {
                self.count_refused(&id, sent - samples.len(), refused.first().map(|first| &first.detail));
            }
            Err(violations) => self.count_refused(&id, sent, violations.first().map(|first| &first.detail)),
        }
        let (samples, refused) = validated.map_err(HostsError::InvalidSamples)?;
        let accepted = samples.len();
        let stored = self.record(scope, id, samples, None).await?;
        Ok(IngestAnswer { accepted, stored, refused })
    }

    /// Keeps the sample of a heartbeat, and what its agent reports about itself.
    ///
    /// # Errors
    /// [`HostsError::InvalidSamples`] if the heartbeat is not valid, and the errors of [`HostService::record`].
    pub(in super::super) async fn ingest_heartbeat(
        &self,
        scope: &AccessScope,
        id: HostId,
        heartbeat: HeartbeatContent,
    ) -> Result<(), HostsError> {
        let mut violations = heartbeat.violations();
        let HeartbeatContent { agent, sample, place } = heartbeat;
        match self.validate(&sample) {
            Ok(sample) if violations.is_empty() => self.record(scope, id, vec![sample], Some(agent)).await.map(|_| ()),
            validated => {
                let in_heartbeat = |violation: Violation| {
                    Violation::new(format!("{place}/metrics{}", violation.pointer), violation.detail)
                };
                violations.extend(validated.err().unwrap_or_default().into_iter().map(in_heartbeat));
                self.count_refused(&id, 1, violations.first().map(|first| &first.detail));
                Err(HostsError::InvalidSamples(violations))
            }
        }
    }

    /// Counts refused samples of a request. The log names the host and the first rule, once for many requests.
    fn count_refused(&self, id: &HostId, refused: usize, rule: Option<&String>) {
        self.metrics.refused.inc_by(refused as u64);
        if let Some(rule) = rule.filter(|_| refused > 0)
            && let Some(repeated) = episodes::next("samples of hosts")
        {
            tracing::warn!(host = %id, refused, rule, repeated, "refused samples of a host");
        }
    }

    /// The valid samples of an array, and the rules that the others break.
    fn validate_all(
        &self,
        items: Vec<Result<NewSample, Vec<Violation>>>,
    ) -> Result<(Vec<Sample>, Vec<RefusedSample>), Vec<Violation>> {
        if items.len() > MAX_SAMPLES {
            let rule = format!("must have at most {MAX_SAMPLES} samples, got {}", items.len());
            return Err(vec![Violation::new("", rule)]);
        }
        let (mut samples, mut refused) = (Vec::with_capacity(items.len()), Vec::new());
        for (index, item) in items.into_iter().enumerate() {
            match item.and_then(|new| self.validate(&new)) {
                Ok(sample) => samples.push(sample),
                Err(violations) => refused.extend(violations.into_iter().map(|Violation { pointer, detail }| {
                    RefusedSample { index, pointer: format!("/{index}{pointer}"), detail }
                })),
            }
        }
        if !samples.is_empty() {
            return Ok((samples, refused));
        }
        if refused.is_empty() {
            return Err(vec![Violation::new("", "must have at least 1 sample, got 0")]);
        }
        let violation = |RefusedSample { pointer, detail, .. }| Violation { pointer, detail };
        Err(refused.into_iter().map(violation).collect())
    }

    /// The sample to keep; the service adds the timestamp if the agent did not.
    ///
    /// # Errors
    /// Every rule that the sample breaks.
    fn validate(&self, new: &NewSample) -> Result<Sample, Vec<Violation>> {
        let now = self.clock.now();
        let timestamp = new.timestamp.unwrap_or(now);
        let seq = match (new.seq, new.timestamp) {
            (Some(seq), _) => seq,
            (None, Some(_)) => 0,
            (None, None) => self.next_seq.fetch_add(1, Ordering::Relaxed),
        };
        let NewSample { cpu, memory, disk, network, .. } = *new;
        let sample = Sample { timestamp, seq, cpu, memory, disk, network };
        let mut violations = sample.violations();
        violations.extend(check_timestamp(timestamp, now, signed(self.config.max_behind.as_millis())));
        if violations.is_empty() { Ok(sample) } else { Err(violations) }
    }
}
