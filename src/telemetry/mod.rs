//! Telemetry of the service: logs, metrics and traces.

mod disk;
pub mod episodes;
pub mod logging;
pub mod metrics;
mod process;
mod scrape;
pub mod traces;
