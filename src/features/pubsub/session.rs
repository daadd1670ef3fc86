//! One connected client, whatever its protocol: its credential, its subscriptions and its rights.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::access::{Verb, may};
use super::delivery::Position;
use super::error::PubSubError;
use super::model::{HistoryReply, PresenceReply, PublishReply, PublishRequest, SHORT_PAGE_BYTES};
use super::service::PubSubService;
use super::sockets::{SocketHandle, SocketPermit};
use super::subscriber::{Subscribed, Subscriber};
use super::subscription::Delivering;
use crate::events::{ChannelName, HistoryOrder, Member};
use crate::http::auth::{Caller, Principal};
use crate::http::problem::{Problem, UNAUTHENTICATED};
use crate::random;

/// How many commands a client may send at once ...
const COMMAND_BURST: f64 = 200.0;
/// ... and per second in the long run.
const COMMAND_RATE: f64 = 50.0;

/// Why the service ends a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// The channel token has ended.
    Expired,
    /// The rules do not permit it any more.
    Forbidden,
    /// An operator ended it.
    Revoked,
}

/// A connected client.
#[derive(Debug)]
pub(super) struct Session {
    pub pubsub: Arc<PubSubService>,
    /// Names the connection to others and to operators, and takes their orders.
    pub handle: Arc<SocketHandle>,
    pub subscriber: Subscriber,
    caller: Caller,
    permit: SocketPermit,
    /// The subscriptions that a channel token permits, and when it ends.
    by_token: Vec<(ChannelName, Instant)>,
    /// When the credential ends; `None` if it does not.
    pub expires: Option<Instant>,
    /// The commands that the client may send now, as of a moment.
    allowance: (f64, Instant),
}

impl Session {
    pub(super) fn new(pubsub: &Arc<PubSubService>, caller: Caller, permit: SocketPermit) -> Self {
        let client = random::unique_text();
        let subscriber = Subscriber::new(&pubsub.channels);
        let allowance = (COMMAND_BURST, Instant::now());
        let expires = caller.principal.as_ref().and_then(|principal| principal.end(pubsub.clock.now()));
        let subject = caller.principal.as_deref().map_or("", subject_of);
        let handle = SocketHandle::new(client, subject, Arc::clone(subscriber.signal()));
        pubsub.sockets.register(&handle);
        let by_token = Vec::new();
        Self { pubsub: Arc::clone(pubsub), handle, subscriber, caller, permit, by_token, expires, allowance }
    }

    pub(super) fn principal(&self) -> Option<&Principal> {
        self.caller.principal.as_deref()
    }

    /// The subject of the client's token, or the name of its key; empty without a credential.
    pub(super) fn subject(&self) -> &str {
        self.principal().map_or("", subject_of)
    }

    /// Takes a credential from the client: its first one, or one that replaces it.
    ///
    /// # Errors
    /// `unauthenticated` (401) if it is not valid or belongs to another subject, `too-many-sockets` (429).
    pub(super) async fn authenticate(&mut self, credential: &str) -> Result<(), Problem> {
        let refused = || Problem::new(&UNAUTHENTICATED).detail("the token is not valid");
        let principal = self.caller.authenticator.verify(credential).ok_or_else(refused)?;
        if self.pubsub.channels.revocations.is_revoked(&principal).await {
            return Err(refused());
        }
        let is_other = self.principal().is_some_and(|known| known.subject() != principal.subject());
        if is_other && !principal.is_anonymous() {
            return Err(Problem::new(&UNAUTHENTICATED).detail("the token belongs to another subject"));
        }
        self.permit.assign(&principal)?;
        self.expires = principal.end(self.pubsub.clock.now());
        let is_known = self.subject() == subject_of(&principal);
        self.handle.set_subject(subject_of(&principal));
        self.caller.principal = Some(principal);
        if self.is_revoked() {
            return Err(refused());
        }
        if !is_known {
            let shown = self.subscriber.channels().filter(|channel| channel.namespace().presence);
            let shown: Vec<_> = shown.map(|channel| channel.name.clone()).collect();
            for channel in &shown {
                self.attend(channel);
            }
        }
        Ok(())
    }

    /// Whether the client's token was revoked while it connected: an order that came before the client was known did not
    /// reach it.
    pub(super) fn is_revoked(&self) -> bool {
        self.principal().is_some_and(|caller| self.pubsub.channels.revocations.is_known(caller))
    }

    /// Whether a credential that is not accepted was valid before.
    pub(super) fn has_expired(&self, credential: &str) -> bool {
        self.caller.authenticator.has_expired(credential)
    }

    /// Whether the credential has ended: nothing may be done or delivered with it any more.
    pub(super) fn is_over(&self) -> bool {
        self.expires.is_some_and(|at| at <= Instant::now())
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
        token: Option<&str>,
        since: Option<Position>,
        delivering: Delivering,
    ) -> Result<Subscribed, PubSubError> {
        let ends = token.map(|token| self.verify(token, channel)).transpose()?;
        let namespace = self.pubsub.events.namespace(channel)?;
        may(self.principal(), Verb::Subscribe, channel, &namespace, ends.is_some())?;
        if delivering.presence && !namespace.presence {
            return Err(PubSubError::PresenceDisabled { channel: channel.clone() });
        }
        let is_shown = namespace.presence;
        let subscribed = self.subscriber.subscribe(channel, since, delivering).await?;
        if is_shown {
            self.attend(channel);
        }
        self.note_token(channel, ends);
        Ok(subscribed)
    }

