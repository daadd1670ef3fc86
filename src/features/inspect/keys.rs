//! The Redis keys of inventories.

use crate::redis::{Key, KeySpace};

#[derive(Clone, Debug)]
pub(super) struct InspectKeys {
    /// `inspect:{inventory}` - string, JSON: the last inventory. Expires after a week.
    pub inventory: Key,
    /// `inspect:{turn}` - string, Unix ms: when an inventory last reported progress.
    pub turn: Key,
}

impl InspectKeys {
    pub(super) fn new(space: &KeySpace) -> Self {
        Self { inventory: space.key("inspect:{inventory}"), turn: space.key("inspect:{turn}") }
    }
}
