//! One subscription over a connection of its own, kept up in the background.

use std::time::Duration;

use futures_util::StreamExt;
use redis::aio::PubSubSink;
use tokio_util::sync::CancellationToken;

use super::backoff::Backoff;
use super::key::Key;
use super::topology::Connector;

/// What a subscription brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// From now on messages come; earlier ones may have been missed.
    Subscribed,
    /// A message's text.
    Message(String),
}

/// A connection on which nothing comes is asked this often whether it is still one ...
const PING_INTERVAL: Duration = Duration::from_secs(5);
/// ... and given up when it does not say so.
const PING_TIMEOUT: Duration = Duration::from_secs(2);

/// Delivers what is published on `channel` until `stop`; reconnects with full jitter.
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
            Err(error) => tracing::debug!(%error, channel = channel.as_str(), "not subscribed"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(backoff.pause()) => {}
        }
    }
}

/// Resolves when the server does not answer in time.
async fn silence(questions: &mut PubSubSink) {
    loop {
        tokio::time::sleep(PING_INTERVAL).await;
        // A refusal is an answer too: a server that protects its data refuses PING and passes messages on.
        if tokio::time::timeout(PING_TIMEOUT, questions.ping::<redis::Value>()).await.is_err() {
            return;
        }
    }
}
