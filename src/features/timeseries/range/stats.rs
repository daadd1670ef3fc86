//! Statistics of a window.

use serde::Serialize;
use utoipa::ToSchema;

use super::super::aggregate::{Percentile, Summary};
use super::super::error::TimeseriesError;
use super::super::series::{Sample, SeriesKey};
use super::super::window::{Order, Window};
use super::filter::SampleFilter;
use super::scan::Budget;
use super::scan::{Ended, Scan};
use super::{PERCENTILE_SAMPLES, RangeReader};
use crate::clock::UnixMillis;

/// Statistics of a window. Values are null if there are no samples, and sums if they overflow.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SeriesStats)]
pub(in crate::features::timeseries) struct Stats {
    #[schema(value_type = String)]
    pub key: SeriesKey,
    /// The start of the window in Unix milliseconds, inclusive; `to` is its inclusive end.
    #[schema(value_type = i64)]
    pub from: UnixMillis,
    #[schema(value_type = i64)]
    pub to: UnixMillis,
    pub count: u64,
    #[schema(required = true)]
    pub sum: Option<f64>,
    #[schema(required = true)]
    pub min: Option<f64>,
    #[schema(required = true)]
    pub max: Option<f64>,
    #[schema(required = true)]
    pub avg: Option<f64>,
    /// The population standard deviation.
    #[schema(required = true)]
    pub std_dev: Option<f64>,
    /// The value of the oldest sample; `last` is the value of the newest.
    #[schema(required = true)]
    pub first: Option<f64>,
    #[schema(required = true)]
    pub last: Option<f64>,
    #[schema(value_type = Option<i64>, required = true)]
    pub first_timestamp: Option<UnixMillis>,
    #[schema(value_type = Option<i64>, required = true)]
    pub last_timestamp: Option<UnixMillis>,
    /// Null also if the window has more than 2,200,000 samples.
    #[schema(required = true)]
    pub percentiles: Option<Percentiles>,
}

/// Exact percentiles, interpolated linearly between two ranks.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SeriesPercentiles)]
pub(in crate::features::timeseries) struct Percentiles {
    pub p50: f64,
    pub p90: f64,
    pub p95: f64,
    pub p99: f64,
}

impl Percentiles {
    /// The percentiles of values; `None` if there are none.
    fn of(values: &mut [f64]) -> Option<Self> {
        let mut of = |thousandths| Percentile::of_thousandths(thousandths).of(values);
        Some(Self { p50: of(50_000)?, p90: of(90_000)?, p95: of(95_000)?, p99: of(99_000)? })
    }
}

impl RangeReader {
    /// # Errors
    /// [`TimeseriesError::NotFound`], [`TimeseriesError::TooWide`].
    pub(in crate::features::timeseries) async fn stats(
        &self,
        key: SeriesKey,
        window: Window,
    ) -> Result<Stats, TimeseriesError> {
        let open = SampleFilter::new(None, None, None);
        let budget = Budget::of_request();
        let scan = Scan::new(&self.backend, &key, &open, &budget);
        let (mut count, mut summary) = (0, Summary::default());
        let (mut first, mut last): (Option<Sample>, Option<Sample>) = (None, None);
        let mut values = Some(Vec::new());
        let take = |samples: &[Sample]| {
            for sample in samples {
                summary.add(sample.value);
            }
            count += samples.len();
            first = first.or(samples.first().copied());
            last = samples.last().copied().or(last);
            if count > PERCENTILE_SAMPLES {
                values = None;
            } else if let Some(values) = &mut values {
                values.extend(samples.iter().map(|sample| sample.value));
            }
            true
        };
        if let Ended::Spent(_) = scan.read(window, Order::Asc, usize::MAX, take).await? {
            return Err(scan.too_wide());
        }
        let known = |number: f64| first.map(|_| number);
        Ok(Stats {
            from: window.from,
            to: window.to,
            count: summary.count,
            sum: known(summary.sum.value()),
            min: known(summary.extent.min),
            max: known(summary.extent.max),
            avg: known(summary.mean()),
            std_dev: known(summary.moments.var_p().sqrt()),
            first: first.map(|sample| sample.value),
            last: last.map(|sample| sample.value),
            first_timestamp: first.map(|sample| sample.timestamp),
            last_timestamp: last.map(|sample| sample.timestamp),
            percentiles: values.and_then(|mut values| Percentiles::of(&mut values)),
            key,
        })
    }
}
