//! Analysis of a host's rollups: whether the newest value is unusual, and which values to expect.

pub(super) mod anomaly;
#[cfg(feature = "forecast")]
pub(super) mod forecast;
pub(super) mod gauge;
