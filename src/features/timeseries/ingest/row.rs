//! A parsed sample, before its series is looked up.

use std::borrow::Cow;

use serde::Deserialize;

use super::super::model::Timestamp;
use crate::http::integer;

/// A sample that a line contains.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::features::timeseries) struct Row<'a> {
    #[serde(borrow)]
    pub series: Cow<'a, str>,
    /// The current time of the service if absent.
    pub timestamp: Option<Timestamp>,
    /// Finite.
    #[serde(deserialize_with = "integer::float")]
    pub value: f64,
}

/// Shortens a client's text for an error message.
pub(in crate::features::timeseries) fn shortened(text: &str) -> String {
    text.chars().take(40).collect()
}
