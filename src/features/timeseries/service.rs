//! What callers may do with series.

use std::ops::Deref;
use std::sync::Arc;

use super::backend::SampleBatch;
use super::backend::Store;
use super::config::{PromConfig, TimeseriesConfig};
use super::error::TimeseriesError;
use super::export::Export;
use super::families::Families;
use super::index::{SeriesIndex, warn_not_registered};
use super::ingest::Ingest;
use super::many::{ManyExport, ManyPage, ManyReader};
use super::metrics::TimeseriesMetrics;
use super::model::{
    Alteration, Creation, DeletedSamples, NewSamples, RefusalCode, SampleRefusal, SampleView, SamplesAnswer,
    SeriesEntry, SeriesView, Timestamp,
};
use super::prom::PromService;
use super::query::{DeletionQuery, ListQuery, ManyQuery, RangeQuery, Violation, WindowQuery};
use super::range::{RangePage, RangePlan, RangeReader, Stats};
use super::render::Form;
use super::rollup::{Filling, Rollups};
use super::scripts::Created;
use super::series::{Definition, DuplicatePolicy, Sample, SeriesKey};
use crate::clock::Clock;
use crate::deps::Deps;
use crate::http::problem::Problem;
use crate::http::reply::Page;
use crate::redis::FencingToken;

/// Every request gets a clone: it costs one count, which is what the workers' processors have to agree on.
#[derive(Clone, Debug)]
pub(super) struct TimeseriesService(Arc<Inner>);

#[derive(Debug)]
pub(super) struct Inner {
    backend: Store,
    reader: RangeReader,
    many: ManyReader,
    index: SeriesIndex,
    rollups: Rollups,
    families: Arc<Families>,
    config: Arc<TimeseriesConfig>,
    metrics: TimeseriesMetrics,
    clock: Clock,
}

impl Deref for TimeseriesService {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl TimeseriesService {
    pub(super) fn new(deps: &Deps, config: TimeseriesConfig) -> Self {
        let families = Arc::new(Families::new(&config));
        let metrics = TimeseriesMetrics::new(&deps.metrics);
        let (redis, clock) = (deps.redis.state.clone(), deps.clock.clone());
        let backend = Store::new(deps, Arc::clone(&families), metrics.clone(), &config);
        Filling::new(backend.clone(), config.rollup_samples).plan(&deps.tasks);
        let (reader, index) = (RangeReader::new(backend.clone(), &config), SeriesIndex::new(redis, backend.clone()));
        Self(Arc::new(Inner {
            many: ManyReader::new(reader.clone(), index.clone(), &config),
            rollups: Rollups::new(backend.clone(), config.rollups),
            reader,
            index,
            backend,
            families,
            config: Arc::new(config),
            metrics,
            clock,
        }))
    }

    /// The rollups of series.
    pub(super) fn rollups(&self) -> &Rollups {
        &self.rollups
    }

    /// Prometheus' way of asking for the same series.
    pub(super) fn prom(&self, config: PromConfig) -> PromService {
        PromService::new(self.reader.clone(), self.index.clone(), config, self.clock.clone())
    }

    /// A load of samples for many series.
    pub(super) fn ingest(&self, token: Option<FencingToken>) -> Ingest {
        Ingest::new(
            token,
            self.backend.clone(),
            self.index.clone(),
            self.metrics.clone(),
            Arc::clone(&self.config),
            self.clock.clone(),
        )
    }

    /// Creates a series; says whether it is new, and how it is.
    ///
    /// # Errors
    /// [`TimeseriesError::Exists`] when it is there with another definition.
    pub(super) async fn create(
        &self,
        key: SeriesKey,
        creation: Creation,
        token: Option<FencingToken>,
    ) -> Result<(bool, SeriesView), TimeseriesError> {
        let defaults = self.families.defaults(&key);
        let definition = Definition {
            retention_ms: creation.retention_ms.map_or(defaults.retention_ms, |retention| retention.0),
            duplicate_policy: creation.duplicate_policy.unwrap_or(defaults.duplicate_policy),
            labels: creation.labels.unwrap_or_else(|| defaults.into_owned().labels),
        };
        let created = self.backend.create(&key, &definition, token).await?;
        if created == Created::Different {
            return Err(TimeseriesError::Exists(key));
        }
        let registered = self.index.register(vec![key.clone()]).await;
        registered.map_err(|fault| TimeseriesError::from(fault).applied())?;
        let view = self.describe(key).await.map_err(TimeseriesError::applied)?;
        Ok((created == Created::New, view))
    }

    /// Changes a definition. A shorter retention hides old samples at once.
    ///
    /// # Errors
    /// [`TimeseriesError::NotFound`].
    pub(super) async fn alter(
        &self,
        key: SeriesKey,
        change: Alteration,
        token: Option<FencingToken>,
    ) -> Result<SeriesView, TimeseriesError> {
        if !self.backend.alter(&key, &change, token).await? {
            return Err(TimeseriesError::NotFound(key));
        }
        if change.labels.is_some() {
            let registered = self.index.register(vec![key.clone()]).await;
            registered.map_err(|fault| TimeseriesError::from(fault).applied())?;
        }
        self.describe(key).await.map_err(TimeseriesError::applied)
    }

