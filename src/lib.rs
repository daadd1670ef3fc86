//! The GridTokenX Redis service: one HTTP door to Redis for the services of an energy trading platform.
//!
//! # The house
//!
//! - [`features`]: the capabilities, one folder and one row of a table each. A feature never imports a feature.
//! - [`http`]: how requests come in, what they all pass, how answers and errors look.
//! - [`redis`]: connections, scripts, keys and faults, per role.
//! - [`config`], [`clock`], [`lifecycle`], [`telemetry`], [`tls`]: the ground floor; they know no feature.
//! - [`deps`]: all that a feature may be given. [`app`]: the composition root. [`cli`]: the commands.
//!
//! # One request's journey
//!
//! [`http::server`] accepts it on a worker thread, [`http::middleware`] admits it, the feature's `routes.rs` extracts its
//! parts, `service.rs` decides, `keys.rs` and `scripts.rs` speak to [`redis`], and a failure climbs back as
//! `RedisFault -> feature error -> Problem`, which the edge writes and logs once.

pub mod app;
pub mod cli;
pub mod clock;
pub mod codec;
pub mod config;
pub mod deps;
pub mod features;
pub mod http;
pub mod lifecycle;
pub mod random;
pub mod redis;
pub mod telemetry;
pub mod tls;
