//! The GridTokenX Redis service: an HTTP service in front of Redis for an energy trading platform.
//!
//! # Map of the code
//!
//! - [`features`]: the capabilities, one folder and one row of a table each. A feature never imports another feature.
//! - [`http`]: connections, the middleware, extractors, problems, the API document.
//! - [`events`]: channels with offsets and history, through which every capability publishes.
//! - [`redis`]: connections, scripts, keys and faults, for each role that Redis plays.
//! - [`tape`] and [`decimal`]: the trades of each symbol, which several capabilities write and read; exact numbers.
//! - [`cached`] and [`computed`]: the cache as capabilities fill it, and what they can compute for it.
//! - [`holdings`]: to which capability each key in Redis belongs.
//! - [`codec`], [`random`], [`close_matches`] and [`hot_keys`]: packed columns of numbers; random tokens; names that a
//!   caller may have meant; the keys that are used most often.
//! - [`config`], [`clock`], [`lifecycle`], [`telemetry`], [`tls`]: the foundation, which knows no feature.
//! - [`deps`]: everything that a feature may depend on. [`app`] assembles the service. [`cli`] holds the commands.
//!
//! # The path of a request
//!
//! [`http::server`] accepts the connection on a worker thread and [`http::middleware`] admits the request. The feature's
//! `routes.rs` extracts its parts, `service.rs` decides, and `keys.rs` and `scripts.rs` talk to [`redis`]. A failure
//! returns as `RedisFault -> feature error -> Problem`, which the middleware writes and logs once.

// The future of a request nests about as deep as the default allows: whether `Send` was proven depended on the profile.
#![recursion_limit = "256"]

pub mod app;
pub mod cached;
pub mod cli;
pub mod clock;
pub mod close_matches;
pub mod codec;
pub mod computed;
pub mod config;
pub mod decimal;
pub mod deps;
pub mod events;
pub mod features;
pub mod holdings;
pub mod hot_keys;
pub mod http;
pub mod lifecycle;
pub mod random;
pub mod redis;
#[cfg(feature = "object-store")]
pub mod s3;
#[cfg(not(feature = "object-store"))]
#[path = "no_s3.rs"]
pub mod s3;
pub mod tape;
pub mod telemetry;
pub mod tls;
