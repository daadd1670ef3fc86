//! What Redis stores of a host: keys, scripts, byte formats, and the maintenance of histories and rollups.

pub(super) mod chunk;
pub(super) mod cleanup;
pub(super) mod history;
pub(super) mod keys;
mod packing;
pub(super) mod rollup;
pub(super) mod scripts;
