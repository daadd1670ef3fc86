//! What a field's hourly averages will be, if they go on as they did.
//!
//! The hours of the last `hosts.forecast_days` are taken apart into a trend, the course of a day, the course of a week where
//! there are three of them, and a rest; the trend goes on by exponential smoothing, chosen by its corrected Akaike
//! criterion, and the days and weeks repeat. Hours without samples are filled linearly.
//!
//! Sources: K. Bandara, R. J. Hyndman, C. Bergmeir, "MSTL: A Seasonal-Trend Decomposition Algorithm for Time Series with
//! Multiple Seasonal Patterns", arXiv 2107.13462 (2021); R. J. Hyndman, Y. Khandakar, "Automatic Time Series Forecasting:
//! The forecast Package for R", Journal of Statistical Software 27 (2008).

use augurs_core::{Fit as _, Predict as _};
use augurs_ets::AutoETS;
use augurs_mstl::MSTLModel;
use serde::Serialize;
use utoipa::ToSchema;

use crate::clock::UnixMillis;
use crate::features::hosts::access_scope::AccessScope;
use crate::features::hosts::analysis::gauge::Gauge;
use crate::features::hosts::error::{ForecastError, HostsError};
use crate::features::hosts::model::HostId;
use crate::features::hosts::read::summary::Bucket;
use crate::features::hosts::service::HostService;
use crate::features::hosts::store::chunk::{DAY, HOUR, hour_of};

/// Hours of a day, and of a week.
const SEASONS: [usize; 2] = [24, 168];

/// How many times a season has to be there to be taken into account.
const DAYS_NEEDED: usize = 2;
const WEEKS_NEEDED: usize = 3;

/// Errors and trend that add up, or none of the latter: values may be zero.
const MODELS: &str = "AZN";

/// How likely a value is between the bounds.
const LEVEL: f64 = 0.95;

/// An hour to come.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = HostForecastHour)]
pub(in crate::features::hosts) struct ForecastHour {
    /// Its first millisecond, Unix.
    #[schema(example = 1_767_225_600_000_u64)]
    pub start: UnixMillis,
    #[schema(example = 37.5)]
    pub avg: f64,
    /// The average is between these bounds with a probability of 95 per cent.
    #[schema(example = 30.0)]
    pub lower: f64,
    #[schema(example = 45.0)]
    pub upper: f64,
}

/// The hours to come of a field.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = HostForecast)]
pub(in crate::features::hosts) struct ForecastAnswer {
    #[schema(value_type = String, example = "web-1")]
    pub host: HostId,
    #[schema(value_type = String, example = "cpu.usage")]
    pub field: Gauge,
    /// From the hour behind the last one that is over and has samples; empty when there is not enough history.
    pub forecast: Vec<ForecastHour>,
    /// How many hours with samples it is made from.
    #[schema(example = 672)]
    pub hours: usize,
    /// How many there have to be.
    #[schema(example = 48)]
    pub needed: usize,
}

impl HostService {
    /// Forecasts the hourly averages of a field for `horizon` hours.
    ///
    /// # Errors
    /// [`HostsError::NotFound`], [`HostsError::Redis`], [`HostsError::Forecast`].
    pub(in crate::features::hosts) async fn forecast(
        &self,
        scope: &AccessScope,
        id: &HostId,
        field: Gauge,
        horizon: usize,
    ) -> Result<ForecastAnswer, HostsError> {
        let host = self.host_of_reader(scope, id).await?;
        let this_hour = hour_of(self.clock.now());
        let window = this_hour - i64::from(self.config.forecast_days) * DAY..=this_hour - HOUR;
        let rollups = self.rollups(host.as_deref(), id, Bucket::Hour, &[window]).await?;
        let averages: Vec<(UnixMillis, f64)> = rollups
            .iter()
            .filter_map(|(&start, rollup)| field.of_rollup(rollup).map(|summary| (start, summary.avg)))
            .collect();
        let (hours, needed) = (averages.len(), DAYS_NEEDED * SEASONS[0]);
        let mut forecast = Vec::new();
        if let Some(&(last, _)) = averages.last().filter(|_| hours >= needed) {
            // Tens of milliseconds of work, which no other request may wait for.
            let reckoned = tokio::task::spawn_blocking(move || predict(&filled(&averages), horizon)).await;
            let reckoned = reckoned.map_err(|error| ForecastError(error.to_string()))??;
            forecast = (1..)
                .zip(reckoned)
                .map(|(hour, [avg, lower, upper])| {
                    let [avg, lower, upper] = [avg, lower, upper].map(|value| field.clamp(value));
                    ForecastHour { start: last + hour * HOUR, avg, lower, upper }
                })
                .collect();
        }
        Ok(ForecastAnswer { host: id.clone(), field, forecast, hours, needed })
    }
}

