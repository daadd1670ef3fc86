//! Real-time channels.

mod access;
mod centrifugo;
mod centrifugo_api;
mod centrifugo_client;
mod centrifugo_control;
mod centrifugo_frames;
mod cloud_events;
mod delivery;
mod faults;
mod loss;
mod messages;
mod presence;
mod revocation;
pub mod socket;
mod sse;
