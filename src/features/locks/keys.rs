//! The Redis keys of locks.

use super::model::Resource;
use crate::redis::{Key, KeySpace, Segment};

/// The prefix of a lock's keys where the lease is the lock itself.
pub(super) const LOCK: &str = "lock";
/// The prefix of a lock's keys where lock nodes keep the lock and the lease only admits the first waiter to the vote.
pub(super) const ADMISSION: &str = "lock-turnstile";

/// The keys of one lock. They share a cluster slot.
#[derive(Clone, Debug)]
pub(super) struct LockKeys {
    /// `lock:<resource>` - string, the holder's token and nothing else, as in redis-py and node-redlock. Expires with
    /// the lease; deleted by release.
    pub lease: Key,
    /// `lock:fence:{lock:<resource>}` - integer text, the last fencing token. Expires
    /// [`fence_ttl`](super::config::LocksConfig::fence_ttl) after the last grant: by then Redis's clock is far beyond
    /// it.
    pub fence: Key,
    /// `lock:ahead:{lock:<resource>}` - integer text, the highest token that was granted while Redis's clock was more than
    /// an hour ahead; only after the clock was set back. Expires after the clock has passed it.
    pub ahead: Key,
    /// `lock:holder:{lock:<resource>}` - hash {token, fence, `acquired_at`, `ends_us`, owner, metadata}. Expires with
    /// the lease.
    pub holder: Key,
    /// `lock:queue:{lock:<resource>}` - sorted set of tickets by arrival. Expires with its longest wait.
    pub queue: Key,
    /// `lock:turn:{lock:<resource>}` - string, the ticket whose turn it is. Expires after a few turns.
    pub turn: Key,
}

impl LockKeys {
    /// `prefix` is [`LOCK`] or [`ADMISSION`].
    pub(super) fn new(space: &KeySpace, prefix: &str, resource: &Resource) -> Self {
        let lease = space.key(format_args!("{prefix}:{}", Segment(resource.as_str())));
        Self {
            fence: lease.sibling("lock:fence"),
            ahead: lease.sibling("lock:ahead"),
            holder: lease.sibling("lock:holder"),
            queue: lease.sibling("lock:queue"),
            turn: lease.sibling("lock:turn"),
            lease,
        }
    }
}

/// `locks:index` - sorted set of resources by the end of their lease, Unix microseconds. Every replica sweeps it. It
/// has a bounded number of entries, and expires once no lease was listed for the length of the longest lease.
pub(super) fn index(space: &KeySpace) -> Key {
    space.key("locks:index")
}

/// `locks:wake` - the channel on which scripts announce whose turn it is.
pub(super) fn wake_channel(space: &KeySpace) -> Key {
    space.key("locks:wake")
}

/// `locks:node` - string, the last known run of a lock node's server and the time from which it may vote. One per node;
/// never expires, since a node that lost it has forgotten its votes.
pub(super) fn node_record(space: &KeySpace) -> Key {
    space.key("locks:node")
}