/// The values of all hours from the first to the last; what is missing lies on the line between its neighbours.
fn filled(averages: &[(UnixMillis, f64)]) -> Vec<f64> {
    let mut values: Vec<f64> = averages.first().map(|&(_, value)| value).into_iter().collect();
    for pair in averages.windows(2) {
        let &[(from, begin), (to, end)] = pair else { continue };
        let steps = (to - from) / HOUR;
        #[expect(clippy::cast_precision_loss, reason = "hours of some weeks")]
        values.extend((1..=steps).map(|step| begin + (end - begin) * (step as f64 / steps as f64)));
    }
    values
}

/// The next values of a series of hours: each with its lower and its upper bound.
fn predict(hours: &[f64], horizon: usize) -> Result<Vec<[f64; 3]>, ForecastError> {
    let [day, week] = SEASONS;
    let seasons = if hours.len() >= WEEKS_NEEDED * week { vec![day, week] } else { vec![day] };
    let failed = |error: &dyn std::error::Error| ForecastError(error.to_string());
    let trend = AutoETS::new(1, MODELS).map_err(|error| failed(&error))?.into_trend_model();
    let fitted = MSTLModel::new(seasons, trend).fit(hours).map_err(|error| failed(&error))?;
    let forecast = fitted.predict(horizon, LEVEL).map_err(|error| failed(&error))?;
    let bounds = forecast.intervals.ok_or_else(|| ForecastError("it has no bounds".to_owned()))?;
    let hours = forecast.point.into_iter().zip(bounds.lower).zip(bounds.upper);
    let hours: Vec<[f64; 3]> = hours.map(|((avg, lower), upper)| [avg, lower, upper]).collect();
    if hours.iter().flatten().all(|number| number.is_finite()) {
        Ok(hours)
    } else {
        Err(ForecastError("it has no finite value".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn daily(hours: u32) -> Vec<f64> {
        (0..hours).map(|hour| 40.0 + 20.0 * (f64::from(hour % 24) / 24.0 * std::f64::consts::TAU).sin()).collect()
    }

    #[test]
    fn the_course_of_a_day_goes_on() {
        for weeks in [2, 4] {
            let found = predict(&daily(weeks * 168), 48).expect("a forecast");
            let expected = daily(weeks * 168 + 48).split_off(weeks as usize * 168);
            for ([avg, lower, upper], expected) in found.into_iter().zip(expected) {
                assert!((avg - expected).abs() < 0.1, "{avg}, not {expected}");
                assert!(lower <= avg && avg <= upper);
            }
        }
    }

    #[test]
    fn the_course_of_a_week_is_seen_when_there_are_three() {
        // Idle at weekends.
        let hour = |hour: u32| if hour % 168 < 120 { 50.0 } else { 5.0 };
        let found = predict(&(0..672).map(hour).collect::<Vec<_>>(), 168).expect("a forecast");
        for (at, [avg, ..]) in (672..).zip(found) {
            assert!((avg - hour(at)).abs() < 5.0, "{avg}, not {}", hour(at));
        }
    }

    #[test]
    fn hours_that_are_missing_lie_on_a_line() {
        assert_eq!(filled(&[(0, 1.0), (HOUR, 2.0), (4 * HOUR, 8.0)]), [1.0, 2.0, 4.0, 6.0, 8.0]);
        assert_eq!(filled(&[(0, 1.0)]), [1.0]);
        assert!(filled(&[]).is_empty());
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]
        #[test]
        fn whatever_the_values_are_there_is_an_answer(
            scale in prop::sample::select(vec![0.0, 1e-9, 1.0, 100.0, 1e12, 9e15]),
            shares in prop::collection::vec(prop_oneof![Just(0.0), Just(1.0), 0.0_f64..1.0], 48..200),
        ) {
            let hours: Vec<f64> = shares.iter().map(|share| share * scale).collect();
            let found = predict(&hours, 24);
            prop_assert!(found.is_ok(), "{found:?}");
        }
    }
}
