//! Wakes those that wait for changes of books, at this replica.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::redis::{Key, ListenerChange, News, Redis};

/// The books that are followed, by the channel on which scripts announce their changes.
#[derive(Debug)]
pub(super) struct Movements {
    books: Mutex<HashMap<String, watch::Sender<()>>>,
    subscriptions: mpsc::UnboundedSender<ListenerChange>,
}

impl Movements {
    /// Returns the movements, and the subscriptions that [`Movements::listen`] makes.
    pub(super) fn new() -> (Arc<Self>, mpsc::UnboundedReceiver<ListenerChange>) {
        let (subscriptions, receiver) = mpsc::unbounded_channel();
        (Arc::new(Self { books: Mutex::default(), subscriptions }), receiver)
    }

    /// Follows a channel: the receiver changes with every change of its book, and when changes may have been missed.
    pub(super) fn follow(&self, channel: &Key) -> watch::Receiver<()> {
        let mut books = self.books();
        if let Some(sender) = books.get(channel.as_str()) {
            return sender.subscribe();
        }
        let (sender, receiver) = watch::channel(());
        books.insert(channel.as_str().to_owned(), sender);
        // Without a listener the service is stopping.
        let _ = self.subscriptions.send(ListenerChange::Subscribe(channel.clone()));
        receiver
    }

    /// Receives announcements until `stop`; runs as a background task.
    pub(super) async fn listen(
        self: Arc<Self>,
        redis: Redis,
        mut changes: mpsc::UnboundedReceiver<ListenerChange>,
        stop: CancellationToken,
    ) {
        let keys = redis.keys().clone();
        redis
            .listen(&mut changes, stop, |news| match news {
                News::Message { channel, .. } => {
                    let mut books = self.books();
                    let Some(sender) = books.get(channel) else { return };
                    // Failing means that nothing waits any more.
                    if sender.send(()).is_err() {
                        books.remove(channel);
                        let _ = self.subscriptions.send(ListenerChange::Unsubscribe(keys.named(channel)));
                    }
                }
                News::Subscribed(channels) => {
                    let books = self.books();
                    channels.iter().filter_map(|channel| books.get(channel.as_str())).for_each(|book| {
                        let _ = book.send(());
                    });
                }
                // Waiting requests end with their deadline.
                News::Denied(_) => {}
                News::Lost => self.books().values().for_each(|book| {
                    let _ = book.send(());
                }),
            })
            .await;
    }

    fn books(&self) -> MutexGuard<'_, HashMap<String, watch::Sender<()>>> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
