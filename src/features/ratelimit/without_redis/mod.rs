//! Decisions that need no Redis, and the task that finds out whether they are valid.
//!
//! - `denial_cache.rs` refuses keys whose limit is known to be used up.
//! - `local_limits.rs` counts open limiters in memory while Redis is unavailable.
//! - `expiring_table.rs` is the table of bounded size under both of them.
//! - `redis_probe.rs` polls Redis for changes of administrators, and for whether it responds.

pub(super) mod denial_cache;
mod expiring_table;
pub(super) mod local_limits;
pub(super) mod redis_probe;
