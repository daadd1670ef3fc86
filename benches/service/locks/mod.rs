//! Locks: pairs of acquire and release, hand-over in line, and what the service adds to Redis's own time.

pub mod added;
pub mod handover;
mod load;
pub mod pairs;
mod scripts;
