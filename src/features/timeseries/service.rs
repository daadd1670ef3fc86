//! The operations on series that the routes offer.

use std::ops::Deref;
use std::sync::Arc;

use super::backend::Store;
#[cfg(feature = "promql")]
use super::config::PromConfig;
use super::config::TimeseriesConfig;
use super::error::{TimeseriesError, Violation};
use super::export::Export;
use super::families::Families;
use super::index::{SeriesIndex, warn_not_registered};
use super::ingest::Ingest;
use super::metrics::TimeseriesMetrics;
use super::model::{Alteration, Creation, DeletedSamples, SampleView, SeriesEntry, SeriesView};
#[cfg(feature = "promql")]
use super::prom::PromService;
use super::query::{DeletionQuery, ListQuery, ManyQuery, RangeQuery, WindowQuery};
use super::range::{RangePage, RangePlan, RangeReader, Stats};
use super::rollup::{RollupFiller, Rollups};
use super::scripts::LatestSample;
use super::series::{Definition, Sample, SeriesKey};
use crate::clock::Clock;
use crate::deps::Deps;
use crate::features::timeseries::multi::{ManyExport, ManyPage, ManyReader};
use crate::http::negotiation::Form;
use crate::http::reply::Page;
#[cfg(feature = "promql")]
use crate::lifecycle::offload::Offload;
use crate::redis::FencingToken;

/// Every request gets a clone, which increments one reference count.
#[derive(Clone, Debug)]
pub(super) struct TimeseriesService(Arc<Inner>);

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) backend: Store,
    reader: RangeReader,
    many: ManyReader,
    pub(super) index: SeriesIndex,
    rollups: Rollups,
    families: Arc<Families>,
    request_samples: usize,
    max_points: usize,
    pub(super) metrics: TimeseriesMetrics,
    pub(super) clock: Clock,
}

impl Deref for TimeseriesService {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl TimeseriesService {
    pub(super) fn new(deps: &Deps, config: &TimeseriesConfig) -> Self {
        let families = Arc::new(Families::new(config));
        let metrics = TimeseriesMetrics::new(&deps.metrics);
        let (redis, clock) = (deps.redis.state.clone(), deps.clock.clone());
        let backend = Store::new(redis.clone(), clock.clone(), Arc::clone(&families), metrics.clone(), config.backend);
        backend.plan(&deps.tasks, &deps.component_health);
        RollupFiller::new(backend.clone()).plan(&deps.tasks);
        let (reader, index) =
            (RangeReader::new(backend.clone(), config.max_points), SeriesIndex::new(redis, backend.clone()));
        Self(Arc::new(Inner {
            many: ManyReader::new(reader.clone(), index.clone(), config.max_points),
            rollups: Rollups::new(backend.clone()),
            reader,
            index,
            backend,
            families,
            request_samples: config.request_samples,
            max_points: config.max_points,
            metrics,
            clock,
        }))
    }

    /// The rollups of series.
    pub(super) fn rollups(&self) -> &Rollups {
        &self.rollups
    }

    /// Prometheus queries over the same series.
    #[cfg(feature = "promql")]
    pub(super) fn prom(&self, config: PromConfig, offload: Offload) -> PromService {
        PromService::new(self.reader.clone(), self.index.clone(), config, self.clock.clone(), offload)
    }

    /// The import of a stream of samples for several series.
    pub(super) fn ingest(&self, token: Option<FencingToken>) -> Ingest {
        Ingest::new(token, self.backend.clone(), self.index.clone(), self.metrics.clone(), self.clock.clone())
    }

