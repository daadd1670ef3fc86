//! Reads of samples and hosts: ranges, the newest, summaries, lists, exports.

pub(super) mod current;
pub(super) mod export;
pub(super) mod listing;
pub(super) mod range;
pub(super) mod summary;
