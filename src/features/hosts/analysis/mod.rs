//! What samples say about the usual and the coming load: anomalies and forecasts.

pub(super) mod anomaly;
pub(super) mod forecast;
pub(super) mod gauge;
