//! Real-time channels.

mod delivery;
mod messages;
pub mod socket;
mod sse;