    /// Shows the client to the others in a channel.
    fn attend(&mut self, channel: &ChannelName) {
        let member = Member { client: self.handle.client.clone(), subject: self.subject().to_owned() };
        self.subscriber.attend(channel, || self.pubsub.presence.join(channel, member));
    }

    /// When a channel token ends that permits the channel.
    fn verify(&self, token: &str, channel: &ChannelName) -> Result<Instant, PubSubError> {
        let tokens = self.pubsub.tokens.as_ref().ok_or(PubSubError::TokensDisabled)?;
        let now = self.pubsub.clock.now();
        let token = tokens.verify(token, now).filter(|token| token.permits(channel, self.subject()));
        let token = token.ok_or_else(|| PubSubError::TokenInvalid { channel: channel.clone() })?;
        let left = token.left(now).ok_or(PubSubError::TokenExpired)?;
        Ok(Instant::now() + left)
    }

    /// Replaces the channel token of a subscription.
    ///
    /// # Errors
    /// [`PubSubError::NotSubscribed`], or what is wrong with the token.
    pub(super) fn renew(&mut self, channel: &ChannelName, token: &str) -> Result<(), PubSubError> {
        let ends = self.verify(token, channel)?;
        if !self.subscriber.is_subscribed(channel) {
            return Err(PubSubError::NotSubscribed { channel: channel.clone() });
        }
        self.note_token(channel, Some(ends));
        Ok(())
    }

    fn note_token(&mut self, channel: &ChannelName, ends: Option<Instant>) {
        self.by_token.retain(|(known, _)| known != channel);
        self.by_token.extend(ends.map(|ends| (channel.clone(), ends)));
    }

    /// The time until the channel token of a subscription ends; `None` without one.
    pub(super) fn token_ends_in(&self, channel: &ChannelName) -> Option<Duration> {
        let (_, ends) = self.by_token.iter().find(|(known, _)| known == channel)?;
        Some(ends.saturating_duration_since(Instant::now()))
    }

    /// When the first channel token ends.
    pub(super) fn next_token_end(&self) -> Option<Instant> {
        self.by_token.iter().map(|(_, ends)| *ends).min()
    }

    /// Ends the subscriptions whose channel token has ended, and returns their channels.
    pub(super) fn end_expired(&mut self) -> Vec<ChannelName> {
        let now = Instant::now();
        let ended: Vec<_> = self.by_token.extract_if(.., |(_, ends)| *ends <= now).map(|(name, _)| name).collect();
        for name in &ended {
            self.subscriber.unsubscribe(name);
        }
        ended
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
        self.pubsub.history(channel, since, order, limit, SHORT_PAGE_BYTES).await
    }

    /// The clients of a channel; only their numbers unless `is_list`.
    ///
    /// # Errors
    /// [`PubSubError`].
    pub(super) async fn presence(&self, channel: &ChannelName, is_list: bool) -> Result<PresenceReply, PubSubError> {
        self.require(Verb::Subscribe, channel)?;
        self.pubsub.presence(channel, is_list).await
    }

    /// Carries out the orders of operators, and checks the rights of the client if the rules have changed: returns the
    /// channels whose subscriptions are over, or `None` if the connection is.
    pub(super) fn obey(&mut self) -> Option<Vec<(ChannelName, Ended)>> {
        let mut ended = Vec::new();
        for order in self.handle.take_orders() {
            let channel = order.channel?;
            if self.subscriber.unsubscribe(&channel) {
                ended.push((channel, Ended::Revoked));
            }
        }
        if self.handle.take_check_of_rights() {
            ended.extend(self.end_forbidden().into_iter().map(|channel| (channel, Ended::Forbidden)));
        }
        Some(ended)
    }

    /// Ends the subscriptions that the credential does not permit any more, and returns their channels.
    pub(super) fn end_forbidden(&mut self) -> Vec<ChannelName> {
        let names: Vec<_> = self.subscriber.channels().map(|channel| channel.name.clone()).collect();
        let is_forbidden = |name: &ChannelName| self.require(Verb::Subscribe, name).is_err();
        let forbidden: Vec<_> = names.into_iter().filter(is_forbidden).collect();
        for name in &forbidden {
            self.subscriber.unsubscribe(name);
        }
        forbidden
    }

    /// Checks the rights of the client, including those of the token of a subscription.
    fn require(&self, verb: Verb, channel: &ChannelName) -> Result<(), PubSubError> {
        let has_token = self.by_token.iter().any(|(known, _)| known == channel);
        may(self.principal(), verb, channel, &*self.pubsub.events.namespace(channel)?, has_token)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.pubsub.sockets.forget(&self.handle);
    }
}

/// The subject of a caller's token, or the name of its key.
fn subject_of(principal: &Principal) -> &str {
    principal.subject().unwrap_or(&principal.id)
}
