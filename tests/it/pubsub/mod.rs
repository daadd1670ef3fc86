//! Real-time channels.

mod access;
mod asyncapi;
mod centrifugo;
mod centrifugo_api;
mod centrifugo_client;
mod centrifugo_control;
mod centrifugo_frames;
mod closing;
mod cloud_events;
mod delivery;
mod event_source;
mod example_page;
mod expiry;
mod faults;
mod frames;
mod idle;
mod lines;
pub mod loss;
mod many;
mod matrix;
mod messages;
mod presence;
mod revocation;
mod rings;
mod rules;
pub mod socket;
mod sse;
