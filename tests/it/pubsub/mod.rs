//! Real-time channels.

mod access;
mod delivery;
mod faults;
mod loss;
mod messages;
pub mod socket;
mod sse;
