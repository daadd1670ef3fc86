//! The capabilities: one folder and one row of [`FEATURES`] each.

pub mod alerts;
pub mod archive;
#[cfg(feature = "backup")]
pub mod backup;
pub mod cache;
pub mod epoch;
mod feature;
pub mod health;
pub mod hosts;
pub mod idempotency;
pub mod inspect;
pub mod json;
pub mod locks;
pub mod metrics;
pub mod orderbook;
pub mod pubsub;
pub mod ratelimit;
pub mod streams;
pub mod timeseries;
pub mod trades;
pub mod ui;

pub use feature::{Feature, StartError};

/// Every capability of the service.
pub static FEATURES: &[&Feature] = &[
    &alerts::FEATURE,
    &archive::FEATURE,
    #[cfg(feature = "backup")]
    &backup::FEATURE,
    &cache::FEATURE,
    &epoch::FEATURE,
    &health::FEATURE,
    &hosts::FEATURE,
    &idempotency::FEATURE,
    &inspect::FEATURE,
    &json::FEATURE,
    &locks::FEATURE,
    &metrics::FEATURE,
    &orderbook::FEATURE,
    &pubsub::FEATURE,
    &ratelimit::FEATURE,
    &streams::FEATURE,
    &timeseries::FEATURE,
    &trades::FEATURE,
    &ui::FEATURE,
];
