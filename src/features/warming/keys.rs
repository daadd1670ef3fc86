//! The Redis keys of warming.
//!
//! | key | role | type | TTL | deleted by |
//! |---|---|---|---|---|
//! | `warming:{tasks}` | state | hash: task -> definition, JSON | none | DELETE of the task |
//! | `warming:version:{tasks}` | state | integer: changes of the hash so far | none | |
//! | `warming:state:{<task>}` | state | hash, see [`super::store`] | 30 days after its last change | expiry |
//! | `warming:runs:{<task>}` | state | list of the newest [`HISTORY`] runs, JSON | 30 days after the last run | expiry |
//! | `warming:turn:{<task>}` | state | string: when the runner last reported progress | none | the end of the run |
//! | `warming:validators:{<task>}` | cache | hash: key -> hash of the body and entity tag | 24 hours | expiry |
//! | `warming:seen:{<task>}` | cache | hash: replica -> the keys that its clients use most, JSON | a minute | expiry |

use crate::redis::{Key, KeySpace, Segment};

/// The most runs of a task that are kept.
pub(super) const HISTORY: usize = 200;
/// How long the state of a task is kept after its last change, milliseconds: a pause must survive a month of neglect.
pub(super) const STATE_LIFE: u64 = 30 * 86_400_000;

#[derive(Clone, Debug)]
pub(super) struct WarmingKeys {
    state: KeySpace,
    cache: KeySpace,
}

/// The keys of one task in the state role; they share a slot.
#[derive(Clone, Debug)]
pub(super) struct TaskKeys {
    pub state: Key,
    pub runs: Key,
    pub turn: Key,
}

impl WarmingKeys {
    pub(super) fn new(state: &KeySpace, cache: &KeySpace) -> Self {
        Self { state: state.clone(), cache: cache.clone() }
    }

    pub(super) fn tasks(&self) -> Key {
        self.state.key("warming:{tasks}")
    }

    pub(super) fn version(&self) -> Key {
        self.state.key("warming:version:{tasks}")
    }

    pub(super) fn task(&self, name: &str) -> TaskKeys {
        let key = |kind: &str| self.state.key(format_args!("warming:{kind}:{{{}}}", Segment(name)));
        TaskKeys { state: key("state"), runs: key("runs"), turn: key("turn") }
    }

    pub(super) fn validators(&self, name: &str) -> Key {
        self.cache.key(format_args!("warming:validators:{{{}}}", Segment(name)))
    }

    pub(super) fn seen(&self, name: &str) -> Key {
        self.cache.key(format_args!("warming:seen:{{{}}}", Segment(name)))
    }
}
