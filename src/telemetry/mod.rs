//! Telemetry of the service: logs, metrics and traces.

pub mod episodes;
pub mod logging;
pub mod metrics;
mod process;
mod scrape;
pub mod traces;
