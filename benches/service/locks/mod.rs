//! Locks: pairs of acquire and release, hand-over in a queue, and the time that the service adds to Redis.

pub mod added;
pub mod handover;
mod load;
pub mod pairs;
mod scripts;
