//! The bodies and answers of the routes for the platform's own series.

use serde::{Deserialize, Deserializer, Serialize, de};
use utoipa::ToSchema;

use super::super::model::{RefusalCode, Timestamp, present};
use super::super::series::SeriesKey;
use crate::http::batch_item::BatchItem;
use crate::http::integer;

/// A number that is not negative.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::features::timeseries) struct Quantity(pub f64);

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = integer::float(deserializer)?;
        if number >= 0.0 {
            Ok(Self(number))
        } else {
            Err(de::Error::custom(format!("must be at least 0, got {number}")))
        }
    }
}

/// The energy of a meter since its previous reading.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = MeterReadingInput)]
pub(in crate::features::timeseries) struct NewReading {
    /// Unix milliseconds, or text in RFC 3339; the current time of the service if absent.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = i64, required = false, minimum = 0, maximum = 9_007_199_254_740_991_i64)]
    pub timestamp: Option<Timestamp>,
    /// Energy in kWh.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = f64, required = false, minimum = 0, example = 0.392)]
    pub energy_generated: Option<Quantity>,
    /// Energy in kWh.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = f64, required = false, minimum = 0, example = 0.578)]
    pub energy_consumed: Option<Quantity>,
}

/// Readings of one meter.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"readings": [{"energy_generated": 0.392, "energy_consumed": 0.578}]}))]
#[schema(as = MeterReadingsInput)]
pub(in crate::features::timeseries) struct NewReadings {
    /// Each reading must have at least one of `energy_generated` and `energy_consumed`.
    #[schema(value_type = Vec<NewReading>, min_items = 1, max_items = 10_000)]
    pub readings: Vec<BatchItem<NewReading>>,
}

/// A price, and the volume that was traded at it.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = MarketPriceInput)]
pub(in crate::features::timeseries) struct NewPrice {
    /// Unix milliseconds, or text in RFC 3339; the current time of the service if absent.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = i64, required = false, minimum = 0, maximum = 9_007_199_254_740_991_i64)]
    pub timestamp: Option<Timestamp>,
    #[serde(deserialize_with = "integer::float")]
    #[schema(example = 4.25)]
    pub price: f64,
    /// The volume traded at this price and time, in units of the symbol.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = f64, required = false, minimum = 0, example = 12.5)]
    pub volume: Option<Quantity>,
}

/// Prices of one symbol.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"prices": [{"price": 4.25, "volume": 12.5}]}))]
#[schema(as = MarketPricesInput)]
pub(in crate::features::timeseries) struct NewPrices {
    #[schema(value_type = Vec<NewPrice>, min_items = 1, max_items = 10_000)]
    pub prices: Vec<BatchItem<NewPrice>>,
}

/// A sample that was refused.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SeriesWriteRefusal)]
pub(in crate::features::timeseries) struct WriteRefusal {
    /// The position in the list of the request, from 0.
    pub index: usize,
    /// Absent if the item is not valid.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub series: Option<SeriesKey>,
    pub code: RefusalCode,
    pub detail: String,
}

/// The result of a write to several series. A reading or a price can have two samples.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SeriesWriteAnswer)]
pub(in crate::features::timeseries) struct WriteAnswer {
    /// Samples that are stored, or that the duplicate policy of their series resolved.
    pub accepted: u64,
    /// The accepted samples that changed their series; the others were already stored.
    pub stored: u64,
    pub refused_total: u64,
    /// The first refused samples, at most 1,000.
    pub refused: Vec<WriteRefusal>,
}
