//! What the service says about itself: logs, metrics, traces.

pub mod logging;
pub mod metrics;
pub mod traces;