    /// Creates a series. Returns whether it is new, and its description.
    ///
    /// # Errors
    /// [`TimeseriesError::Exists`] if it exists with another definition.
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
            labels: creation.labels.unwrap_or(defaults.labels),
        };
        let Some(is_new) = self.backend.create(&key, &definition, token).await? else {
            return Err(TimeseriesError::Exists(key));
        };
        let registered = self.index.register(vec![key.clone()]).await;
        registered.map_err(|fault| TimeseriesError::from(fault).applied())?;
        let view = self.describe(key).await.map_err(TimeseriesError::applied)?;
        Ok((is_new, view))
    }

    /// Changes a definition. A shorter retention hides old samples immediately.
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

    /// Describes a series.
    ///
    /// # Errors
    /// [`TimeseriesError::NotFound`].
    pub(super) async fn describe(&self, key: SeriesKey) -> Result<SeriesView, TimeseriesError> {
        let keys = self.backend.keys(&key).await?;
        match self.backend.describe(&keys).await? {
            Some(description) => Ok(SeriesView::new(key, keys.layout, description)),
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
        self.index.remove_missing(vec![key]).await.unwrap_or_else(|fault| warn_not_registered(&fault));
        Ok(())
    }

    /// Forgets the tokens that a series has seen; `by` is the client's name.
    ///
    /// # Errors
    /// [`TimeseriesError::Redis`].
    pub(super) async fn reset_fence(&self, key: &SeriesKey, by: &str) -> Result<(), TimeseriesError> {
        Ok(self.backend.reset_fence(key, by).await?)
    }

    /// Deletes the samples of a window.
    ///
    /// # Errors
    /// [`TimeseriesError::InvalidQuery`], [`TimeseriesError::NotFound`].
    pub(super) async fn delete_samples(
        &self,
        key: SeriesKey,
        query: &DeletionQuery,
        token: Option<FencingToken>,
    ) -> Result<DeletedSamples, TimeseriesError> {
        let window = query.window(self.clock.now()).map_err(TimeseriesError::InvalidQuery);
        let window = self.known_first(&key, window).await?;
        match self.backend.delete_range(&key, window, token).await? {
            Some(deleted) => Ok(DeletedSamples { deleted }),
            None => Err(TimeseriesError::NotFound(key)),
        }
    }

    /// Checks the number of items in a list of a request.
    ///
    /// # Errors
    /// [`TimeseriesError::InvalidBody`].
    pub(super) fn check_length(&self, field: &'static str, length: usize) -> Result<(), TimeseriesError> {
        let max = self.request_samples;
        if (1..=max).contains(&length) {
            return Ok(());
        }
        let rule = format!("must have 1 to {max} items, got {length}; POST /timeseries/samples accepts more");
        Err(TimeseriesError::InvalidBody(Violation::new(field, rule)))
    }

    /// Reads the newest sample.
    ///
    /// # Errors
    /// [`TimeseriesError::NotFound`], [`TimeseriesError::Empty`].
    pub(super) async fn latest(&self, key: SeriesKey) -> Result<SampleView, TimeseriesError> {
        match self.backend.latest(&self.backend.keys(&key).await?).await? {
            LatestSample::NoSeries => Err(TimeseriesError::NotFound(key)),
            LatestSample::Empty => Err(TimeseriesError::Empty(key)),
            LatestSample::Found(Sample { timestamp, value }) => Ok(SampleView { timestamp, value }),
        }
    }

    /// Reads a page of samples or buckets.
    ///
    /// # Errors
    /// [`TimeseriesError::InvalidQuery`], [`TimeseriesError::NotFound`], [`TimeseriesError::TooWide`].
    pub(super) async fn range(&self, key: SeriesKey, query: &RangeQuery) -> Result<RangePage, TimeseriesError> {
        let plan = self.known_first(&key, self.plan(query).map_err(TimeseriesError::InvalidQuery)).await?;
        self.page(key, plan).await
    }

    /// Begins the export of a window.
    ///
    /// # Errors
    /// [`TimeseriesError::InvalidQuery`], [`TimeseriesError::NotFound`], [`TimeseriesError::TooWide`].
    pub(super) async fn export(
        &self,
        key: SeriesKey,
        query: &RangeQuery,
        form: Form,
    ) -> Result<Export, TimeseriesError> {
        let plan = self.known_first(&key, self.plan(query).map_err(TimeseriesError::InvalidQuery)).await?;
        let limit = query.limit.unwrap_or(usize::MAX);
        Export::begin(self.reader.clone(), key, plan, limit, form).await
    }

    /// Checks the parameters of a range.
    ///
    /// # Errors
    /// [`Violation`], which names the parameter.
    pub(super) fn plan(&self, query: &RangeQuery) -> Result<RangePlan, Violation> {
        query.plan(self.clock.now(), self.max_points)
    }

    /// Reads the page of a checked range.
    ///
    /// # Errors
    /// [`TimeseriesError::NotFound`], [`TimeseriesError::TooWide`].
    pub(super) async fn page(&self, key: SeriesKey, plan: RangePlan) -> Result<RangePage, TimeseriesError> {
        self.reader.page(key, plan).await
    }

    /// Whether the series exists.
    ///
    /// # Errors
    /// [`TimeseriesError::Redis`].
    pub(super) async fn is_there(&self, key: &SeriesKey) -> Result<bool, TimeseriesError> {
        Ok(self.backend.describe(&self.backend.keys(key).await?).await?.is_some())
    }

    /// Reads a page of ranges of several series.
    ///
    /// # Errors
    /// [`TimeseriesError::InvalidBody`], and the errors of [`ManyReader::page`].
    pub(super) async fn query(&self, query: ManyQuery) -> Result<ManyPage, TimeseriesError> {
        let plan = query.plan(self.clock.now(), self.max_points);
        self.many.page(plan.map_err(TimeseriesError::InvalidBody)?).await
    }

    /// Begins the export of ranges of several series.
    ///
    /// # Errors
    /// [`TimeseriesError::InvalidBody`], and the errors of [`ManyReader::page`].
    pub(super) async fn export_many(&self, query: ManyQuery, form: Form) -> Result<ManyExport, TimeseriesError> {
        let limits = [query.limit, query.series_limit].map(|limit| limit.unwrap_or(usize::MAX));
        let plan = query.plan(self.clock.now(), self.max_points);
        let plan = plan.map_err(TimeseriesError::InvalidBody)?;
        if plan.labels.is_some() {
            let violation = Violation::new("labels", "is only possible with JSON: lines name their series only");
            return Err(TimeseriesError::InvalidBody(violation));
        }
        ManyExport::begin(self.many.clone(), plan, limits, form).await
    }

    /// Computes the statistics of a window.
    ///
    /// # Errors
    /// [`TimeseriesError::InvalidQuery`], [`TimeseriesError::NotFound`], [`TimeseriesError::TooWide`].
    pub(super) async fn stats(&self, key: SeriesKey, query: &WindowQuery) -> Result<Stats, TimeseriesError> {
        let window = query.window(self.clock.now()).map_err(TimeseriesError::InvalidQuery);
        let window = self.known_first(&key, window).await?;
        self.reader.stats(key, window).await
    }

    /// Reads a page of the index: all series, or those with the given labels.
    ///
    /// # Errors
    /// [`TimeseriesError::InvalidQuery`], [`TimeseriesError::Redis`].
    pub(super) async fn list(&self, query: &ListQuery) -> Result<Page<SeriesEntry>, TimeseriesError> {
        let limit = query.checked_limit().map_err(TimeseriesError::InvalidQuery)?;
        let filter = query.label_filter().map_err(TimeseriesError::InvalidQuery)?;
        let (prefix, cursor) = (query.prefix.as_deref().unwrap_or_default(), query.cursor.as_deref());
        Ok(match filter {
            Some(filter) => self.index.page_by_label(&filter, prefix, cursor, limit).await?,
            None => self.index.page(prefix, cursor, limit).await?,
        })
    }

    /// Reports an unknown series before invalid parameters: of two mistakes, the wrong key is the one to fix first.
    async fn known_first<T>(&self, key: &SeriesKey, checked: Result<T, TimeseriesError>) -> Result<T, TimeseriesError> {
        if checked.is_err() && !self.is_there(key).await? {
            return Err(TimeseriesError::NotFound(key.clone()));
        }
        checked
    }
}
