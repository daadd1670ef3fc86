//! Loads samples of many series: a stream of any length in bounded memory.
//!
//! Samples are buffered by series, up to [`BUFFER_SAMPLES`], and then written in batches. An invalid line is
//! refused; the load continues. If the stream breaks off, the samples that were written remain stored. Sending it again
//! stores its samples once, under every duplicate policy except `sum`.
//!
//! Files, in reading order: `line_format.rs` parses the lines of the body into the samples of
//! `row.rs`, and this file buffers and writes them.

mod line_format;
pub(super) mod row;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::WRITE;
use super::backend::SampleBatch;
use super::backend::{BATCH_SAMPLES, BatchOutcome, Store};
use super::error::{Progress, TimeseriesError, Violation};
use super::index::{SeriesIndex, warn_not_registered};
use super::metrics::TimeseriesMetrics;
use super::model::{NewSeriesSample, RefusalCode, StreamAnswer, StreamRefusal, Timestamp};
use super::series::{Sample, SeriesKey};
use crate::clock::Clock;
use crate::features::timeseries::influx::line::{Line, RefusedField};
use crate::http::auth::Principal;
use crate::http::batch_item::BatchItem;
use crate::http::body::BodyStream;
use crate::http::lines::{LineBreaks, Lines};
use crate::redis::{FaultKind, FencingToken, RedisFault};
pub(super) use line_format::LineFormat;
use line_format::{LineError, Rows};
use row::Row;

pub(super) use crate::features::timeseries::influx::precision::Precision;

/// The longest line of a load, bytes: no sample needs more, and a line is held in memory.
const MAX_LINE: usize = 4_096;

/// The most samples that a load buffers, 24 bytes each in memory, before it writes them.
const BUFFER_SAMPLES: usize = 1 << 16;

/// The most unreadable lines of a load; one more ends it.
const MAX_UNREADABLE: usize = 1_000;

/// A load in progress.
#[derive(Debug)]
pub(super) struct Ingest {
    token: Option<FencingToken>,
    /// The caller, if its scope may be limited to keys.
    writer: Option<Arc<Principal>>,
    backend: Store,
    index: SeriesIndex,
    metrics: TimeseriesMetrics,
    clock: Clock,
    /// The buffered samples of each series, with their lines.
    pending: HashMap<SeriesKey, Vec<(Sample, u64)>>,
    /// The size of the buffer in samples; each series counts as [`SERIES_WEIGHT`] samples more.
    weight: usize,
    unreadable: usize,
    /// The unit of the timestamps, if the client chose it.
    precision: Option<Precision>,
    answer: StreamAnswer,
}

/// The memory of a buffered series beyond its samples (its entry, the command that writes it and the reply), in samples.
const SERIES_WEIGHT: usize = 64;

impl Ingest {
    pub(super) fn new(
        token: Option<FencingToken>,
        backend: Store,
        index: SeriesIndex,
        metrics: TimeseriesMetrics,
        clock: Clock,
    ) -> Self {
        let answer = StreamAnswer::default();
        Self {
            token,
            writer: None,
            backend,
            index,
            metrics,
            clock,
            pending: HashMap::new(),
            weight: 0,
            unreadable: 0,
            precision: None,
            answer,
        }
    }

    /// Refuses the series that the caller's scope does not include.
    #[must_use]
    pub(super) fn of(self, writer: Arc<Principal>) -> Self {
        Self { writer: Some(writer), ..self }
    }

    /// Loads the lines of a body; `idle` is the longest allowed pause in it.
    ///
    /// # Errors
    /// [`TimeseriesError::BodyEnded`], [`TimeseriesError::InvalidBody`] for an invalid CSV header,
    /// [`TimeseriesError::TooManyRefused`], or [`TimeseriesError::Interrupted`].
    pub(super) async fn stream(
        mut self,
        mut body: BodyStream,
        mut format: LineFormat,
        idle: Duration,
    ) -> Result<StreamAnswer, TimeseriesError> {
        let mut lines = Lines::with_breaks(MAX_LINE, format.breaks());
        self.precision = format.precision();
        loop {
            let piece = body.next(idle).await;
            let piece = piece
                .map_err(|problem| TimeseriesError::BodyEnded { problem: problem.into(), stored: self.progress() })?;
            let Some(piece) = piece else { break };
            lines.push(&piece);
            while let Some((number, line)) = lines.next_line() {
                self.line(&mut format, number, line)?;
                self.flush_if_full().await?;
            }
            // A fast sender must not block the other requests on this thread.
            tokio::task::yield_now().await;
        }
        if let Some((number, line)) = lines.finish() {
            self.line(&mut format, number, line)?;
        }
        format.finish().map_err(invalid_header)?;
        self.finish().await
    }

