//! Forecasts of a field's hourly averages.
//!
//! The hours of the last 28 days are decomposed into a trend, a daily season, a weekly season if there are at least three
//! weeks, and a remainder. Exponential smoothing continues the trend, with the model of the lowest corrected Akaike
//! information criterion; the seasons repeat. Hours without samples are interpolated linearly.
//!
//! Sources: K. Bandara, R. J. Hyndman, C. Bergmeir, "MSTL: A Seasonal-Trend Decomposition Algorithm for Time Series with
//! Multiple Seasonal Patterns", arXiv 2107.13462 (2021); R. J. Hyndman, Y. Khandakar, "Automatic Time Series Forecasting:
//! The forecast Package for R", Journal of Statistical Software 27 (2008).

use augurs_core::{Fit as _, Predict as _};
use augurs_ets::AutoETS;
use augurs_mstl::MSTLModel;
use serde::Serialize;
use utoipa::ToSchema;

use super::super::error::HostsError;
use super::super::model::HostId;
use super::super::read::summary::Bucket;
use super::super::service::{Found, HostService};
use super::super::store::chunk::{DAY, HOUR, hour_of};
use super::super::tenancy::AccessScope;
use super::gauge::Gauge;
use crate::clock::UnixMillis;

/// Days of history: four weeks, of which a weekly season needs three.
const DAYS: i64 = 28;

/// Hours of a day and of a week.
const SEASONS: [usize; 2] = [24, 168];

/// The number of periods that a season needs to be detected.
const DAYS_NEEDED: usize = 2;
const WEEKS_NEEDED: usize = 3;

/// Additive errors, an automatic trend, no season: multiplicative models do not allow values of zero.
const MODELS: &str = "AZN";

/// The probability that a value is between the bounds.
const LEVEL: f64 = 0.95;

/// The forecast of one hour.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = HostForecastHour)]
pub(in super::super) struct ForecastHour {
    /// The first millisecond of the hour, Unix.
    #[schema(example = 1_767_225_600_000_u64)]
    pub start: UnixMillis,
    #[schema(example = 37.5)]
    pub avg: f64,
    /// The average is between these bounds with a probability of 95 %.
    #[schema(example = 30.0)]
    pub lower: f64,
    #[schema(example = 45.0)]
    pub upper: f64,
}

/// The forecast of a field.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = HostForecast)]
pub(in super::super) struct ForecastAnswer {
    #[schema(value_type = String, example = "web-1")]
    pub host: HostId,
    #[schema(value_type = String, example = "cpu.usage")]
    pub field: Gauge,
    /// Starts with the hour after the last complete hour with samples; empty if there is not enough history.
    pub forecast: Vec<ForecastHour>,
    /// The number of hours with samples that the forecast is computed from.
    #[schema(example = 672)]
    pub hours: usize,
    /// The number of hours that are needed.
    #[schema(example = 48)]
    pub needed: usize,
}

impl HostService {
    /// Forecasts the hourly averages of a field for `horizon` hours.
    ///
    /// # Errors
    /// [`HostsError::NotFound`], [`HostsError::Redis`], [`HostsError::Forecast`].
    pub(in super::super) async fn forecast(
        &self,
        scope: &AccessScope,
        id: &HostId,
        field: Gauge,
        horizon: usize,
    ) -> Result<ForecastAnswer, HostsError> {
        let Found { id, host } = self.host_for_reading(scope, id).await?;
        let this_hour = hour_of(self.clock.now());
        let window = this_hour - DAYS * DAY..=this_hour - HOUR;
        let rollups = self.rollups(host.as_deref(), &id, Bucket::Hour, &[window]).await?;
        let averages: Vec<(UnixMillis, f64)> = rollups
            .iter()
            .filter_map(|(&start, rollup)| field.of_rollup(rollup).map(|summary| (start, summary.avg)))
            .collect();
        let (hours, needed) = (averages.len(), DAYS_NEEDED * SEASONS[0]);
        let mut forecast = Vec::new();
        if let Some(&(last, _)) = averages.last().filter(|_| hours >= needed) {
            // This takes tens of milliseconds and must not delay other requests.
            let predicted = tokio::task::spawn_blocking(move || predict(&filled(&averages), horizon)).await;
            let predicted = predicted.map_err(|error| HostsError::Forecast(error.to_string()))??;
            forecast = (1..)
                .zip(predicted)
                .map(|(hour, [avg, lower, upper])| {
                    let [avg, lower, upper] = [avg, lower, upper].map(|value| field.clamp(value));
                    ForecastHour { start: last + hour * HOUR, avg, lower, upper }
                })
                .collect();
        }
        Ok(ForecastAnswer { host: id, field, forecast, hours, needed })
    }
}

/// The values of all hours from the first to the last; missing ones are interpolated linearly.
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

/// The next values of a series of hours: average, lower bound and upper bound.
fn predict(hours: &[f64], horizon: usize) -> Result<Vec<[f64; 3]>, HostsError> {
    let [day, week] = SEASONS;
    let seasons = if hours.len() >= WEEKS_NEEDED * week { vec![day, week] } else { vec![day] };
    let failed = |error: &dyn std::error::Error| HostsError::Forecast(error.to_string());
    let trend = AutoETS::new(1, MODELS).map_err(|error| failed(&error))?.into_trend_model();
    let fitted = MSTLModel::new(seasons, trend).fit(hours).map_err(|error| failed(&error))?;
    let forecast = fitted.predict(horizon, LEVEL).map_err(|error| failed(&error))?;
    let bounds = forecast.intervals.ok_or_else(|| HostsError::Forecast("the model returned no bounds".to_owned()))?;
    let hours = forecast.point.into_iter().zip(bounds.lower).zip(bounds.upper);
    let hours: Vec<[f64; 3]> = hours.map(|((avg, lower), upper)| [avg, lower, upper]).collect();
    if hours.iter().flatten().all(|number| number.is_finite()) {
        Ok(hours)
    } else {
        Err(HostsError::Forecast("the model returned a value that is not finite".to_owned()))
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