    /// # Errors
    /// [`TimeseriesError::NotFound`].
    pub(super) async fn describe(&self, key: SeriesKey) -> Result<SeriesView, TimeseriesError> {
        match self.backend.describe(&key).await? {
            Some((kind, description)) => Ok(SeriesView::new(key, kind, description)),
            None => Err(TimeseriesError::NotFound(key)),
        }
    }

    /// Deletes a series and its samples.
    ///
    /// # Errors
    /// [`TimeseriesError::NotFound`].
    pub(super) async fn delete(&self, key: SeriesKey, token: Option<FencingToken>) -> Result<(), TimeseriesError> {
        if !self.backend.delete(&key, token).await? {
            return Err(TimeseriesError::NotFound(key));
        }
        self.index.drop_gone(vec![key]).await.unwrap_or_else(|fault| warn_not_registered(&fault));
        Ok(())
    }

    /// Deletes a window's samples.
    ///
    /// # Errors
    /// `invalid-query`, [`TimeseriesError::NotFound`].
    pub(super) async fn delete_samples(
        &self,
        key: SeriesKey,
        query: &DeletionQuery,
        token: Option<FencingToken>,
    ) -> Result<DeletedSamples, Problem> {
        let window = query.window(self.clock.now()).map_err(Violation::of_query);
        let window = self.known_first(&key, window).await?;
        match self.backend.delete_range(&key, window, token).await.map_err(TimeseriesError::from)? {
            Some(deleted) => Ok(DeletedSamples { deleted }),
            None => Err(TimeseriesError::NotFound(key).into()),
        }
    }

    /// Adds samples to one series, batch by batch in the order of time.
    ///
    /// Sending the same samples again changes nothing under every duplicate policy but `sum`; the body may name one that
    /// holds for this request.
    ///
    /// # Errors
    /// `invalid-body` when there are none or too many, [`TimeseriesError::NotFound`] when the series is not there and
    /// of no family, [`TimeseriesError::Interrupted`] when Redis failed, or the caller lost its lock, in the middle: some
    /// samples may be stored.
    pub(super) async fn append(
        &self,
        key: SeriesKey,
        body: &NewSamples,
        token: Option<FencingToken>,
    ) -> Result<SamplesAnswer, Problem> {
        let NewSamples { samples, on_duplicate } = body;
        self.check_length("samples", samples.len())?;
        let now = self.clock.now();
        let mut rows: Vec<(Sample, usize)> = samples
            .iter()
            .zip(0..)
            .map(|(sample, index)| {
                let timestamp = sample.timestamp.map_or(now, |timestamp| timestamp.0);
                (Sample { timestamp, value: sample.value }, index)
            })
            .collect();
        // Stable: samples of one timestamp keep their order, which the duplicate policies depend on.
        rows.sort_by_key(|(sample, _)| sample.timestamp);
        let answer = self.append_rows(&key, &rows, *on_duplicate, token).await?;
        self.metrics.count(answer.stored, answer.accepted - answer.stored, answer.refused.len());
        Ok(answer)
    }

