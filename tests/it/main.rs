//! The service against real servers: one file per room of the house.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, also outside of #[test] functions"
)]

mod support;

mod cache;
mod cache_counters;
mod cache_faults;
mod cache_lease;
mod cache_many;
mod cache_tags;
mod health;