    /// Loads the samples of a JSON body, which is already parsed. An invalid sample is refused, and so is a second one of a
    /// series without a timestamp.
    ///
    /// # Errors
    /// The errors of [`Ingest::stream`].
    pub(super) async fn samples(
        mut self,
        samples: Vec<BatchItem<NewSeriesSample>>,
    ) -> Result<StreamAnswer, TimeseriesError> {
        // All items without a timestamp get the same one.
        let (now, mut untimed) = (Timestamp(self.clock.now()), HashSet::new());
        for (item, number) in samples.into_iter().zip(1..) {
            let reason = match item {
                BatchItem::Valid(NewSeriesSample { series, timestamp, value }) => {
                    if timestamp.is_some() || untimed.insert(series.clone()) {
                        let timestamp = timestamp.or(Some(now));
                        self.add(number, &Row { series: series.into(), timestamp, value })?;
                        self.flush_if_full().await?;
                        continue;
                    }
                    RefusalCode::SAME_TIME.to_owned()
                }
                BatchItem::Invalid { problem, .. } => problem.text().to_owned(),
            };
            self.metrics.count(0, 0, 1);
            self.refuse(number, None, RefusalCode::InvalidSample, reason);
        }
        self.finish().await
    }

    async fn finish(mut self) -> Result<StreamAnswer, TimeseriesError> {
        self.flush().await?;
        self.answer.refused.sort_by_key(|refused| refused.line);
        Ok(self.answer)
    }

    fn line(&mut self, format: &mut LineFormat, number: u64, line: Option<&[u8]>) -> Result<(), TimeseriesError> {
        let Some(text) = line else {
            let texts = match format.breaks() {
                LineBreaks::All => "",
                LineBreaks::OutsideTexts => ", and so must a text in quotes, whose line breaks do not end the line",
            };
            return self.unreadable(number, format!("the line must have at most {MAX_LINE} bytes{texts}"));
        };
        match format.read(text) {
            Ok(Rows::None) => Ok(()),
            Ok(Rows::One(row)) => self.add(number, &row),
            Ok(Rows::Several(Line { rows, refused })) => {
                rows.iter().try_for_each(|row| self.add(number, row))?;
                refused.into_iter().try_for_each(|field| self.refuse_field(number, field))
            }
            Err(LineError::Row(reason)) => self.unreadable(number, reason),
            Err(LineError::Header(rule)) => Err(invalid_header(rule)),
        }
    }

    fn add(&mut self, line: u64, row: &Row<'_>) -> Result<(), TimeseriesError> {
        let timestamp = row.timestamp.map_or_else(|| self.clock.now(), |timestamp| timestamp.0);
        let pending = (Sample { timestamp, value: row.value }, line);
        if let Some(samples) = self.pending.get_mut(row.series.as_ref()) {
            samples.push(pending);
            self.weight += 1;
            return Ok(());
        }
        match SeriesKey::new(&row.series) {
            Ok(key) if self.writer.as_ref().is_some_and(|writer| !writer.may_access(WRITE, key.as_str())) => {
                let code = RefusalCode::Forbidden;
                self.reject(line, code, code.detail().to_owned())
            }
            Ok(key) => {
                self.weight += 1 + SERIES_WEIGHT + row.series.len() / size_of::<(Sample, u64)>();
                self.pending.insert(key, vec![pending]);
                Ok(())
            }
            Err(rule) => self.unreadable(line, format!("series {rule}")),
        }
    }

    /// Refuses a field of a line. Text is valid in line protocol, so that any number of such fields may be refused.
    fn refuse_field(&mut self, line: u64, field: RefusedField) -> Result<(), TimeseriesError> {
        if field.code != RefusalCode::TextField {
            return self.unreadable(line, field.detail);
        }
        self.answer.text_fields += 1;
        self.metrics.count(0, 0, 1);
        self.refuse(line, None, field.code, field.detail);
        Ok(())
    }

    /// Refuses an invalid line. Too many of them end the load.
    fn unreadable(&mut self, line: u64, reason: String) -> Result<(), TimeseriesError> {
        self.reject(line, RefusalCode::InvalidSample, reason)
    }

    /// Refuses a line that is not read further. Too many of them end the load.
    fn reject(&mut self, line: u64, code: RefusalCode, reason: String) -> Result<(), TimeseriesError> {
        self.unreadable += 1;
        self.metrics.count(0, 0, 1);
        self.refuse(line, None, code, reason);
        if self.unreadable <= MAX_UNREADABLE {
            return Ok(());
        }
        let first = self.answer.refused.first().map(|refused| format!("; line {}: {}", refused.line, refused.detail));
        Err(TimeseriesError::TooManyRefused {
            lines: self.unreadable,
            first: first.unwrap_or_default(),
            stored: self.progress(),
        })
    }

