//! The Redis keys of alerts.
//!
//! | key | type | TTL | deleted by |
//! |---|---|---|---|
//! | `alerts:{state}` | hash: `<condition>\|<subject>` -> the alert that fires, JSON | none | the end of the alert |
//! | `alerts:{acks}` | hash: id -> acknowledgement, JSON | none | the end of the alert |
//! | `alerts:{history}` | list of the newest [`HISTORY`] changes, JSON | none | newer ones |
//! | `alerts:{turn}` | string: when a replica last spoke for all | none | |

use crate::redis::{Key, KeySpace};

/// The most entries of the history.
pub(super) const HISTORY: usize = 1_000;

#[derive(Clone, Debug)]
pub(super) struct AlertKeys {
    pub state: Key,
    pub acks: Key,
    pub history: Key,
    pub turn: Key,
}

impl AlertKeys {
    pub(super) fn new(space: &KeySpace) -> Self {
        let key = |name: &str| space.key(format_args!("alerts:{{{name}}}"));
        Self { state: key("state"), acks: key("acks"), history: key("history"), turn: key("turn") }
    }
}
