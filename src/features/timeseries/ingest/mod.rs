//! Loading samples of many series: a stream of any length in bounded memory.
//!
//! Lines gather per series until `timeseries.buffer_samples` of them are there, then travel as batches. A line that
//! cannot be read refuses its sample, not the stream. What a broken stream has stored stays; sent again, it is stored
//! once under every duplicate policy but `sum`.

mod line_format;
mod lines;
pub(super) mod row;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::backend::SampleBatch;
use super::backend::{BatchOutcome, Store};
use super::config::TimeseriesConfig;
use super::error::{Progress, TOO_MANY_REFUSED, TimeseriesError};
use super::index::{SeriesIndex, warn_not_registered};
use super::metrics::TimeseriesMetrics;
use super::model::{NewSeriesSample, RefusalCode, StreamAnswer, StreamRefusal};
use super::series::{Sample, SeriesKey};
use crate::clock::Clock;
use crate::http::body::BodyStream;
use crate::http::problem::Problem;
use crate::redis::{FaultKind, FencingToken, Outcome, RedisFault};
use line_format::{LineError, LineFormat, Rows};
use lines::Lines;
use row::Row;

pub(super) use crate::features::timeseries::influx::line::Precision;

/// The form of a stream's lines.
#[derive(Clone, Copy, Debug)]
pub(super) enum StreamKind {
    Ndjson,
    Csv,
    LineProtocol(Precision),
}

/// A load under way.
#[derive(Debug)]
pub(super) struct Ingest {
    token: Option<FencingToken>,
    backend: Store,
    index: SeriesIndex,
    metrics: TimeseriesMetrics,
    config: Arc<TimeseriesConfig>,
    clock: Clock,
    pending: HashMap<SeriesKey, Vec<Pending>>,
    /// Of what is pending, in samples; a series counts as several.
    weight: usize,
    unreadable: usize,
    answer: StreamAnswer,
}

#[derive(Clone, Copy, Debug)]
struct Pending {
    sample: Sample,
    line: u64,
}

/// What a series costs beside its samples, in samples: its entry and its first allocation.
const SERIES_WEIGHT: usize = 8;

impl Ingest {
    pub(super) fn new(
        token: Option<FencingToken>,
        backend: Store,
        index: SeriesIndex,
        metrics: TimeseriesMetrics,
        config: Arc<TimeseriesConfig>,
        clock: Clock,
    ) -> Self {
        let answer = StreamAnswer::default();
        Self {
            token,
            backend,
            index,
            metrics,
            config,
            clock,
            pending: HashMap::new(),
            weight: 0,
            unreadable: 0,
            answer,
        }
    }

    /// Loads the lines of a body; `idle` is the longest pause in it.
    ///
    /// # Errors
    /// `body-incomplete`, `invalid-body` for a wrong CSV header, `too-many-refused`, or a fault of Redis; the detail
    /// says how many samples were stored before.
    pub(super) async fn stream(
        mut self,
        mut body: BodyStream,
        kind: StreamKind,
        idle: Duration,
    ) -> Result<StreamAnswer, Problem> {
        let mut format = match kind {
            StreamKind::Ndjson => LineFormat::Ndjson,
            StreamKind::Csv => LineFormat::Csv(None),
            StreamKind::LineProtocol(precision) => LineFormat::Influx(precision),
        };
        let mut lines = Lines::new(self.config.max_line.as_usize());
        while let Some(piece) = body.next(idle).await.map_err(|problem| self.stopped(problem))? {
            lines.push(piece);
            while let Some((number, line)) = lines.next() {
                self.line(&mut format, number, line)?;
                self.flush_if_full().await?;
            }
            // A fast sender must not keep this thread from its other requests.
            tokio::task::yield_now().await;
        }
        if let Some((number, line)) = lines.finish() {
            self.line(&mut format, number, line)?;
        }
        format.finish().map_err(|rule| Problem::body_field("", rule))?;
        self.finish().await
    }

    /// Loads the samples of a JSON body, which was read as a whole.
    ///
    /// # Errors
    /// Those of [`Ingest::stream`].
    pub(super) async fn samples(mut self, samples: Vec<NewSeriesSample>) -> Result<StreamAnswer, Problem> {
        for (sample, number) in samples.into_iter().zip(1..) {
            let timestamp = sample.timestamp.map(|timestamp| timestamp.0);
            self.add(number, &Row { series: sample.series.into(), timestamp, value: sample.value })?;
            self.flush_if_full().await?;
        }
        self.finish().await
    }

    async fn finish(mut self) -> Result<StreamAnswer, Problem> {
        self.flush().await?;
        self.answer.refused.sort_by_key(|refused| refused.line);
        Ok(self.answer)
    }

    fn line(&mut self, format: &mut LineFormat, number: u64, line: lines::Line<'_>) -> Result<(), Problem> {
        let Ok(text) = line else {
            let limit = self.config.max_line.bytes();
            return self.unreadable(number, format!("the line is longer than {limit} bytes"));
        };
        match format.read(text) {
            Ok(Rows::None) => Ok(()),
            Ok(Rows::One(row)) => self.add(number, &row),
            Ok(Rows::Several(rows)) => rows.iter().try_for_each(|row| self.add(number, row)),
            Err(LineError::Row(reason)) => self.unreadable(number, reason),
            Err(LineError::Header(rule)) => Err(Problem::body_field("", rule)),
        }
    }

