//! Leaves a former master as soon as a Sentinel names its successor.
//!
//! A former master that is well accepts writes until the Sentinels turn it into a replica, which they do seconds after they
//! have chosen the new one. What it accepts in between is lost.

use futures_util::StreamExt;
use redis::{ConnectionInfo, RedisError};
use tokio_util::sync::CancellationToken;

use super::topology::subscriber_at;
use super::{Backoff, Redis};
use crate::lifecycle::Tasks;

/// A Sentinel publishes `<name> <old host> <old port> <new host> <new port>` here when it uses the new master.
const CHANNEL: &str = "+switch-master";

impl Redis {
    /// Follows every configured Sentinel; does nothing for other topologies.
    pub(super) fn follow_sentinels(&self, tasks: &Tasks) {
        let Some(sentinels) = self.0.private_pool.manager().sentinels() else { return };
        for sentinel in &sentinels.addresses {
            let (this, sentinel) = (self.clone(), sentinel.clone());
            tasks.spawn("redis.sentinel", move |stop| async move { this.follow(&sentinel, stop).await });
        }
    }

    async fn follow(&self, sentinel: &ConnectionInfo, stop: CancellationToken) {
        let mut backoff: Backoff = self.0.limits.backoff;
        loop {
            let ended = tokio::select! {
                () = stop.cancelled() => return,
                ended = self.hear(sentinel, &mut backoff) => ended,
            };
            if let Err(error) = ended {
                tracing::debug!(%error, "cannot follow a Sentinel");
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(backoff.pause()) => {}
            }
        }
    }

    /// Hears one Sentinel until the connection to it ends.
    async fn hear(&self, sentinel: &ConnectionInfo, backoff: &mut Backoff) -> Result<(), RedisError> {
        let connector = self.0.private_pool.manager();
        let Some(sentinels) = connector.sentinels() else { return Ok(()) };
        let mut subscriber = subscriber_at(sentinel.clone()).await?;
        subscriber.subscribe(CHANNEL).await?;
        backoff.reset();
        // It may have chosen the new master while the service did not hear it.
        if sentinels.is_newer(sentinel).await? {
            tracing::info!(redis = self.servers(), "a Sentinel has chosen a new master");
            connector.leave();
        }
        let mut messages = subscriber.into_on_message();
        while let Some(message) = messages.next().await {
            let text = String::from_utf8_lossy(message.get_payload_bytes());
            let mut fields = text.split(' ');
            if fields.next() != Some(&*sentinels.name) {
                continue;
            }
            tracing::info!(redis = self.servers(), switch = %text, "a Sentinel names a new master");
            // A dedicated connection in use goes on: its server refuses further writes once it is a replica.
            match (fields.nth(2), fields.next().map(str::parse)) {
                (Some(host), Some(Ok(port))) => connector.leave_for(host, port),
                _ => connector.leave(),
            }
        }
        Ok(())
    }
}
