//! A simulated neighbourhood and its market. A reading depends only on the seed, the meter and the time, not on the order of
//! generation.

use std::f64::consts::PI;
use std::sync::Arc;

use super::Reading;
use super::calendar::{BANGKOK, DAY_MS};
use gridtokenx_redis::clock::UnixMillis;

/// A quarter of an hour, the platform's market interval.
const STEP_MS: UnixMillis = 900_000;
const DAWN_HOUR: f64 = 6.0;
const DUSK_HOUR: f64 = 18.0;
/// The days of prices and volumes; the service keeps them for 90 days.
const MARKET_DAYS: u32 = 80;
/// The traded product.
pub(super) const SYMBOL: &str = "GRID-THB";

/// Households with solar panels, which trade with each other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Simulation {
    pub meters: u32,
    /// Whole days before the one that contains `now`.
    pub days: u32,
    pub seed: u64,
    pub now: UnixMillis,
}

/// A time span, from `from` up to `to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Interval {
    pub from: UnixMillis,
    pub to: UnixMillis,
}

/// The use of a random number; each use has its own sequence.
#[derive(Clone, Copy)]
enum Draw {
    PeakPower = 1,
    Weather,
    Cloud,
    Household,
    Appliance,
    Price,
    Volume,
    Load,
}

/// The number in place of a meter's for series of the market.
const MARKET: u32 = 0;

/// The energy or price of a series in an interval.
type Model = fn(&Simulation, u32, Interval) -> f64;

impl Simulation {
    /// The consumption and then the generation of every meter, then prices and volumes, each in order of time.
    pub(super) fn readings(&self) -> impl Iterator<Item = Reading> + Send + use<> {
        let simulation = *self;
        self.series().flat_map(move |(series, meter, model)| {
            let days = if meter == MARKET { simulation.days.min(MARKET_DAYS) } else { simulation.days };
            simulation.intervals(days).map(move |interval| Reading {
                series: Arc::clone(&series),
                timestamp: interval.from,
                value: rounded(model(&simulation, meter, interval), 1_000.0),
            })
        })
    }

    /// The readings of every series for one short interval, at its end.
    pub(super) fn readings_at(&self, interval: Interval) -> Vec<Reading> {
        let reading = |(series, meter, model): (Arc<str>, u32, Model)| Reading {
            series,
            timestamp: interval.to,
            value: rounded(model(self, meter, interval), 1e6),
        };
        self.series().map(reading).collect()
    }

    fn series(&self) -> impl Iterator<Item = (Arc<str>, u32, Model)> + Send + use<> {
        let of_meters = (1..=self.meters).flat_map(|meter| {
            [("consumption", Self::consumed_kwh as Model), ("generation", Self::generated_kwh)]
                .map(|(kind, model)| (format!("energy:{kind}:MTR-{meter:03}").into(), meter, model))
        });
        of_meters.chain([
            (format!("market:price:{SYMBOL}").into(), MARKET, Self::price_thb as Model),
            (format!("market:volume:{SYMBOL}").into(), MARKET, Self::traded_kwh),
        ])
    }

    /// The quarters of an hour that are over, from the local midnight `days` days before today.
    fn intervals(self, days: u32) -> impl Iterator<Item = Interval> + Send + use<> {
        let start = BANGKOK.midnight(self.now) - UnixMillis::from(days) * DAY_MS;
        let steps = (self.now - start) / STEP_MS;
        (0..steps).map(move |step| Interval { from: start + step * STEP_MS, to: start + (step + 1) * STEP_MS })
    }

    /// Kilowatt-hours that panels of 3 to 8 kW generate: half a sine wave from dawn to dusk, reduced by the day's weather and
    /// by passing clouds; exactly zero at night.
    fn generated_kwh(&self, meter: u32, interval: Interval) -> f64 {
        let sun = sun(interval.hour());
        if sun <= 0.0 {
            return 0.0;
        }
        let peak_kw = 3.0 + 5.0 * self.draw(Draw::PeakPower, meter, 0);
        let cloud = 0.8 + 0.2 * self.draw(Draw::Cloud, meter, interval.moment());
        interval.hours() * peak_kw * sun * self.weather(interval) * cloud
    }

    /// Kilowatt-hours that a household uses: a base load, a morning peak and a higher evening peak.
    fn consumed_kwh(&self, meter: u32, interval: Interval) -> f64 {
        let hour = interval.hour();
        let load_kw = 0.2 + 0.5 * peak(hour, 7.0, 1.2) + 1.1 * peak(hour, 19.5, 2.0);
        let household = 0.5 + self.draw(Draw::Household, meter, 0);
        let appliances = 0.6 + 0.8 * self.draw(Draw::Appliance, meter, interval.moment());
        interval.hours() * load_kw * household * appliances
    }

    /// The price of a kilowatt-hour: low while the sun shines, high in the evening.
    fn price_thb(&self, _: u32, interval: Interval) -> f64 {
        let hour = interval.hour();
        let noise = 0.3 * (self.draw(Draw::Price, 0, interval.moment()) - 0.5);
        rounded(4.0 - 1.2 * sun(hour) * self.weather(interval) + 1.4 * peak(hour, 19.5, 2.0) + noise, 1_000.0)
    }

    /// Kilowatt-hours that the households trade.
    fn traded_kwh(&self, _: u32, interval: Interval) -> f64 {
        let hour = interval.hour();
        let share = 0.2 + 0.6 * sun(hour) + 0.4 * peak(hour, 19.5, 2.0);
        let noise = 0.7 + 0.6 * self.draw(Draw::Volume, 0, interval.moment());
        interval.hours() * f64::from(self.meters) * share * noise
    }

