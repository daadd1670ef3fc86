//! Simulated meters. A reading depends only on the seed, the meter and the time, not on the order of generation.

use std::f64::consts::PI;
use std::sync::Arc;

use super::Reading;
use gridtokenx_redis::clock::UnixMillis;

/// 2026-06-01T00:00:00Z.
const START: UnixMillis = 1_780_272_000_000;
/// A quarter of an hour, the platform's market interval.
const STEP_MS: UnixMillis = 900_000;
const STEPS_PER_DAY: u32 = 96;
const DAWN_HOUR: f64 = 6.0;
const DUSK_HOUR: f64 = 18.0;

/// Households with solar panels.
#[derive(Clone, Copy, Debug)]
pub(super) struct Simulation {
    pub meters: u32,
    pub days: u32,
    pub seed: u64,
}

/// The use of a random number; each use has its own sequence.
#[derive(Clone, Copy)]
enum Draw {
    PeakPower = 1,
    Weather,
    Cloud,
    Household,
    Appliance,
}

impl Simulation {
    /// The consumption and then the generation of every meter, in order of time.
    pub(super) fn readings(&self) -> impl Iterator<Item = Reading> + Send + use<> {
        let simulation = *self;
        (1..=self.meters).flat_map(move |meter| {
            let consumed = simulation.series("consumption", meter, Self::consumed_kwh);
            consumed.chain(simulation.series("generation", meter, Self::generated_kwh))
        })
    }

    fn series(
        self,
        kind: &str,
        meter: u32,
        energy: fn(&Self, u32, u32) -> f64,
    ) -> impl Iterator<Item = Reading> + Send + use<> {
        let series: Arc<str> = format!("energy:{kind}:MTR-{meter:03}").into();
        (0..self.days * STEPS_PER_DAY).map(move |step| Reading {
            series: Arc::clone(&series),
            timestamp: START + UnixMillis::from(step) * STEP_MS,
            value: whole_watt_hours(energy(&self, meter, step)),
        })
    }

    /// Kilowatt-hours that panels of 3 to 8 kW generate in a quarter of an hour: half a sine wave from dawn to dusk,
    /// reduced by the day's weather and by passing clouds; exactly zero at night.
    fn generated_kwh(&self, meter: u32, step: u32) -> f64 {
        let hour = hour_of(step);
        if !(DAWN_HOUR..DUSK_HOUR).contains(&hour) {
            return 0.0;
        }
        let height = (PI * (hour - DAWN_HOUR) / (DUSK_HOUR - DAWN_HOUR)).sin();
        let peak_kw = 3.0 + 5.0 * self.draw(Draw::PeakPower, meter, 0);
        // The weather of a day is the same for all households.
        let weather = 0.35 + 0.65 * self.draw(Draw::Weather, 0, step / STEPS_PER_DAY);
        let cloud = 0.8 + 0.2 * self.draw(Draw::Cloud, meter, step);
        0.25 * peak_kw * height * weather * cloud
    }

    /// Kilowatt-hours that a household uses in a quarter of an hour: a base load, a morning peak and a higher evening peak.
    fn consumed_kwh(&self, meter: u32, step: u32) -> f64 {
        let hour = hour_of(step);
        let peak = |at: f64, width: f64| (-((hour - at) / width).powi(2)).exp();
        let load_kw = 0.2 + 0.5 * peak(7.0, 1.2) + 1.1 * peak(19.5, 2.0);
        let household = 0.5 + self.draw(Draw::Household, meter, 0);
        let appliances = 0.6 + 0.8 * self.draw(Draw::Appliance, meter, step);
        0.25 * load_kw * household * appliances
    }

    /// A number in 0.0..1.0 that depends only on the arguments and the seed.
    fn draw(&self, purpose: Draw, meter: u32, step: u32) -> f64 {
        let position = u64::from(meter) << 32 | u64::from(step);
        let mixed = split_mix(split_mix(self.seed ^ (purpose as u64) << 56) ^ position);
        f64::from(u32::try_from(mixed >> 32).unwrap_or_default()) / (f64::from(u32::MAX) + 1.0)
    }
}

/// The hour of the day at the middle of a step.
fn hour_of(step: u32) -> f64 {
    (f64::from(step % STEPS_PER_DAY) + 0.5) / 4.0
}

/// Rounds to watt-hours, which is what meters count.
fn whole_watt_hours(kwh: f64) -> f64 {
    (kwh * 1_000.0).round() / 1_000.0
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

    fn simulate(seed: u64) -> Vec<Reading> {
        Simulation { meters: 3, days: 2, seed }.readings().collect()
    }

    #[test]
    fn readings_depend_on_the_seed() {
        assert_eq!(simulate(42), simulate(42));
        assert_ne!(simulate(42), simulate(43));
    }

    #[test]
    fn every_meter_has_two_series_of_whole_days() {
        let readings = simulate(42);
        assert_eq!(readings.len(), 3 * 2 * 2 * 96);
        let of_one: Vec<&Reading> =
            readings.iter().filter(|reading| &*reading.series == "energy:generation:MTR-002").collect();
        assert_eq!(of_one.len(), 2 * 96);
        assert!(of_one.windows(2).all(|pair| pair[1].timestamp - pair[0].timestamp == STEP_MS));
        assert_eq!(of_one[0].timestamp % 86_400_000, 0, "a day starts at midnight");
    }

    #[test]
    fn nothing_is_generated_at_night_and_something_at_noon() {
        for reading in simulate(42) {
            let hour = reading.timestamp.rem_euclid(86_400_000) / 3_600_000;
            let generation = reading.series.contains("generation");
            if generation && !(6..18).contains(&hour) {
                assert!(reading.value.to_bits() == 0, "{reading:?}");
            }
            if !generation || hour == 12 {
                assert!(reading.value > 0.0, "{reading:?}");
            }
        }
    }

    #[test]
    fn daily_totals_are_plausible_for_households() {
        let month = Simulation { meters: 20, days: 30, seed: 7 };
        for kind in ["consumption", "generation"] {
            let total: f64 =
                month.readings().filter(|reading| reading.series.contains(kind)).map(|reading| reading.value).sum();
            let per_day = total / 20.0 / 30.0;
            assert!((3.0..60.0).contains(&per_day), "{kind}: {per_day} kWh a day");
        }
    }
}