    fn add(&mut self, line: u64, row: &Row<'_>) -> Result<(), Problem> {
        let timestamp = row.timestamp.unwrap_or_else(|| self.clock.now());
        let pending = Pending { sample: Sample { timestamp, value: row.value }, line };
        if let Some(samples) = self.pending.get_mut(row.series.as_ref()) {
            samples.push(pending);
            self.weight += 1;
            return Ok(());
        }
        match SeriesKey::new(&row.series) {
            Ok(key) => {
                self.weight += 1 + SERIES_WEIGHT + row.series.len() / size_of::<Pending>();
                self.pending.insert(key, vec![pending]);
                Ok(())
            }
            Err(rule) => self.unreadable(line, format!("series: {rule}")),
        }
    }

    /// Refuses a line that cannot be read; too many of them end the stream.
    fn unreadable(&mut self, line: u64, reason: String) -> Result<(), Problem> {
        self.unreadable += 1;
        self.metrics.count(0, 0, 1);
        self.refuse(line, None, RefusalCode::InvalidSample, reason);
        if self.unreadable <= self.config.max_refused {
            return Ok(());
        }
        let stored = self.progress();
        let first = self.answer.refused.first().map(|refused| format!("; line {}: {}", refused.line, refused.detail));
        let detail = format!("{} lines{}; {}", self.unreadable, first.unwrap_or_default(), stored.advice());
        Err(Problem::new(&TOO_MANY_REFUSED).detail(detail).outcome(stored.outcome(Outcome::NotApplied)))
    }

    fn refuse(&mut self, line: u64, series: Option<SeriesKey>, code: RefusalCode, detail: String) {
        self.answer.refused_total += 1;
        if self.answer.refused.len() < self.config.max_refused.max(1) {
            self.answer.refused.push(StreamRefusal { line, series, code, detail });
        }
    }

    async fn flush_if_full(&mut self) -> Result<(), Problem> {
        if self.weight < self.config.buffer_samples {
            return Ok(());
        }
        self.flush().await
    }

    /// Stores what is pending: a round takes one batch of every series, so that batches of a series keep their order.
    async fn flush(&mut self) -> Result<(), Problem> {
        self.weight = 0;
        let mut series: Vec<(SeriesKey, Vec<Pending>)> = std::mem::take(&mut self.pending).into_iter().collect();
        // Stable: samples of one timestamp keep their order, which the duplicate policies depend on.
        for (_, rows) in &mut series {
            rows.sort_by_key(|row| row.sample.timestamp);
        }
        let samples: Vec<Vec<Sample>> =
            series.iter().map(|(_, rows)| rows.iter().map(|row| row.sample).collect()).collect();
        let longest = samples.iter().map(Vec::len).max().unwrap_or_default();
        for start in (0..longest).step_by(self.config.batch_samples) {
            self.round(&series, &samples, start).await?;
        }
        Ok(())
    }

    async fn round(
        &mut self,
        series: &[(SeriesKey, Vec<Pending>)],
        samples: &[Vec<Sample>],
        start: usize,
    ) -> Result<(), Problem> {
        let (mut batches, mut lines) = (Vec::with_capacity(series.len()), Vec::with_capacity(series.len()));
        for ((key, rows), samples) in series.iter().zip(samples) {
            let end = samples.len().min(start + self.config.batch_samples);
            if let (Some(samples @ [_, ..]), Some(rows)) = (samples.get(start..end), rows.get(start..end)) {
                batches.push(SampleBatch { key, samples, policy: None });
                lines.push(rows);
            }
        }
        let outcomes = self.backend.append(&batches, self.token).await;
        let (mut unlisted, mut failed) = (Vec::new(), None);
        for ((batch, rows), outcome) in batches.iter().zip(lines).zip(outcomes) {
            if !outcome.listed && outcome.settled > 0 {
                unlisted.push(batch.key.clone());
            }
            failed = failed.or(self.settle(batch.key, rows, outcome));
        }
        if let Some(fault) = failed {
            return Err(TimeseriesError::Interrupted { fault, stored: self.progress() }.into());
        }
        self.index.register(unlisted).await.unwrap_or_else(|fault| warn_not_registered(&fault));
        Ok(())
    }

    /// Enters a batch's outcome into the answer; the fault that ends the load, if there was one.
    fn settle(&mut self, key: &SeriesKey, rows: &[Pending], outcome: BatchOutcome) -> Option<RedisFault> {
        let code = match &outcome.fault {
            Some(fault) if fault.kind == FaultKind::WrongType => Some(RefusalCode::WrongType),
            Some(fault) if fault.kind == FaultKind::StaleFence => Some(RefusalCode::StaleFence),
            _ if outcome.missing => Some(RefusalCode::SeriesNotFound),
            _ => None,
        };
        let unsettled = rows.get(outcome.settled..).unwrap_or_default();
        let mut refused: Vec<(u64, RefusalCode)> = Vec::new();
        if let Some(code) = code {
            refused.extend(unsettled.iter().map(|row| (row.line, code)));
        }
        let accepted = outcome.settled - outcome.refused.len();
        let line_of = |at: usize| rows.get(at).map_or(0, |row| row.line);
        refused.extend(outcome.refused.iter().map(|refused| (line_of(refused.at), refused.reason.into())));
        self.answer.accepted += u64::try_from(accepted).unwrap_or(u64::MAX);
        self.answer.stored += u64::try_from(outcome.stored).unwrap_or(u64::MAX);
        self.metrics.count(outcome.stored, accepted - outcome.stored, refused.len());
        for (line, code) in refused {
            self.refuse(line, Some(key.clone()), code, code.detail().to_owned());
        }
        outcome.fault.filter(|_| code.is_none())
    }

    fn progress(&self) -> Progress {
        Progress { accepted: self.answer.accepted }
    }

    /// The problem of a body that broke off.
    fn stopped(&self, problem: Problem) -> Problem {
        let stored = self.progress();
        let detail = format!("the body ended early or did not keep coming; {}", stored.advice());
        problem.detail(detail).outcome(stored.outcome(Outcome::NotApplied))
    }
}