    /// Whether a list of a request has so many items as it may.
    ///
    /// # Errors
    /// `invalid-body` naming the field.
    pub(super) fn check_length(&self, field: &str, length: usize) -> Result<(), Problem> {
        let max = self.config.request_samples;
        if (1..=max).contains(&length) {
            return Ok(());
        }
        let rule = format!("must have 1 to {max} items; POST /timeseries/samples takes more");
        Err(Problem::body_field(&format!("/{field}"), rule))
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
        for rows in rows.chunks(self.config.batch_samples) {
            let samples: Vec<Sample> = rows.iter().map(|(sample, _)| *sample).collect();
            let mut outcomes = self.backend.append(&[SampleBatch { key, samples: &samples, policy }], token).await;
            let outcome = outcomes.pop().unwrap_or_default();
            answer.accepted += outcome.settled - outcome.refused.len();
            answer.stored += outcome.stored;
            answer.refused.extend(outcome.refused.iter().filter_map(|refused| {
                let (sample, index) = *rows.get(refused.at)?;
                let code = RefusalCode::from(refused.reason);
                Some(SampleRefusal { index, timestamp: sample.timestamp, code, detail: code.detail() })
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
        answer.refused.sort_by_key(|refused| refused.index);
        Ok(answer)
    }

    /// The newest sample.
    ///
    /// # Errors
    /// [`TimeseriesError::NotFound`], [`TimeseriesError::Empty`].
    pub(super) async fn latest(&self, key: SeriesKey) -> Result<SampleView, TimeseriesError> {
        match self.backend.latest(&key).await? {
            None => Err(TimeseriesError::NotFound(key)),
            Some(None) => Err(TimeseriesError::Empty(key)),
            Some(Some(Sample { timestamp, value })) => Ok(SampleView { timestamp, value }),
        }
    }

    /// A page of samples or buckets.
    ///
    /// # Errors
    /// `invalid-query`, [`TimeseriesError::NotFound`], [`TimeseriesError::TooWide`].
    pub(super) async fn range(&self, key: SeriesKey, query: &RangeQuery) -> Result<RangePage, Problem> {
        let plan = self.known_first(&key, self.plan(query).map_err(Violation::of_query)).await?;
        Ok(self.page(key, plan).await?)
    }

    /// A whole window, to be written piece by piece.
    ///
    /// # Errors
    /// `invalid-query`, [`TimeseriesError::NotFound`], [`TimeseriesError::TooWide`].
    pub(super) async fn export(&self, key: SeriesKey, query: &RangeQuery, form: Form) -> Result<Export, Problem> {
        let plan = self.known_first(&key, self.plan(query).map_err(Violation::of_query)).await?;
        let limit = query.limit.unwrap_or(usize::MAX);
        Ok(Export::begin(self.reader.clone(), key, plan, limit, form).await?)
    }

    /// Checks what a range asks.
    ///
    /// # Errors
    /// [`Violation`] naming the parameter.
    pub(super) fn plan(&self, query: &RangeQuery) -> Result<RangePlan, Violation> {
        query.plan(self.clock.now(), self.config.default_points, self.config.max_points)
    }

    /// # Errors
    /// [`TimeseriesError::NotFound`], [`TimeseriesError::TooWide`].
    pub(super) async fn page(&self, key: SeriesKey, plan: RangePlan) -> Result<RangePage, TimeseriesError> {
        self.reader.page(key, plan).await
    }

    /// Whether there is such a series.
    ///
    /// # Errors
    /// A fault of Redis.
    pub(super) async fn is_there(&self, key: &SeriesKey) -> Result<bool, TimeseriesError> {
        Ok(self.backend.describe(key).await?.is_some())
    }

    /// The service's time.
    pub(super) fn now(&self) -> Timestamp {
        Timestamp(self.clock.now())
    }

    /// Ranges of many series.
    ///
    /// # Errors
    /// `invalid-body`, and as [`ManyReader::page`].
    pub(super) async fn query(&self, query: ManyQuery) -> Result<ManyPage, Problem> {
        let plan = query.plan(self.clock.now(), self.config.default_points, self.config.max_points);
        Ok(self.many.page(plan.map_err(Violation::of_body)?).await?)
    }

    /// Ranges of many series, to be written piece by piece.
    ///
    /// # Errors
    /// `invalid-body`, and as [`ManyReader::page`].
    pub(super) async fn export_many(&self, query: ManyQuery, form: Form) -> Result<ManyExport, Problem> {
        let limits = [query.limit, query.series_limit].map(|limit| limit.unwrap_or(usize::MAX));
        let plan = query.plan(self.clock.now(), self.config.default_points, self.config.max_points);
        let plan = plan.map_err(Violation::of_body)?;
        if plan.labels.is_some() {
            return Err(Violation::new("labels", "goes with JSON: lines name their series only").of_body());
        }
        Ok(ManyExport::begin(self.many.clone(), plan, limits, form).await?)
    }

    /// A window's statistics.
    ///
    /// # Errors
    /// `invalid-query`, [`TimeseriesError::NotFound`], [`TimeseriesError::TooWide`].
    pub(super) async fn stats(&self, key: SeriesKey, query: &WindowQuery) -> Result<Stats, Problem> {
        let window = query.window(self.clock.now()).map_err(Violation::of_query);
        let window = self.known_first(&key, window).await?;
        Ok(self.reader.stats(key, window).await?)
    }

    /// A page of series: all of them, or those with the given labels.
    ///
    /// # Errors
    /// `invalid-query`, or a fault of Redis.
    pub(super) async fn list(&self, query: &ListQuery) -> Result<Page<SeriesEntry>, Problem> {
        let limit = query.checked_limit().map_err(Violation::of_query)?;
        let filter = query.label_filter().map_err(Violation::of_query)?;
        let (prefix, cursor) = (query.prefix.as_deref().unwrap_or_default(), query.cursor.as_deref());
        Ok(match filter {
            Some(filter) => self.index.page_by_label(&filter, prefix, cursor, limit).await?,
            None => self.index.page(prefix, cursor, limit).await?,
        })
    }

    /// Parameters that do not fit together are told only about a series that is there: of two mistakes, a wrong key is
    /// the one to mend first.
    async fn known_first<T>(&self, key: &SeriesKey, checked: Result<T, Problem>) -> Result<T, Problem> {
        if checked.is_err() && !self.is_there(key).await? {
            return Err(TimeseriesError::NotFound(key.clone()).into());
        }
        checked
    }
}
