//! The platform's own series, by the names that its services use: meter readings, prices, market volume and
//! settlements. The configuration defines each of them as a family.

pub(super) mod model;

use serde::Deserialize;
use utoipa::ToSchema;

use super::aggregate::Aggregation;
use super::error::{TimeseriesError, Violation};
use super::model::{NewSeriesSample, StreamAnswer};
use super::query::RangeQuery;
use super::range::RangePage;
use super::series::SeriesKey;
use super::service::TimeseriesService;
use crate::http::batch_item::BatchItem;
use crate::redis::FencingToken;
use model::{NewPrice, NewReading, Quantity, WriteAnswer, WriteRefusal};

/// Generated or consumed energy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(title = "EnergyKind")]
pub(super) enum Energy {
    Generation,
    Consumption,
}

impl Energy {
    /// The key of the series: `energy:generation:<meter>` or `energy:consumption:<meter>`.
    fn series(self, meter: &str) -> Result<SeriesKey, TimeseriesError> {
        match self {
            Self::Generation => named("id", "energy:generation:", meter),
            Self::Consumption => named("id", "energy:consumption:", meter),
        }
    }
}

/// The keys of a symbol's prices and volumes: `market:price:<symbol>` and `market:volume:<symbol>`.
fn market(symbol: &str) -> Result<(SeriesKey, SeriesKey), TimeseriesError> {
    Ok((named("symbol", "market:price:", symbol)?, named("symbol", "market:volume:", symbol)?))
}

/// The key of the volume of the whole market: `trading:volume:daily`.
pub(super) fn market_volume() -> Result<SeriesKey, TimeseriesError> {
    named("", "trading:volume:daily", "")
}

/// The key of settlements: `settlement:<type>`.
pub(super) fn settlement(kind: &str) -> Result<SeriesKey, TimeseriesError> {
    named("type", "settlement:", kind)
}

/// Builds a key from a prefix and a path parameter.
fn named(parameter: &'static str, prefix: &str, name: &str) -> Result<SeriesKey, TimeseriesError> {
    SeriesKey::new(&format!("{prefix}{name}"))
        .map_err(|rule| TimeseriesError::InvalidPath(Violation::new(parameter, rule)))
}

impl TimeseriesService {
    /// Stores readings of a meter.
    ///
    /// # Errors
    /// [`TimeseriesError::InvalidPath`]; [`TimeseriesError::InvalidBody`] if there are no readings or too many; the
    /// errors of a load.
    pub(super) async fn write_readings(
        &self,
        meter: &str,
        readings: Vec<BatchItem<NewReading>>,
        token: Option<FencingToken>,
    ) -> Result<WriteAnswer, TimeseriesError> {
        let generation = Energy::Generation.series(meter)?.to_string();
        let consumption = Energy::Consumption.series(meter)?.to_string();
        self.check_length("readings", readings.len())?;
        let mut samples = Vec::new();
        for (index, item) in readings.into_iter().enumerate() {
            let NewReading { timestamp, energy_generated, energy_consumed } = match item {
                BatchItem::Valid(reading) => reading,
                BatchItem::Invalid { key, problem } => {
                    samples.push((index, BatchItem::Invalid { key, problem }));
                    continue;
                }
            };
            for (series, energy) in [(&generation, energy_generated), (&consumption, energy_consumed)] {
                if let Some(Quantity(value)) = energy {
                    let sample = NewSeriesSample { series: series.clone(), timestamp, value };
                    samples.push((index, BatchItem::Valid(sample)));
                }
            }
        }
        self.write_items(samples, token).await
    }

