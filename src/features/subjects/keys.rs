//! The Redis keys of erasures. They share a cluster slot.

use crate::redis::{Key, KeySpace};

#[derive(Clone, Debug)]
pub(super) struct ErasureKeys {
    /// `custody:{erasures}` - hash, id -> job or receipt, JSON. A receipt contains no id of a person and never expires.
    pub jobs: Key,
    /// `custody:{erasures}:tombstones` - hash, pseudonym -> when it was erased, Unix ms. Those that are older than
    /// `erasure.tombstone_life` are removed with the next erasure.
    pub tombstones: Key,
    /// `custody:{erasures}:turn` - string, Unix ms: when a replica last reported progress.
    pub turn: Key,
}

impl ErasureKeys {
    pub(super) fn new(space: &KeySpace) -> Self {
        let key = |name| space.key(name);
        Self {
            jobs: key("custody:{erasures}"),
            tombstones: key("custody:{erasures}:tombstones"),
            turn: key("custody:{erasures}:turn"),
        }
    }
}
