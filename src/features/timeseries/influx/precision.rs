//! The units of timestamps in line protocol.

use crate::clock::UnixMillis;

/// The unit of timestamps. Series store milliseconds: the duplicate policy decides between samples of one millisecond.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(title = "InfluxPrecision")]
pub(in crate::features::timeseries) enum Precision {
    // Some clients send an empty parameter.
    #[default]
    #[serde(alias = "n", alias = "")]
    Ns,
    #[serde(alias = "u", alias = "\u{b5}")]
    Us,
    Ms,
    S,
    /// Minutes.
    M,
    /// Hours.
    H,
}

impl Precision {
    pub(super) fn millis(self, time: i64) -> Option<UnixMillis> {
        match self {
            Self::Ns => Some(time.div_euclid(1_000_000)),
            Self::Us => Some(time.div_euclid(1_000)),
            Self::Ms => Some(time),
            Self::S => time.checked_mul(1_000),
            Self::M => time.checked_mul(60_000),
            Self::H => time.checked_mul(3_600_000),
        }
    }

    /// Its name in the query.
    pub(in crate::features::timeseries) fn name(self) -> &'static str {
        match self {
            Self::Ns => "ns",
            Self::Us => "us",
            Self::Ms => "ms",
            Self::S => "s",
            Self::M => "m",
            Self::H => "h",
        }
    }
}
