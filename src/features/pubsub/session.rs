//! One connected client, whatever its protocol: its credential, its subscriptions and its rights.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::access::{Verb, may};
use super::delivery::Position;
use super::error::PubSubError;
use super::model::{HistoryReply, PublishReply, PublishRequest};
use super::service::PubSubService;
use super::sockets::SocketPermit;
use super::subscriber::{Delivering, Subscribed, Subscriber};
use crate::events::{ChannelName, HistoryOrder};
use crate::http::auth::{Caller, Principal};
use crate::http::problem::{Problem, UNAUTHENTICATED};
use crate::random;

/// How many commands a client may send at once ...
const COMMAND_BURST: f64 = 200.0;
/// ... and per second in the long run.
const COMMAND_RATE: f64 = 50.0;

/// A connected client.
#[derive(Debug)]
pub(super) struct Session {
    pub pubsub: Arc<PubSubService>,
    /// Names the connection to others and to operators.
    pub client: String,
    pub subscriber: Subscriber,
    caller: Caller,
    permit: SocketPermit,
    /// When the credential ends; `None` if it does not.
    pub expires: Option<Instant>,
    /// The commands that the client may send now, as of a moment.
    allowance: (f64, Instant),
}

impl Session {
    pub(super) fn new(pubsub: &Arc<PubSubService>, caller: Caller, permit: SocketPermit) -> Self {
        let bits = u128::from(random::fraction().to_bits()) << 64 | u128::from(random::fraction().to_bits());
        let client = String::from_utf8_lossy(&random::hex_digits(bits)).into_owned();
        let subscriber = Subscriber::new(&pubsub.channels);
        let allowance = (COMMAND_BURST, Instant::now());
        let expires = end_of(pubsub, caller.principal.as_deref());
        Self { pubsub: Arc::clone(pubsub), client, subscriber, caller, permit, expires, allowance }
    }

    pub(super) fn principal(&self) -> Option<&Principal> {
        self.caller.principal.as_deref()
    }

    /// The subject of the client's token, or the name of its key; empty without a credential.
    pub(super) fn subject(&self) -> &str {
        self.principal().map_or("", |principal| principal.subject().unwrap_or(&principal.id))
    }

    /// Takes a credential from the client: its first one, or one that replaces it.
    ///
    /// # Errors
    /// `unauthenticated` (401) if it is not valid or belongs to another subject, `too-many-sockets` (429).
    pub(super) fn authenticate(&mut self, credential: &str) -> Result<(), Problem> {
        let refused = || Problem::new(&UNAUTHENTICATED).detail("the token is not valid");
        let principal = self.caller.authenticator.verify(credential).ok_or_else(refused)?;
        let is_other = self.principal().is_some_and(|known| known.subject() != principal.subject());
        if is_other && !principal.is_anonymous() {
            return Err(Problem::new(&UNAUTHENTICATED).detail("the token belongs to another subject"));
        }
        self.permit.assign(&principal)?;
        self.expires = end_of(&self.pubsub, Some(&principal));
        self.caller.principal = Some(principal);
        Ok(())
    }

    /// Whether a credential that is not accepted was valid before.
    pub(super) fn has_expired(&self, credential: &str) -> bool {
        self.caller.authenticator.has_expired(credential)
    }

    /// The time until the credential ends; `None` if it does not.
    pub(super) fn expires_in(&self) -> Option<Duration> {
        self.expires.map(|at| at.saturating_duration_since(Instant::now()))
    }

    /// Counts a command. Returns whether the client may send it.
    pub(super) fn take_command(&mut self) -> bool {
        let (left, at) = self.allowance;
        let now = Instant::now();
        let left = (left + (now - at).as_secs_f64() * COMMAND_RATE).min(COMMAND_BURST) - 1.0;
        self.allowance = (left.max(0.0), now);
        left >= 0.0
    }

    /// Subscribes to a channel. A channel token may permit what the credential does not.
    ///
    /// # Errors
    /// [`PubSubError`].
    pub(super) async fn subscribe(
        &mut self,
        channel: &ChannelName,
        since: Option<Position>,
        delivering: Delivering,
    ) -> Result<Subscribed, PubSubError> {
        self.require(Verb::Subscribe, channel)?;
        self.subscriber.subscribe(channel, since, delivering).await
    }

    /// Publishes a message.
    ///
    /// # Errors
    /// [`PubSubError`].
    pub(super) async fn publish(
        &self,
        channel: ChannelName,
        request: PublishRequest,
    ) -> Result<PublishReply, PubSubError> {
        self.pubsub.publish(self.principal(), channel, request, None).await
    }

    /// Reads a page of the history, oldest first or newest first.
    ///
    /// # Errors
    /// [`PubSubError`].
    pub(super) async fn history(
        &self,
        channel: &ChannelName,
        since: Option<Position>,
        order: HistoryOrder,
        limit: usize,
    ) -> Result<HistoryReply, PubSubError> {
        self.require(Verb::Subscribe, channel)?;
        self.pubsub.history(channel, since, order, limit).await
    }

    /// Ends the subscriptions that the credential does not permit any more, and returns their channels.
    pub(super) fn end_forbidden(&mut self) -> Vec<ChannelName> {
        let names: Vec<_> = self.subscriber.channels().map(|channel| channel.name.clone()).collect();
        let forbidden: Vec<_> = names.into_iter().filter(|name| self.require(Verb::Subscribe, name).is_err()).collect();
        for name in &forbidden {
            self.subscriber.unsubscribe(name);
        }
        forbidden
    }

    fn require(&self, verb: Verb, channel: &ChannelName) -> Result<(), PubSubError> {
        may(self.principal(), verb, channel, self.pubsub.events.namespace(channel)?, false)
    }
}

/// When a credential ends, on the clock of this process.
fn end_of(pubsub: &PubSubService, principal: Option<&Principal>) -> Option<Instant> {
    let left = principal?.expires?.saturating_sub(pubsub.clock.now());
    Instant::now().checked_add(Duration::from_millis(u64::try_from(left).unwrap_or_default()))
}
