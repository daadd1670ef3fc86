//! Whether a host's newest value is outside the usual band of its hour of day.
//!
//! The band is computed from the same hour (UTC) of the last 28 days: from the median of the hourly minima to the median
//! of the hourly maxima, widened on each side by 4 robust standard deviations of these minima or maxima. A robust standard
//! deviation is the median absolute deviation times 1.4826. Medians keep an unusual day from widening the band.
//!
//! Source: C. Leys, C. Ley, O. Klein, P. Bernard, L. Licata, "Detecting outliers: Do not use standard deviation around the
//! mean, use absolute deviation around the median", Journal of Experimental Social Psychology 49 (2013).

use serde::Serialize;
use utoipa::ToSchema;

use super::super::error::HostsError;
use super::super::model::{HostId, Latest};
use super::super::read::summary::Bucket;
use super::super::service::HostService;
use super::super::store::chunk::{DAY, hour_of};
use super::super::store::rollup::Summary;
use super::super::tenancy::AccessScope;
use super::gauge::Gauge;
use crate::clock::UnixMillis;

/// Days of history: four weeks, so that every weekday counts equally.
const DAYS: i64 = 28;

/// Days that need samples in the hour: a week, below which a median says little.
const LEAST_DAYS: usize = 7;

/// The margin of the band in robust standard deviations. Only rare values shall be flagged, so it is above the 3 that the
/// source calls very conservative.
const WIDTH: f64 = 4.0;

/// The ratio of the standard deviation to the median absolute deviation of normally distributed values.
const NORMAL: f64 = 1.4826;

/// The assessment of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = HostAnomalyVerdict)]
pub(in super::super) enum AnomalyVerdict {
    Usual,
    /// Above the band.
    High,
    /// Below the band.
    Low,
    /// Too few days have samples in this hour.
    NotEnoughHistory,
}

/// The usual values, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = HostAnomalyBand)]
pub(in super::super) struct Band {
    #[schema(example = 8.5)]
    pub lower: f64,
    #[schema(example = 63.0)]
    pub upper: f64,
}

/// A host's newest value and the usual band of its hour.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = HostAnomaly)]
pub(in super::super) struct AnomalyAnswer {
    #[schema(value_type = String, example = "web-1")]
    pub host: HostId,
    #[schema(value_type = String, example = "cpu.usage")]
    pub field: Gauge,
    /// The timestamp of the newest sample, Unix milliseconds.
    #[schema(example = 1_767_225_600_000_u64)]
    pub timestamp: UnixMillis,
    #[schema(example = 37.5)]
    pub value: f64,
    pub verdict: AnomalyVerdict,
    /// Null if there is not enough history.
    #[schema(required = true)]
    pub band: Option<Band>,
    /// The number of hours that the band is computed from.
    #[schema(example = 28)]
    pub hours: usize,
    /// The number of hours that are needed.
    #[schema(example = 7)]
    pub needed: usize,
}

impl HostService {
    /// Compares the newest value of a field with its usual band.
    ///
    /// # Errors
    /// [`HostsError::NotFound`], [`HostsError::Redis`].
    pub(in super::super) async fn anomaly(
        &self,
        scope: &AccessScope,
        id: &HostId,
        field: Gauge,
    ) -> Result<AnomalyAnswer, HostsError> {
        let Latest { host: id, metrics: newest, .. } = self.latest(scope, id).await?;
        let hour = hour_of(newest.timestamp);
        let same_hours: Vec<_> = (1..=DAYS).map(|day| hour - day * DAY).map(|start| start..=start).collect();
        let host = self.memory.get(&id);
        let rollups = self.rollups(host.as_deref(), &id, Bucket::Hour, &same_hours).await?;
        let history: Vec<Summary> = rollups.values().filter_map(|rollup| field.of_rollup(rollup).copied()).collect();
        let value = field.of_sample(&newest);
        let needed = LEAST_DAYS;
        let band = Band::of(&history, WIDTH).filter(|_| history.len() >= needed);
        let verdict = match band {
            None => AnomalyVerdict::NotEnoughHistory,
            Some(band) if value > band.upper => AnomalyVerdict::High,
            Some(band) if value < band.lower => AnomalyVerdict::Low,
            Some(_) => AnomalyVerdict::Usual,
        };
        let (hours, timestamp) = (history.len(), newest.timestamp);
        Ok(AnomalyAnswer { host: id, field, timestamp, value, verdict, band, hours, needed })
    }
}

impl Band {
    /// The band of these hours; `None` if there are none.
    fn of(hours: &[Summary], width: f64) -> Option<Self> {
        let (smallest, deviation_below) = spread(hours.iter().map(|hour| hour.min).collect())?;
        let (largest, deviation_above) = spread(hours.iter().map(|hour| hour.max).collect())?;
        let margin = |deviation: f64| width * NORMAL * deviation;
        Some(Self { lower: smallest - margin(deviation_below), upper: largest + margin(deviation_above) })
    }
}

/// The median, and the median of the absolute deviations from it.
fn spread(mut values: Vec<f64>) -> Option<(f64, f64)> {
    let middle = median(&mut values)?;
    for value in &mut values {
        *value = (*value - middle).abs();
    }
    Some((middle, median(&mut values)?))
}

fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let (low, high) = (values.get(values.len().checked_sub(1)? / 2)?, values.get(values.len() / 2)?);
    Some(f64::midpoint(*low, *high))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hour(min: f64, max: f64) -> Summary {
        Summary { avg: 0.0, min, max, p95: 0.0, p99: 0.0 }
    }

    #[test]
    fn one_unusual_day_does_not_widen_the_band() {
        let mut hours: Vec<Summary> = (0..9).map(|n| hour(f64::from(n), 20.0 + f64::from(n))).collect();
        let deviation = 2.0 * NORMAL;
        assert_eq!(Band::of(&hours, 3.0), Some(Band { lower: 4.0 - 3.0 * deviation, upper: 24.0 + 3.0 * deviation }));
        hours.push(hour(0.0, 1e9));
        let upper = Band::of(&hours, 3.0).expect("a band").upper;
        assert!(upper < 24.5 + 3.0 * 2.6 * NORMAL, "{upper}");
        assert_eq!(Band::of(&[], 3.0), None);
    }

    #[test]
    fn what_never_moved_has_a_band_of_one_value() {
        assert_eq!(Band::of(&[hour(5.0, 5.0); 7], 3.0), Some(Band { lower: 5.0, upper: 5.0 }));
    }
}
