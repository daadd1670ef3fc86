//! The service against real servers: one file per room of the house.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, also outside of #[test] functions"
)]

mod support;

mod auth;
mod command;
mod health;
mod lock_check;
mod locks;
mod locks_faults;
mod locks_hold;
mod locks_redlock;
mod locks_together;
mod locks_waiting;
