//! Wakes those that wait for changes of something in Redis, at this replica.
//!
//! Scripts announce each change on a channel. One connection follows the channels of all that wait, so a wait takes no
//! connection and no command.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::redis::{Key, ListenerChange, News, Redis};

/// What is followed, by the channel on which scripts announce its changes.
#[derive(Debug)]
pub struct Movements {
    followed: Mutex<HashMap<String, watch::Sender<()>>>,
    subscriptions: mpsc::UnboundedSender<ListenerChange>,
}

impl Movements {
    /// Returns the movements, and the subscriptions that [`Movements::listen`] makes.
    pub fn new() -> (Arc<Self>, mpsc::UnboundedReceiver<ListenerChange>) {
        let (subscriptions, receiver) = mpsc::unbounded_channel();
        (Arc::new(Self { followed: Mutex::default(), subscriptions }), receiver)
    }

    /// Follows a channel: the receiver changes with every change, and when changes may have been missed.
    pub fn follow(&self, channel: &Key) -> watch::Receiver<()> {
        let mut followed = self.followed();
        if let Some(sender) = followed.get(channel.as_str()) {
            return sender.subscribe();
        }
        let (sender, receiver) = watch::channel(());
        followed.insert(channel.as_str().to_owned(), sender);
        // Without a listener the service is stopping.
        let _ = self.subscriptions.send(ListenerChange::Subscribe(channel.clone()));
        receiver
    }

    /// Receives announcements until `stop`; runs as a background task.
    pub async fn listen(
        self: Arc<Self>,
        redis: Redis,
        mut changes: mpsc::UnboundedReceiver<ListenerChange>,
        stop: CancellationToken,
    ) {
        let keys = redis.keys().clone();
        redis
            .listen(&mut changes, stop, |news| match news {
                News::Message { channel, .. } => {
                    let mut followed = self.followed();
                    let Some(sender) = followed.get(channel) else { return };
                    // Failing means that nothing waits any more.
                    if sender.send(()).is_err() {
                        followed.remove(channel);
                        let _ = self.subscriptions.send(ListenerChange::Unsubscribe(keys.named(channel)));
                    }
                }
                News::Subscribed(channels) => {
                    let followed = self.followed();
                    channels.iter().filter_map(|channel| followed.get(channel.as_str())).for_each(|sender| {
                        let _ = sender.send(());
                    });
                }
                // Waiting requests end with their deadline.
                News::Denied(_) | News::Probed => {}
                News::Lost => self.followed().values().for_each(|sender| {
                    let _ = sender.send(());
                }),
            })
            .await;
    }

    fn followed(&self) -> MutexGuard<'_, HashMap<String, watch::Sender<()>>> {
        self.followed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
