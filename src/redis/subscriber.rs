//! A subscription on a dedicated connection, kept alive in the background.

use std::time::Duration;

use futures_util::StreamExt;
use redis::aio::PubSubSink;
use tokio_util::sync::CancellationToken;

use super::backoff::Backoff;
use super::key::Key;
use super::topology::Connector;

/// An event of a subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// The subscription is active. Messages published before may have been missed.
    Subscribed,
    /// The text of a message.
    Message(String),
}

/// A silent connection is probed this often ...
const PING_INTERVAL: Duration = Duration::from_secs(5);
/// ... and closed if the server does not reply in time.
const PING_TIMEOUT: Duration = Duration::from_secs(2);

/// Delivers the messages of `channel` until `stop`; reconnects with full jitter.
pub(super) async fn follow(
    connector: &Connector,
    channel: &Key,
    mut backoff: Backoff,
    stop: &CancellationToken,
    deliver: &mut (impl FnMut(News) + Send),
) {
    loop {
        let subscribed = tokio::select! {
            () = stop.cancelled() => return,
            subscribed = connector.subscribe(channel) => subscribed,
        };
        match subscribed {
            Ok(connection) => {
                backoff.reset();
                deliver(News::Subscribed);
                let (mut questions, mut messages) = connection.split();
                loop {
                    tokio::select! {
                        () = stop.cancelled() => return,
                        message = messages.next() => {
                            // The stream ends with its connection.
                            let Some(message) = message else { break };
                            deliver(News::Message(String::from_utf8_lossy(message.get_payload_bytes()).into_owned()));
                        }
                        () = silence(&mut questions) => break,
                    }
                }
            }
            Err(error) => tracing::debug!(%error, channel = channel.as_str(), "subscription failed"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(backoff.pause()) => {}
        }
    }
}

/// Resolves if the server does not reply in time.
async fn silence(questions: &mut PubSubSink) {
    loop {
        tokio::time::sleep(PING_INTERVAL).await;
        // An error is a reply too: a server that protects its data refuses PING but delivers messages.
        if tokio::time::timeout(PING_TIMEOUT, questions.ping::<redis::Value>()).await.is_err() {
            return;
        }
    }
}
