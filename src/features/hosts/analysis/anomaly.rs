//! Whether a host's newest value is beyond the usual band of its hour of day.
//!
//! The same hour (UTC) of the last `hosts.anomaly_days` says what is usual: its smallest values and its largest. The band
//! reaches from the median of the smallest to the median of the largest, widened on either side by
//! `hosts.anomaly_width` times what these deviate: the median of their absolute deviations, times 1.4826, which makes it
//! comparable to a standard deviation. Medians, since a day that was itself unusual must not widen the band.
//!
//! Source: C. Leys, C. Ley, O. Klein, P. Bernard, L. Licata, "Detecting outliers: Do not use standard deviation around the
//! mean, use absolute deviation around the median", Journal of Experimental Social Psychology 49 (2013).

use serde::Serialize;
use utoipa::ToSchema;

use crate::clock::UnixMillis;
use crate::features::hosts::access_scope::AccessScope;
use crate::features::hosts::analysis::gauge::Gauge;
use crate::features::hosts::error::HostsError;
use crate::features::hosts::model::HostId;
use crate::features::hosts::read::summary::Bucket;
use crate::features::hosts::service::HostService;
use crate::features::hosts::store::chunk::{DAY, hour_of};
use crate::features::hosts::store::rollup::Summary;

/// Makes a median absolute deviation the standard deviation where values are distributed normally.
const NORMAL: f64 = 1.4826;

/// What is to be said of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = HostAnomalyVerdict)]
pub(in crate::features::hosts) enum Verdict {
    Usual,
    /// Above the band.
    High,
    /// Below the band.
    Low,
    /// Too few days have samples in this hour: nothing can be said.
    NotEnoughHistory,
}

/// What is usual, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = HostAnomalyBand)]
pub(in crate::features::hosts) struct Band {
    #[schema(example = 8.5)]
    pub lower: f64,
    #[schema(example = 63.0)]
    pub upper: f64,
}

/// A host's newest value and what is usual at its hour.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = HostAnomaly)]
pub(in crate::features::hosts) struct AnomalyAnswer {
    #[schema(value_type = String, example = "web-1")]
    pub host: HostId,
    #[schema(value_type = String, example = "cpu.usage")]
    pub field: Gauge,
    /// The newest sample's, Unix milliseconds.
    #[schema(example = 1_767_225_600_000_u64)]
    pub timestamp: UnixMillis,
    #[schema(example = 37.5)]
    pub value: f64,
    pub verdict: Verdict,
    /// Null when there is not enough history.
    pub band: Option<Band>,
    /// How many hours say what is usual.
    #[schema(example = 28)]
    pub hours: usize,
    /// How many there have to be.
    #[schema(example = 7)]
    pub needed: usize,
}

impl HostService {
    /// Judges the newest value of a field.
    ///
    /// # Errors
    /// [`HostsError::NotFound`], [`HostsError::Redis`].
    pub(in crate::features::hosts) async fn anomaly(
        &self,
        scope: &AccessScope,
        id: &HostId,
        field: Gauge,
    ) -> Result<AnomalyAnswer, HostsError> {
        let newest = self.latest(scope, id).await?.metrics;
        let hour = hour_of(newest.timestamp);
        let days = i64::from(self.config.anomaly_days);
        let same_hours: Vec<_> = (1..=days).map(|day| hour - day * DAY).map(|start| start..=start).collect();
        let host = self.memory.get(id);
        let rollups = self.rollups(host.as_deref(), id, Bucket::Hour, &same_hours).await?;
        let history: Vec<Summary> = rollups.values().filter_map(|rollup| field.of_rollup(rollup).copied()).collect();
        let value = field.of_sample(&newest);
        let needed = usize::from(self.config.anomaly_least_days);
        let band = Band::of(&history, self.config.anomaly_width).filter(|_| history.len() >= needed);
        let verdict = match band {
            None => Verdict::NotEnoughHistory,
            Some(band) if value > band.upper => Verdict::High,
            Some(band) if value < band.lower => Verdict::Low,
            Some(_) => Verdict::Usual,
        };
        let (hours, timestamp) = (history.len(), newest.timestamp);
        Ok(AnomalyAnswer { host: id.clone(), field, timestamp, value, verdict, band, hours, needed })
    }
}

impl Band {
    /// The band of these hours; `None` when there are none.
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
