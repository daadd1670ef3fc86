//! The Redis keys of the audit log. They share a cluster slot.

use crate::redis::{Key, KeySpace};

#[derive(Clone, Debug)]
pub(super) struct AuditKeys {
    /// `audit:{log}` - stream, entry n under the id `n-0`: `e` its text, `p` the hash before it, `h` its hash, `k` the id
    /// of the key of its hash. Entries leave it when they are exported.
    pub log: Key,
    /// `audit:{log}:head` - hash, `seq` and `hash` of the newest entry. Never expires.
    pub head: Key,
    /// `audit:{log}:base` - hash, `seq` and signed `mark` of the last entry that was exported and removed. Never expires.
    pub base: Key,
    /// `audit:{log}:turn` - string, Unix ms: when a replica last verified and trimmed the log.
    pub turn: Key,
}

impl AuditKeys {
    pub(super) fn new(space: &KeySpace) -> Self {
        let key = |name| space.key(name);
        Self {
            log: key("audit:{log}"),
            head: key("audit:{log}:head"),
            base: key("audit:{log}:base"),
            turn: key("audit:{log}:turn"),
        }
    }
}
