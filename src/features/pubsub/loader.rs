//! Reads the messages of channels from Redis: the newest when a channel is subscribed or misses messages, and the log for
//! subscribers that are behind.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::channel::Channel;
use super::channels::Channels;
use super::delivery::{Delivery, Position, parsed};
use super::error::PubSubError;
use super::log_page::{LogPage, LogRead, PAGE_LIFE};
use super::ring::{RING, RING_BYTES};
use crate::events::{History, HistoryOrder, HistoryRange, Keep};

/// The most channels whose messages are read in one round trip.
const LOADS: usize = 8;
/// The most bytes of the messages of each: those that its ring can take, which counts every byte twice.
const LOAD_BYTES: usize = RING_BYTES / 2;
/// The pause before a failed read is repeated.
const LOAD_PAUSE: Duration = Duration::from_millis(200);
/// The most messages of one page of the log ...
const PAGE: usize = 100;
/// ... and their most bytes.
const PAGE_BYTES: usize = 256 << 10;

impl Channels {
    /// The newest message of each key, in the order of their offsets, and the channel's position, once it receives messages;
    /// `None` if Redis denies it. If the ring had to forget what the channel stores, it is read again.
    pub(super) async fn snapshot(&self, channel: &Arc<Channel>) -> Option<(Vec<Arc<Delivery>>, Position)> {
        let start = Position { epoch: Box::default(), offset: 0 };
        loop {
            channel.live().await?;
            let newest = channel.latest_after(&start);
            if channel.keep() != Keep::Latest || channel.forgotten_after(&start).is_none() {
                return Some(newest);
            }
            channel.reload();
            self.request_load(Arc::clone(channel));
        }
    }

    /// Reads the log behind a position. Subscribers that follow each other share one read.
    ///
    /// # Errors
    /// A fault of Redis.
    pub(super) async fn read_log(&self, channel: &Channel, after: &Position) -> Result<Arc<LogRead>, PubSubError> {
        let mut page = channel.log_reads.lock().await;
        if let Some(page) = page.as_ref()
            && page.at.elapsed() < PAGE_LIFE
            && page.read.epoch == after.epoch
            && page.after.offset <= after.offset
            && page.read.messages.last().is_some_and(|last| after.offset < last.offset)
        {
            return Ok(Arc::clone(&page.read));
        }
        let range =
            HistoryRange { order: HistoryOrder::Asc, offset: Some(after.offset), limit: PAGE, bytes: PAGE_BYTES };
        let history = self.events.history(&channel.name, range).await?;
        self.metrics.log_reads.inc();
        let messages = parsed(&history.messages);
        let read = LogRead { epoch: history.epoch.into(), first: history.first, top: history.offset, messages };
        let read = Arc::new(read);
        let after = Position { epoch: read.epoch.clone(), offset: after.offset };
        *page = Some(LogPage { after, read: Arc::clone(&read), at: Instant::now() });
        Ok(read)
    }

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
            self.bound_rings();
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
        let Ok(histories) = self.events.newest(&named, RING, LOAD_BYTES).await else { return batch };
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
