//! The Redis keys of epochs. They share a cluster slot.

use crate::redis::{Key, KeySpace};

#[derive(Clone, Debug)]
pub(super) struct EpochKeys {
    /// `market:current_epoch` - string, JSON: the record of the current epoch. Expires [`LIFE`] after the last change.
    pub current: Key,
    /// `market:epoch_log:{market:current_epoch}` - hash, number -> record of the newest [`LIMIT`] epochs. Expires with
    /// the current one.
    pub log: Key,
    /// `market:fence:{market:current_epoch}` - integer: the highest fencing token seen. Expires `fencing.outlive` after
    /// the records.
    pub fence: Key,
}

/// How long epochs are kept after the last change, milliseconds: longer than a market rests.
pub(super) const LIFE: u64 = 35 * 86_400_000;

/// The most records of the log: a month of epochs of 15 minutes.
pub(super) const LIMIT: u64 = 3_000;

impl EpochKeys {
    pub(super) fn new(space: &KeySpace) -> Self {
        let current = space.key("market:current_epoch");
        Self { log: current.sibling("market:epoch_log"), fence: current.sibling("market:fence"), current }
    }
}
