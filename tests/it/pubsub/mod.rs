//! Real-time channels.

mod delivery;
mod loss;
mod messages;
pub mod socket;
mod sse;