    /// Reads one or both kinds of energy of a meter: the page of each requested kind, `None` if the meter has no such
    /// series.
    ///
    /// # Errors
    /// [`TimeseriesError::InvalidPath`]; [`TimeseriesError::NotFound`] if the meter has no series of the requested
    /// kind; the errors of [`TimeseriesService::range`].
    pub(super) async fn readings(
        &self,
        meter: &str,
        energy: Option<Energy>,
        query: &RangeQuery,
    ) -> Result<Vec<(Energy, Option<RangePage>)>, TimeseriesError> {
        if energy.is_none() && query.cursor.is_some() {
            let rule = "must not be sent without `kind`: each kind of energy has separate pages";
            return Err(TimeseriesError::InvalidQuery(Violation::new("cursor", rule)));
        }
        let plan = self.plan(query).map_err(TimeseriesError::InvalidQuery)?;
        let requested = energy.map_or_else(|| vec![Energy::Generation, Energy::Consumption], |energy| vec![energy]);
        let mut pages = Vec::with_capacity(requested.len());
        for energy in requested {
            let page = match self.page(energy.series(meter)?, plan.clone()).await {
                Err(TimeseriesError::NotFound(_)) => None,
                page => Some(page?),
            };
            pages.push((energy, page));
        }
        if pages.iter().all(|(_, page)| page.is_none()) {
            let key = energy.unwrap_or(Energy::Generation).series(meter)?;
            return Err(TimeseriesError::NotFound(key));
        }
        Ok(pages)
    }

    /// Stores prices and the volumes that were traded at them.
    ///
    /// # Errors
    /// [`TimeseriesError::InvalidPath`]; [`TimeseriesError::InvalidBody`] if there are no prices or too many; the
    /// errors of a load.
    pub(super) async fn write_prices(
        &self,
        symbol: &str,
        prices: Vec<BatchItem<NewPrice>>,
        token: Option<FencingToken>,
    ) -> Result<WriteAnswer, TimeseriesError> {
        let (price, volume) = market(symbol)?;
        self.check_length("prices", prices.len())?;
        let mut samples = Vec::new();
        for (index, item) in prices.into_iter().enumerate() {
            let new = match item {
                BatchItem::Valid(price) => price,
                BatchItem::Invalid { key, problem } => {
                    samples.push((index, BatchItem::Invalid { key, problem }));
                    continue;
                }
            };
            let timestamp = new.timestamp;
            let of = |series: &SeriesKey, value| NewSeriesSample { series: series.to_string(), timestamp, value };
            samples.push((index, BatchItem::Valid(of(&price, new.price))));
            if let Some(Quantity(value)) = new.volume {
                samples.push((index, BatchItem::Valid(of(&volume, value))));
            }
        }
        self.write_items(samples, token).await
    }

    /// Reads prices. Candles have the symbol's own volumes, unless the query names another series.
    ///
    /// # Errors
    /// [`TimeseriesError::InvalidPath`], and the errors of [`TimeseriesService::range`].
    pub(super) async fn prices(&self, symbol: &str, mut query: RangeQuery) -> Result<RangePage, TimeseriesError> {
        let (price, volume) = market(symbol)?;
        if query.agg == Some(Aggregation::Ohlcv) && query.volume_key.is_none() && self.is_there(&volume).await? {
            query.volume_key = Some(volume);
        }
        self.range(price, &query).await
    }

    /// Stores samples, each of which has the index of its item in the request.
    async fn write_items(
        &self,
        samples: Vec<(usize, BatchItem<NewSeriesSample>)>,
        token: Option<FencingToken>,
    ) -> Result<WriteAnswer, TimeseriesError> {
        let (indexes, samples): (Vec<usize>, Vec<BatchItem<NewSeriesSample>>) = samples.into_iter().unzip();
        let StreamAnswer { accepted, stored, refused_total, refused, .. } = self.ingest(token).samples(samples).await?;
        let refused = refused.into_iter().filter_map(|refused| {
            let line = usize::try_from(refused.line).ok()?.checked_sub(1)?;
            let index = *indexes.get(line)?;
            Some(WriteRefusal { index, series: refused.series, code: refused.code, detail: refused.detail })
        });
        Ok(WriteAnswer { accepted, stored, refused_total, refused: refused.collect() })
    }
}
