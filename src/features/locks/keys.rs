//! The keys of locks.

use super::model::Resource;
use crate::redis::{Key, KeySpace, Segment};

/// What a lease stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LeaseKind {
    /// The lock itself.
    Lock,
    /// The first place in line for a lock that is kept on several nodes: `lock-turnstile:<resource>` instead.
    Turnstile,
}

/// The keys of one lock; all share a cluster slot.
#[derive(Clone, Debug)]
pub(super) struct LockKeys {
    /// `lock:<resource>` - string, the owner's token and nothing else, as redis-py and node-redlock have it. Expires
    /// with the lease; deleted by release.
    pub lease: Key,
    /// `lock:fence:{lock:<resource>}` - integer text, the highest fencing token handed out. Expires `locks.fence_life`
    /// after the last grant: from then on Redis's clock is far beyond it.
    pub fence: Key,
    /// `lock:holder:{lock:<resource>}` - hash {token, fence, `acquired_at`, owner, metadata}. Expires with the lease.
    pub holder: Key,
    /// `lock:queue:{lock:<resource>}` - sorted set of tickets by arrival. Expires with the longest wait in it.
    pub queue: Key,
    /// `lock:turn:{lock:<resource>}` - string, the ticket whose turn it is. Expires after a few turns.
    pub turn: Key,
}

impl LockKeys {
    pub(super) fn new(space: &KeySpace, kind: LeaseKind, resource: &Resource) -> Self {
        let name = match kind {
            LeaseKind::Lock => "lock",
            LeaseKind::Turnstile => "lock-turnstile",
        };
        let lease = space.key(format_args!("{name}:{}", Segment(resource.as_str())));
        Self {
            fence: lease.sibling("lock:fence"),
            holder: lease.sibling("lock:holder"),
            queue: lease.sibling("lock:queue"),
            turn: lease.sibling("lock:turn"),
            lease,
        }
    }
}

/// `locks:index` - sorted set of resources by the end of their lease, Unix microseconds. Swept by every replica;
/// at most `locks.index_limit` entries; expires when no lease was listed for the longest lease.
pub(super) fn index(space: &KeySpace) -> Key {
    space.key("locks:index")
}

/// `locks:wake` - the channel on which scripts announce whose turn it is.
pub(super) fn wake_channel(space: &KeySpace) -> Key {
    space.key("locks:wake")
}

/// `locks:node` - string, which run of a lock node's server we know, and from when on it may vote. One per node; never
/// expires, since a node without it has forgotten its votes.
pub(super) fn node_record(space: &KeySpace) -> Key {
    space.key("locks:node")
}
