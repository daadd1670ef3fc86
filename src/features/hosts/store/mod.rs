//! How samples and rollups are stored in Redis, packed, and cleaned up.

pub(super) mod chunk;
pub(super) mod cleanup;
pub mod dump;
pub(super) mod history;
pub(super) mod keys;
pub(super) mod packing;
pub(super) mod rollup;
pub(super) mod scripts;
