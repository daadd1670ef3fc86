//! Reads the newest messages of channels that were subscribed, or that miss messages.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::channel::Channel;
use super::channels::Channels;
use super::delivery::parsed;
use super::ring::RING;
use crate::events::{History, Keep};

/// The most channels whose messages are read in one round trip.
const LOADS: usize = 500;
/// The pause before a failed read is repeated.
const LOAD_PAUSE: Duration = Duration::from_millis(200);

impl Channels {
    /// Reads the newest messages of channels that were subscribed or miss messages, until `stop`.
    pub(super) async fn load(&self, mut to_load: mpsc::UnboundedReceiver<Arc<Channel>>, stop: CancellationToken) {
        let mut batch: Vec<Arc<Channel>> = Vec::new();
        loop {
            let count = tokio::select! {
                () = stop.cancelled() => return,
                count = to_load.recv_many(&mut batch, LOADS) => count,
            };
            if count == 0 {
                return;
            }
            batch.sort_unstable_by(|one, other| one.name.cmp(&other.name));
            batch.dedup_by(|one, other| Arc::ptr_eq(one, other));
            let failed = self.load_batch(std::mem::take(&mut batch)).await;
            if failed.is_empty() {
                continue;
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOAD_PAUSE) => {}
            }
            for channel in failed {
                self.request_load(channel);
            }
        }
    }

    /// Returns the channels that must be read again.
    async fn load_batch(&self, batch: Vec<Arc<Channel>>) -> Vec<Arc<Channel>> {
        let named: Vec<_> = batch.iter().map(|channel| (channel.name.clone(), channel.namespace())).collect();
        let Ok(histories) = self.events.newest(&named, RING).await else { return batch };
        let mut failed = Vec::new();
        for (channel, history) in batch.into_iter().zip(histories) {
            let is_loaded = match history {
                Ok(history) => self.take_newest(&channel, history).await,
                Err(fault) => {
                    tracing::debug!(%fault, channel = %channel.name, "could not read the newest messages");
                    false
                }
            };
            if !is_loaded {
                failed.push(channel);
            }
        }
        failed
    }

    async fn take_newest(&self, channel: &Arc<Channel>, history: History) -> bool {
        let messages = match channel.keep() {
            Keep::Log => {
                let mut messages = parsed(&history.messages);
                messages.reverse();
                messages
            }
            Keep::Latest => match self.events.latest(&channel.name).await {
                Ok(latest) => parsed(&latest),
                Err(_) => return false,
            },
            Keep::None => Vec::new(),
        };
        // The second read may contain messages that are newer than the first.
        let top = messages.last().map_or(history.offset, |newest| newest.offset.max(history.offset));
        channel.load(&history.epoch, top, messages)
    }
}
