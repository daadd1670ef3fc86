//! What the service says about itself: logs, metrics, traces.

pub mod logging;
pub mod metrics;
mod process;
mod scrape;
pub mod traces;
