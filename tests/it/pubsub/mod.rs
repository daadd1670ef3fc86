//! Real-time channels.

mod centrifugo;
mod centrifugo_api;
mod centrifugo_client;
mod centrifugo_frames;
mod delivery;
mod messages;
pub mod socket;
mod sse;
