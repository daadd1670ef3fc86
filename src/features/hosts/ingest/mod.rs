//! From a request to Redis: accepted samples wait in memory, on disk if configured, and are written in batches.

pub(super) mod flush_request;
pub(super) mod memory;
pub(super) mod spool;
pub(super) mod writer;
