//! The keys of event streams in Redis. Those of one stream share a slot.
//!
//! | key | type | TTL | deleted by |
//! |---|---|---|---|
//! | `streams:meta:{<stream>}` | hash: `v` last version, `c` and `t` times of the first and the last append | `max_age` and 30 days after the last append | DELETE, expiry |
//! | `streams:log:{<stream>}` | stream of `<version>-0`: an event | the same | DELETE, expiry, trimming |
//! | `streams:ids:{<stream>}` | sorted set: an id that a client chose -> version | the same | DELETE, expiry, trimming |
//! | `streams:groups:{<stream>}` | hash of `<group>\|<field>`: settings and state of the groups | the same | DELETE, expiry |
//! | `streams:due:{<stream>}:<group>` | sorted set: version, in 16 digits -> when it may be delivered again | `group_idle` | DELETE, expiry |
//! | `streams:held:{<stream>}:<group>` | sorted set: the same versions in their order | `group_idle` | DELETE, expiry |
//! | `streams:info:{<stream>}:<group>` | hash: version -> delivery, deliveries, consumer | `group_idle` | DELETE, expiry |
//! | `streams:dead:{<stream>}:<group>` | sorted set: dead letter -> version | `group_idle` | redrive, DELETE, expiry |
//! | `streams:fence:{<stream>}` | integer: the highest fencing token seen | `fencing.outlive` | expiry |
//! | `streams:moved:{<stream>}` | channel: the stream or one of its groups has something to deliver | | |
//! | `streams:index` | sorted set: stream -> when it was last registered | two minutes longer than meta | DELETE, expiry |
//! | `streams:owners:{streams:index}` | sorted set: stream -> who created it, a number of 48 bits | the same | DELETE, expiry |

use super::names::{ShortName, StreamName};
use crate::http::auth::Principal;
use crate::http::auth::api_key::digest;
use crate::redis::{Key, KeySpace};

/// The keys of one stream.
#[derive(Debug)]
pub(super) struct StreamKeys {
    pub meta: Key,
    pub log: Key,
    pub ids: Key,
    pub groups: Key,
    pub fence: Key,
    /// The channel that wakes those that wait.
    pub moved: Key,
}

impl StreamKeys {
    pub(super) fn new(space: &KeySpace, stream: &StreamName) -> Self {
        let base = space.key(stream);
        Self {
            meta: base.sibling("streams:meta"),
            log: base.sibling("streams:log"),
            ids: base.sibling("streams:ids"),
            groups: base.sibling("streams:groups"),
            fence: base.sibling("streams:fence"),
            moved: base.sibling("streams:moved"),
        }
    }
}

/// The keys of one group: due, held, info, dead.
pub(super) fn group_keys(space: &KeySpace, stream: &StreamName, group: &ShortName) -> [Key; 4] {
    let base = space.key(stream);
    ["streams:due", "streams:held", "streams:info", "streams:dead"].map(|kind| base.part(kind, group))
}

/// The list of streams.
pub(super) fn index(space: &KeySpace) -> Key {
    space.key("streams:index")
}

/// Who created the listed streams.
pub(super) fn owners(index: &Key) -> Key {
    index.sibling("streams:owners")
}

/// The number of a credential among the owners of streams; `None` if callers are not told apart.
pub(super) fn owner(caller: &Principal) -> Option<u64> {
    let [first, second, third, fourth, fifth, sixth, ..] = digest(caller.id.as_bytes());
    // A score of a sorted set is exact up to 53 bits.
    let number = u64::from_be_bytes([0, 0, first, second, third, fourth, fifth, sixth]);
    (!caller.is_anonymous()).then_some(number)
}
