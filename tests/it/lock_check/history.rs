//! The events of a run as the clients saw them: one line of JSON each, for later study.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::faults::Fault;

/// A request to a replica that named a lock, and its response. Times are microseconds of [`super::clock`].
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Exchange {
    /// Unique in a run: a client that was killed has a successor with another number.
    pub client: usize,
    pub name: String,
    /// When the request was sent.
    pub sent: u64,
    /// When the response arrived, or the client gave up.
    pub received: u64,
    /// The fencing token that was granted, or that the write carried.
    pub fence: u64,
}

/// The outcome of a write to what the lock protects.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Accepted,
    /// The target has seen a higher token.
    Refused,
    /// No response, or an indefinite one.
    Unknown,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A client relies on a lock from `received` until `valid_until`, unless it says otherwise.
    Granted {
        #[serde(flatten)]
        exchange: Exchange,
        valid_until: u64,
    },
    /// A client continues to rely on its last grant, without a gap.
    Extended { client: usize, valid_until: u64 },
    /// A client is about to release its last grant.
    Ended { client: usize, at: u64 },
    /// A lock was not granted: the status of the response, or 0 without one.
    Denied { client: usize, name: String, sent: u64, received: u64, status: u16 },
    /// A client disconnected without waiting for the response.
    Abandoned { client: usize, name: String, sent: u64 },
    Wrote {
        #[serde(flatten)]
        exchange: Exchange,
        outcome: Outcome,
    },
    /// A fault was injected and healed.
    FaultInjected { fault: Fault, injected: u64, healed: u64 },
    /// The final value of the target: the token of the last write.
    Kept { name: String, fence: u64 },
}

impl Event {
    /// JSON, and the end of the line.
    pub fn to_line(&self) -> String {
        let mut line = serde_json::to_string(self).expect("events are JSON");
        line.push('\n');
        line
    }

    pub fn from_line(line: &str) -> Self {
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"))
    }
}

/// A lock as its holder saw it.
#[derive(Clone, Debug)]
pub struct Grant {
    pub exchange: Exchange,
    /// The end of its validity, or when the holder sent its release.
    pub relied_until: u64,
}

#[derive(Clone, Debug)]
pub struct Write {
    pub exchange: Exchange,
    pub outcome: Outcome,
}

/// The events by their subject.
#[derive(Clone, Debug, Default)]
pub struct History {
    pub grants: Vec<Grant>,
    pub writes: Vec<Write>,
    /// Name and token.
    pub kept: Vec<(String, u64)>,
}

impl History {
    /// Each client's events in their order; those of different clients may be mixed in any way.
    pub fn new(events: &[Event]) -> Self {
        let mut history = Self::default();
        let mut last_grant: HashMap<usize, usize> = HashMap::new();
        for event in events {
            match event {
                Event::Granted { exchange, valid_until } => {
                    last_grant.insert(exchange.client, history.grants.len());
                    history.grants.push(Grant { exchange: exchange.clone(), relied_until: *valid_until });
                }
                Event::Extended { client, valid_until } => {
                    let grant = &mut history.grants[last_grant[client]];
                    grant.relied_until = grant.relied_until.max(*valid_until);
                }
                Event::Ended { client, at } => {
                    let grant = &mut history.grants[last_grant[client]];
                    grant.relied_until = grant.relied_until.min(*at);
                }
                Event::Wrote { exchange, outcome } => {
                    history.writes.push(Write { exchange: exchange.clone(), outcome: *outcome });
                }
                Event::Kept { name, fence } => history.kept.push((name.clone(), *fence)),
                Event::Denied { .. } | Event::Abandoned { .. } | Event::FaultInjected { .. } => {}
            }
        }
        history
    }
}

/// Writes the events to `<folder>/<name>.jsonl`.
pub fn save(events: &[Event], folder: &Path, name: &str) -> PathBuf {
    let lines: String = events.iter().map(Event::to_line).collect();
    std::fs::create_dir_all(folder).expect("the folder for histories");
    let path = folder.join(format!("{name}.jsonl"));
    std::fs::write(&path, lines).expect("the history is written");
    path
}

/// Reads the output of [`save`].
pub fn load(path: &Path) -> Vec<Event> {
    let text = std::fs::read_to_string(path).expect("a history");
    text.lines().map(Event::from_line).collect()
}
