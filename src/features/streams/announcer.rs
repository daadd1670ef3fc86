//! Tells the subscribers of a stream's channel which version it has.
//!
//! An append only notes its stream. The notes of a short time become one message for each stream and one round trip, so that
//! appends do not wait for it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::json;
use serde_json::value::to_raw_value;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::names::StreamName;
use crate::events::{ChannelName, Events, Message, TagMap};

/// The shortest time between two rounds.
const PAUSE: Duration = Duration::from_millis(20);
/// The most streams that wait for the next round. Further ones are told with their next append.
const MAX_NOTED: usize = 10_000;
/// The most messages of one round trip.
const BATCH: usize = 500;

#[derive(Debug)]
pub(super) struct Announcer {
    events: Events,
    /// The newest version of each stream.
    noted: Mutex<HashMap<StreamName, u64>>,
    wake: Notify,
}

/// The channel of a stream. Names of streams contain no dots.
pub(super) fn channel(stream: &StreamName) -> String {
    format!("streams:{}", stream.as_str().replace(':', "."))
}

impl Announcer {
    pub(super) fn new(events: Events) -> Arc<Self> {
        Arc::new(Self { events, noted: Mutex::default(), wake: Notify::new() })
    }

    /// Notes that a stream has a version.
    pub(super) fn note(&self, stream: &StreamName, version: u64) {
        let mut noted = self.noted();
        if noted.len() < MAX_NOTED || noted.contains_key(stream) {
            let known = noted.entry(stream.clone()).or_default();
            *known = version.max(*known);
        }
        drop(noted);
        self.wake.notify_one();
    }

    /// Publishes what is noted, until `stop`; then once more.
    pub(super) async fn run(self: Arc<Self>, stop: CancellationToken) {
        loop {
            let is_over = stop.run_until_cancelled(self.wake.notified()).await.is_none();
            let noted: Vec<_> = std::mem::take(&mut *self.noted()).into_iter().collect();
            for part in noted.chunks(BATCH) {
                self.publish(part).await;
            }
            if is_over || stop.run_until_cancelled(tokio::time::sleep(PAUSE)).await.is_none() && self.noted().is_empty()
            {
                return;
            }
        }
    }

    async fn publish(&self, noted: &[(StreamName, u64)]) {
        let messages: Vec<_> = noted.iter().filter_map(|(stream, version)| message(stream, *version)).collect();
        let items: Vec<_> = messages.iter().map(|(channel, message)| (channel, message)).collect();
        // A message of an older version is superseded, and a configuration without the namespace has no such channel.
        if let Err(fault) = self.events.publish_all(&items).await {
            tracing::debug!(%fault, "could not tell the versions of streams");
        }
    }

    fn noted(&self) -> MutexGuard<'_, HashMap<StreamName, u64>> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn message(stream: &StreamName, version: u64) -> Option<(ChannelName, Message)> {
    let channel = ChannelName::parse(&channel(stream)).ok()?;
    let message = Message {
        id: format!("{stream}-{version}"),
        may_be_repeated: false,
        message_type: "Appended".to_owned(),
        version: "1.0".to_owned(),
        data: to_raw_value(&json!({ "stream": stream, "version": version })).ok()?,
        key: None,
        tags: TagMap::new(),
        revision: Some(version),
    };
    Some((channel, message))
}
