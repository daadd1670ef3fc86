//! The platform's own series, by the names that its services use: meter readings, prices, market volume and
//! settlements. The configuration defines each of them as a family.

pub(super) mod model;

use serde::Deserialize;
use utoipa::ToSchema;

use super::aggregate::Aggregation;
use super::error::TimeseriesError;
use super::model::{NewSeriesSample, StreamAnswer, Timestamp};
use super::query::{RangeQuery, Violation};
use super::range::{RangePage, RangePlan};
use super::series::SeriesKey;
use super::service::TimeseriesService;
use crate::http::problem::Problem;
use crate::redis::FencingToken;
use model::{NewPrice, NewReading, Quantity, WriteAnswer, WriteRefusal};

/// Generated or consumed energy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Energy {
    Generation,
    Consumption,
}

impl Energy {
    /// The key of the series: `energy:generation:<meter>` or `energy:consumption:<meter>`.
    fn series(self, meter: &str) -> Result<SeriesKey, Problem> {
        match self {
            Self::Generation => named("id", "energy:generation:", meter),
            Self::Consumption => named("id", "energy:consumption:", meter),
        }
    }
}

/// The key of a symbol's prices: `market:price:<symbol>`.
fn price(symbol: &str) -> Result<SeriesKey, Problem> {
    named("symbol", "market:price:", symbol)
}

/// The key of a symbol's volumes: `market:volume:<symbol>`.
fn volume(symbol: &str) -> Result<SeriesKey, Problem> {
    named("symbol", "market:volume:", symbol)
}

/// The key of the volume of the whole market: `trading:volume:daily`.
pub(super) fn market_volume() -> Result<SeriesKey, Problem> {
    named("", "trading:volume:daily", "")
}

/// The key of settlements: `settlement:<type>`.
pub(super) fn settlement(kind: &str) -> Result<SeriesKey, Problem> {
    named("type", "settlement:", kind)
}

/// Builds a key from a prefix and a path parameter.
fn named(parameter: &str, prefix: &str, name: &str) -> Result<SeriesKey, Problem> {
    SeriesKey::new(&format!("{prefix}{name}")).map_err(|rule| Problem::path_segment(parameter, rule))
}

/// The readings of a meter. A kind of energy is absent if it was not requested, and `None` if the meter has no such
/// series.
#[derive(Debug)]
pub(super) struct Readings {
    pub meter: String,
    pub energies: Vec<(Energy, Option<RangePage>)>,
}

impl TimeseriesService {
    /// Stores readings of a meter.
    ///
    /// # Errors
    /// `invalid-path`; `invalid-body` if there are no readings or too many, or if a reading has no energy; the errors
    /// of a load.
    pub(super) async fn write_readings(
        &self,
        meter: &str,
        readings: &[NewReading],
        token: Option<FencingToken>,
    ) -> Result<WriteAnswer, Problem> {
        let (generation, consumption) = (Energy::Generation.series(meter)?, Energy::Consumption.series(meter)?);
        self.check_length("readings", readings.len())?;
        let mut samples = Samples::new(self.now());
        for (index, reading) in readings.iter().enumerate() {
            let NewReading { timestamp, energy_generated, energy_consumed } = *reading;
            if energy_generated.is_none() && energy_consumed.is_none() {
                let rule = "must have `energy_generated` or `energy_consumed`";
                return Err(Problem::body_field(&format!("/readings/{index}"), rule));
            }
            samples.add(index, &generation, timestamp, energy_generated);
            samples.add(index, &consumption, timestamp, energy_consumed);
        }
        samples.write(self, token).await
    }

