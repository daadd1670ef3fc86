//! The capabilities: one folder and one row of [`FEATURES`] each.

pub mod alerts;
pub mod archive;
pub mod audit;
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
pub mod keys;
pub mod locks;
pub mod metrics;
pub mod orderbook;
pub mod pubsub;
pub mod ratelimit;
pub mod streams;
pub mod subjects;
pub mod timeseries;
pub mod trades;
pub mod ui;
pub mod warming;

pub use feature::{Feature, StartError};

/// Every capability of the service.
pub static FEATURES: &[&Feature] = &[
    &alerts::FEATURE,
    &archive::FEATURE,
    &audit::FEATURE,
    #[cfg(feature = "backup")]
    &backup::FEATURE,
    &cache::FEATURE,
    &epoch::FEATURE,
    &health::FEATURE,
    &hosts::FEATURE,
    &idempotency::FEATURE,
    &inspect::FEATURE,
    &json::FEATURE,
    &keys::FEATURE,
    &locks::FEATURE,
    &metrics::FEATURE,
    &orderbook::FEATURE,
    &pubsub::FEATURE,
    &ratelimit::FEATURE,
    &streams::FEATURE,
    &subjects::FEATURE,
    &timeseries::FEATURE,
    &trades::FEATURE,
    &ui::FEATURE,
    &warming::FEATURE,
];