    fn refuse(&mut self, line: u64, series: Option<SeriesKey>, code: RefusalCode, detail: String) {
        self.answer.refused_total += 1;
        if self.answer.refused.len() < StreamAnswer::MAX_REFUSALS {
            self.answer.refused.push(StreamRefusal { line, series, code, detail });
        }
    }

    async fn flush_if_full(&mut self) -> Result<(), TimeseriesError> {
        if self.weight < BUFFER_SAMPLES {
            return Ok(());
        }
        self.flush().await
    }

    /// Writes the buffered samples. Each round takes one batch of every series, so that the batches of a series keep
    /// their order.
    async fn flush(&mut self) -> Result<(), TimeseriesError> {
        self.weight = 0;
        let mut series: Vec<(SeriesKey, Vec<(Sample, u64)>)> = std::mem::take(&mut self.pending).into_iter().collect();
        // The sort is stable: samples with one timestamp keep their order, on which the duplicate policies depend.
        for (_, rows) in &mut series {
            rows.sort_by_key(|(sample, _)| sample.timestamp);
        }
        let samples: Vec<Vec<Sample>> =
            series.iter().map(|(_, rows)| rows.iter().map(|(sample, _)| *sample).collect()).collect();
        let longest = samples.iter().map(Vec::len).max().unwrap_or_default();
        for start in (0..longest).step_by(BATCH_SAMPLES) {
            self.round(&series, &samples, start).await?;
        }
        Ok(())
    }

    async fn round(
        &mut self,
        series: &[(SeriesKey, Vec<(Sample, u64)>)],
        samples: &[Vec<Sample>],
        start: usize,
    ) -> Result<(), TimeseriesError> {
        let (mut batches, mut lines) = (Vec::with_capacity(series.len()), Vec::with_capacity(series.len()));
        for ((key, rows), samples) in series.iter().zip(samples) {
            let end = samples.len().min(start + BATCH_SAMPLES);
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
            return Err(TimeseriesError::Interrupted { fault, stored: self.progress() });
        }
        self.index.register(unlisted).await.unwrap_or_else(|fault| warn_not_registered(&fault));
        Ok(())
    }

    /// Adds the outcome of a batch to the answer. Returns the fault, if there was one that ends the load.
    fn settle(&mut self, key: &SeriesKey, rows: &[(Sample, u64)], outcome: BatchOutcome) -> Option<RedisFault> {
        let code = match &outcome.fault {
            Some(fault) if fault.kind == FaultKind::WrongType => Some(RefusalCode::WrongType),
            Some(fault) if fault.kind == FaultKind::StaleFence => Some(RefusalCode::StaleFence),
            _ if outcome.missing => Some(RefusalCode::SeriesNotFound),
            _ => None,
        };
        let unsettled = rows.get(outcome.settled..).unwrap_or_default();
        let mut refused: Vec<(u64, RefusalCode)> = Vec::new();
        if let Some(code) = code {
            refused.extend(unsettled.iter().map(|(_, line)| (*line, code)));
        }
        let accepted = outcome.settled - outcome.refused.len();
        let line_of = |at: usize| rows.get(at).map_or(0, |(_, line)| *line);
        refused.extend(outcome.refused.iter().map(|(at, code)| (line_of(*at), *code)));
        self.answer.accepted += u64::try_from(accepted).unwrap_or(u64::MAX);
        self.answer.stored += u64::try_from(outcome.stored).unwrap_or(u64::MAX);
        self.metrics.count(outcome.stored, accepted - outcome.stored, refused.len());
        for (line, code) in refused {
            self.refuse(line, Some(key.clone()), code, self.detail_of(code));
        }
        outcome.fault.filter(|_| code.is_none())
    }

    fn detail_of(&self, code: RefusalCode) -> String {
        let detail = code.detail();
        match (self.precision, code) {
            (Some(precision), RefusalCode::SampleTooNew | RefusalCode::WrongTimeUnit) => {
                let rule = detail.split_once("; ").map_or(detail, |(rule, _)| rule);
                format!("{rule}; the unit of the timestamps is {}, as `precision` says", precision.name())
            }
            _ => detail.to_owned(),
        }
    }

    fn progress(&self) -> Progress {
        Progress { accepted: self.answer.accepted }
    }
}

fn invalid_header(rule: String) -> TimeseriesError {
    TimeseriesError::InvalidBody(Violation::new("", rule))
}