    /// Reads one or both kinds of energy of a meter.
    ///
    /// # Errors
    /// `invalid-path`; `invalid-query`; [`TimeseriesError::NotFound`] if the meter has no series of the requested kind;
    /// the errors of [`TimeseriesService::range`].
    pub(super) async fn readings(
        &self,
        meter: String,
        energy: Option<Energy>,
        query: &RangeQuery,
    ) -> Result<Readings, Problem> {
        if energy.is_none() && query.cursor.is_some() {
            let rule = "must not be sent without `kind`: each kind of energy has separate pages";
            return Err(Violation::new("cursor", rule).of_query());
        }
        let plan = self.plan(query).map_err(Violation::of_query)?;
        let requested = energy.map_or_else(|| vec![Energy::Generation, Energy::Consumption], |energy| vec![energy]);
        let mut energies = Vec::with_capacity(requested.len());
        for energy in requested {
            energies.push((energy, self.page_if_there(energy.series(&meter)?, plan.clone()).await?));
        }
        if energies.iter().all(|(_, page)| page.is_none()) {
            let key = energy.unwrap_or(Energy::Generation).series(&meter)?;
            return Err(TimeseriesError::NotFound(key).into());
        }
        Ok(Readings { meter, energies })
    }

    /// Stores prices and the volumes that were traded at them.
    ///
    /// # Errors
    /// `invalid-path`; `invalid-body` if there are no prices or too many; the errors of a load.
    pub(super) async fn write_prices(
        &self,
        symbol: &str,
        prices: &[NewPrice],
        token: Option<FencingToken>,
    ) -> Result<WriteAnswer, Problem> {
        let (price, volume) = (price(symbol)?, volume(symbol)?);
        self.check_length("prices", prices.len())?;
        let mut samples = Samples::new(self.now());
        for (index, new) in prices.iter().enumerate() {
            samples.add(index, &price, new.timestamp, Some(Quantity(new.price)));
            samples.add(index, &volume, new.timestamp, new.volume);
        }
        samples.write(self, token).await
    }

    /// Reads prices. Candles have the symbol's own volumes, unless the query names another series.
    ///
    /// # Errors
    /// `invalid-path`, and the errors of [`TimeseriesService::range`].
    pub(super) async fn prices(&self, symbol: &str, mut query: RangeQuery) -> Result<RangePage, Problem> {
        let (price, volume) = (price(symbol)?, volume(symbol)?);
        if query.agg == Some(Aggregation::Ohlcv) && query.volume_key.is_none() && self.is_there(&volume).await? {
            query.volume_key = Some(volume);
        }
        Ok(self.range(price, &query).await?)
    }

    async fn page_if_there(&self, key: SeriesKey, plan: RangePlan) -> Result<Option<RangePage>, TimeseriesError> {
        match self.page(key, plan).await {
            Err(TimeseriesError::NotFound(_)) => Ok(None),
            page => page.map(Some),
        }
    }
}

/// Samples of several series, each with the index of its item in the request.
#[derive(Debug)]
struct Samples {
    now: Timestamp,
    list: Vec<NewSeriesSample>,
    indexes: Vec<usize>,
}

impl Samples {
    fn new(now: Timestamp) -> Self {
        Self { now, list: Vec::new(), indexes: Vec::new() }
    }

    fn add(&mut self, index: usize, series: &SeriesKey, timestamp: Option<Timestamp>, value: Option<Quantity>) {
        if let Some(Quantity(value)) = value {
            // All items of a request without a timestamp get the same one.
            let timestamp = Some(timestamp.unwrap_or(self.now));
            self.list.push(NewSeriesSample { series: series.to_string(), timestamp, value });
            self.indexes.push(index);
        }
    }

    async fn write(self, service: &TimeseriesService, token: Option<FencingToken>) -> Result<WriteAnswer, Problem> {
        let StreamAnswer { accepted, stored, refused_total, refused } =
            service.ingest(token).samples(self.list).await?;
        let refused = refused.into_iter().filter_map(|refused| {
            let line = usize::try_from(refused.line).ok()?.checked_sub(1)?;
            let index = *self.indexes.get(line)?;
            Some(WriteRefusal { index, series: refused.series?, code: refused.code, detail: refused.detail })
        });
        Ok(WriteAnswer { accepted, stored, refused_total, refused: refused.collect() })
    }
}