    /// The processor load of a machine in percent: higher while people are awake.
    pub(super) fn load_percent(&self, machine: u32, moment: UnixMillis) -> f64 {
        let at = Interval { from: moment, to: moment };
        15.0 + 25.0 * peak(at.hour(), 14.0, 6.0) + 20.0 * self.draw(Draw::Load, machine, at.moment())
    }

    /// The share of the sun that the weather of a day leaves; the same for all households.
    fn weather(&self, interval: Interval) -> f64 {
        let day = u32::try_from(BANGKOK.midnight(interval.from).div_euclid(DAY_MS)).unwrap_or_default();
        0.35 + 0.65 * self.draw(Draw::Weather, 0, day)
    }

    /// A number in 0.0..1.0 that depends only on the arguments and the seed.
    fn draw(&self, purpose: Draw, meter: u32, moment: u32) -> f64 {
        let position = u64::from(meter) << 32 | u64::from(moment);
        let mixed = split_mix(split_mix(self.seed ^ (purpose as u64) << 56) ^ position);
        f64::from(u32::try_from(mixed >> 32).unwrap_or_default()) / (f64::from(u32::MAX) + 1.0)
    }
}

impl Interval {
    /// The local hour of the day in the middle of the interval.
    fn hour(self) -> f64 {
        BANGKOK.hour(self.from + (self.to - self.from) / 2)
    }

    /// The length in hours.
    fn hours(self) -> f64 {
        f64::from(i32::try_from(self.to - self.from).unwrap_or_default()) / 3_600_000.0
    }

    /// The second in which the interval begins.
    fn moment(self) -> u32 {
        u32::try_from(self.from / 1_000).unwrap_or_default()
    }
}

/// The height of the sun, 0.0..=1.0.
fn sun(hour: f64) -> f64 {
    if !(DAWN_HOUR..DUSK_HOUR).contains(&hour) {
        return 0.0;
    }
    (PI * (hour - DAWN_HOUR) / (DUSK_HOUR - DAWN_HOUR)).sin()
}

/// A bell curve of the height 1.0 around the hour `at`.
fn peak(hour: f64, at: f64, width: f64) -> f64 {
    (-((hour - at) / width).powi(2)).exp()
}

/// Rounds to a fraction of the unit. Meters count watt-hours, which are thousandths.
fn rounded(value: f64, parts: f64) -> f64 {
    (value * parts).round() / parts
}

/// Source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
fn split_mix(state: u64) -> u64 {
    let mut z = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Midnight in Bangkok.
    const NOW: UnixMillis = 1_780_246_800_000;

    fn simulate(seed: u64) -> Vec<Reading> {
        Simulation { meters: 3, days: 2, seed, now: NOW }.readings().collect()
    }

    #[test]
    fn readings_depend_on_the_seed_and_the_time_only() {
        assert_eq!(simulate(42), simulate(42));
        assert_ne!(simulate(42), simulate(43));
        let later: Vec<Reading> = Simulation { meters: 3, days: 3, seed: 42, now: NOW + DAY_MS }.readings().collect();
        assert!(simulate(42).iter().all(|reading| later.contains(reading)));
    }

    #[test]
    fn every_series_has_whole_days_and_the_quarters_of_today_that_are_over() {
        let readings = simulate(42);
        assert_eq!(readings.len(), (3 * 2 + 2) * 2 * 96);
        let of_one: Vec<&Reading> =
            readings.iter().filter(|reading| &*reading.series == "energy:generation:MTR-002").collect();
        assert_eq!(of_one.len(), 2 * 96);
        assert!(of_one.windows(2).all(|pair| pair[1].timestamp - pair[0].timestamp == STEP_MS));
        assert_eq!(of_one[0].timestamp, BANGKOK.midnight(of_one[0].timestamp), "a day starts at midnight");
        let part = Simulation { meters: 1, days: 1, seed: 1, now: NOW + 2 * STEP_MS - 1 };
        assert_eq!(part.intervals(1).last(), Some(Interval { from: NOW, to: NOW + STEP_MS }));
    }

    #[test]
    fn nothing_is_generated_at_night_and_something_at_noon_in_local_time() {
        for reading in simulate(42) {
            let hour = BANGKOK.hour(reading.timestamp);
            let generation = reading.series.contains("generation");
            if generation && !(6.0..18.0).contains(&hour) {
                assert!(reading.value.to_bits() == 0, "{reading:?}");
            }
            if !generation || (12.0..13.0).contains(&hour) {
                assert!(reading.value > 0.0, "{reading:?}");
            }
        }
    }

    #[test]
    fn daily_totals_are_plausible_for_households() {
        let month = Simulation { meters: 20, days: 30, seed: 7, now: NOW };
        for kind in ["consumption", "generation"] {
            let total: f64 =
                month.readings().filter(|reading| reading.series.contains(kind)).map(|reading| reading.value).sum();
            let per_day = total / 20.0 / 30.0;
            assert!((3.0..60.0).contains(&per_day), "{kind}: {per_day} kWh a day");
        }
    }

    #[test]
    fn readings_of_a_few_seconds_add_up_like_those_of_a_quarter_of_an_hour() {
        let simulation = Simulation { meters: 50, days: 1, seed: 7, now: NOW };
        let noon = NOW - DAY_MS / 2;
        let sum = |step: UnixMillis| -> f64 {
            let starts = (0..STEP_MS / step).map(|at| noon + at * step);
            let readings = starts.flat_map(|from| simulation.readings_at(Interval { from, to: from + step }));
            readings.filter(|reading| reading.series.starts_with("energy:")).map(|reading| reading.value).sum()
        };
        let (whole, parts) = (sum(STEP_MS), sum(2_000));
        assert!((whole - parts).abs() < whole / 5.0, "{whole} {parts}");
    }
}
