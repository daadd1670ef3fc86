//! The sample of one line.

use std::borrow::Cow;

use crate::clock::UnixMillis;

/// A line's sample.
#[derive(Debug, PartialEq)]
pub(in crate::features::timeseries) struct Row<'a> {
    pub series: Cow<'a, str>,
    /// The service's time when absent.
    pub timestamp: Option<UnixMillis>,
    /// Finite.
    pub value: f64,
}

/// Enough of a client's text to recognise it.
pub(in crate::features::timeseries) fn shortened(text: &str) -> String {
    text.chars().take(40).collect()
}
