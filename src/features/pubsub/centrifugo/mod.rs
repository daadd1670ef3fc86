//! The JSON protocol of Centrifugo and its server API, for clients that exist for many languages.
//!
//! Files: `frames.rs` (commands, replies and pushes as JSON), `protocol.rs` and `subscribe.rs` (the commands of a
//! connection), `api_commands.rs` and `api.rs` (the commands of the server API), `publication.rs` and `presence.rs` (messages and clients in
//! Centrifugo's form), `error.rs` (Centrifugo's codes), `routes.rs`.
//!
//! Source: `client.proto` of github.com/centrifugal/protocol; the pages "Client protocol", "Client protocol codes" and
//! "Server API" of centrifugal.dev.

mod api;
mod api_commands;
mod error;
mod frames;
mod presence;
mod protocol;
mod publication;
mod routes;
mod subscribe;

pub(super) use routes::*;
