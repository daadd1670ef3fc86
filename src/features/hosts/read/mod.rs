//! Reads of samples: the newest, ranges, lists of hosts, summaries, and export formats.

pub(super) mod export;
pub(super) mod latest;
mod listing;
pub(super) mod range;
pub(super) mod summary;
