//! Locks: pairs of acquire and release, hand-over in line, and what the service adds to Redis's own time.

pub mod added;
pub mod handover;
mod load;
mod monitor;
pub mod pairs;
mod redis_benchmark;
mod scripts;
