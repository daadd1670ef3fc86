//! The filter of a read: which samples of a window count.

use super::super::series::Sample;
use super::super::window::Window;
use crate::clock::UnixMillis;

/// A filter of samples by timestamp and value. It applies before aggregation, as if the other samples did not exist.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::features::timeseries) struct SampleFilter {
    /// Ascending and distinct; all timestamps if absent.
    times: Option<Vec<UnixMillis>>,
    /// The range of values, both ends inclusive.
    min: f64,
    max: f64,
}

impl SampleFilter {
    /// A filter for samples at one of `times` with values from `min` to `max`. An absent bound does not filter.
    pub(in crate::features::timeseries) fn new(
        times: Option<&[UnixMillis]>,
        min: Option<f64>,
        max: Option<f64>,
    ) -> Self {
        let times = times.map(|times| {
            let mut times = times.to_vec();
            times.sort_unstable();
            times.dedup();
            times
        });
        Self { times, min: min.unwrap_or(f64::NEG_INFINITY), max: max.unwrap_or(f64::INFINITY) }
    }

    /// Whether every sample passes.
    pub(super) fn is_open(&self) -> bool {
        self.times.is_none() && self.min == f64::NEG_INFINITY && self.max == f64::INFINITY
    }

    pub(super) fn passes(&self, sample: &Sample) -> bool {
        let at_its_time = self.times.as_ref().is_none_or(|times| times.binary_search(&sample.timestamp).is_ok());
        at_its_time && (self.min..=self.max).contains(&sample.value)
    }

    /// The part of a window that can have matching samples; `None` if there is none.
    fn narrow(&self, window: Window) -> Option<Window> {
        let Some(times) = &self.times else { return Some(window) };
        let from = times.iter().find(|time| **time >= window.from)?;
        let to = times.iter().rfind(|time| **time <= window.to)?;
        if from <= to { Some(Window { from: *from, to: *to }) } else { None }
    }

    /// The window to read. If the filter excludes all of it, one read is still needed to detect a series that does not exist.
    pub(super) fn first_window(&self, window: Window) -> Window {
        self.narrow(window).unwrap_or(Window { from: window.to, to: window.to })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_shrinks_to_the_times_asked_for() {
        let filter = SampleFilter::new(Some(&[30, 10, 20, 10]), None, None);
        let narrow = |from, to| filter.narrow(Window { from, to }).map(|window| (window.from, window.to));
        assert_eq!(narrow(0, 100), Some((10, 30)));
        assert_eq!(narrow(11, 29), Some((20, 20)));
        assert_eq!(narrow(11, 19), None);
        assert_eq!(narrow(31, 40), None);
    }

    #[test]
    fn both_ends_of_the_values_pass() {
        let filter = SampleFilter::new(None, Some(1.0), Some(2.0));
        let passes = |value| filter.passes(&Sample { timestamp: 0, value });
        assert!(passes(1.0) && passes(2.0) && !passes(0.999) && !passes(2.001));
        assert!(!SampleFilter::new(None, Some(2.0), Some(1.0)).passes(&Sample { timestamp: 0, value: 1.5 }));
        assert!(SampleFilter::new(None, None, None).is_open() && !filter.is_open());
    }
}
