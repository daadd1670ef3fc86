//! Samples on their way to Redis: kept in memory, written in batches, and on request spooled to disk first.

pub(super) mod accept;
pub(super) mod flush;
mod host;
pub(super) mod memory;
pub(super) mod spool;
