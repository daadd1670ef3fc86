//! The commands of a connection.

use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, Utf8Bytes};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::super::error::PubSubError;
use super::super::session::{Ended, Session};
use super::super::socket::{CloseReason, Protocol};
use super::super::subscription::Event;
use super::error::{CommandError, Refusal};
use super::frames::{self, Command, error_reply, reply};
use super::presence::presence_result;
use super::publication::{HistoryParams, Publication, publish_request};
use super::subscribe::{TokenState, subscribe};
use crate::events::{ChannelName, TagMap};

/// The credential does not permit the subscription any more. Clients do not subscribe again.
const UNSUBSCRIBED: u16 = 2000;
/// The channel token has ended. Clients subscribe again, with a new token.
const SUBSCRIPTION_EXPIRED: u16 = 2501;
/// Messages are lost. Clients subscribe again, and learn that they did not recover.
const INSUFFICIENT_STATE: u16 = 2500;
/// The time between pings, seconds.
const PING_S: u64 = 25;

/// How long before the end of its credential a client asks for a new one, unless that is more than a quarter of its life.
const REFRESH_AHEAD: Duration = Duration::from_secs(10);

/// Centrifugo's protocol, in JSON.
pub(super) struct Centrifugo {
    is_connected: bool,
    /// The client asked for pings as control frames of the WebSocket instead of `{}`.
    has_control_pings: bool,
    /// Channels whose subscriptions ended with a gap since the last command: the client must not receive later messages.
    ended: Vec<ChannelName>,
}

/// Members that the service does not use are ignored, because clients of later versions may send more.
#[derive(Deserialize)]
struct ConnectParams {
    #[serde(default)]
    token: String,
}

#[derive(Deserialize)]
struct ChannelParams {
    channel: ChannelName,
}

#[derive(Deserialize)]
struct SubRefreshParams {
    channel: ChannelName,
    token: String,
}

#[derive(Deserialize)]
struct PublishParams {
    channel: ChannelName,
    data: Box<RawValue>,
}

#[derive(Serialize)]
struct Connected<'a> {
    client: &'a str,
    version: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<bool>,
    /// Seconds until the client should replace its credential, which is before it expires.
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ping: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pong: Option<bool>,
}

/// A result without members.
#[derive(Serialize)]
struct Empty {}

impl Protocol for Centrifugo {
    const TRANSPORT: &'static str = "centrifugo";

    fn commands(frame: &str) -> impl Iterator<Item = &str> + Send {
        frames::commands(frame)
    }

    async fn receive(
        &mut self,
        session: &mut Session,
        text: &str,
        replies: &mut Vec<Utf8Bytes>,
    ) -> Result<(), CloseReason> {
        self.ended.clear();
        let Some(command) = frames::parse(text).map_err(CloseReason::BadFrame)? else { return Ok(()) };
        if (command.name == "connect") == self.is_connected {
            return Err(CloseReason::BadFrame("the first command, and no other, must be connect".to_owned()));
        }
        if command.name == "send" {
            return Ok(());
        }
        if command.id == 0 {
            return Err(CloseReason::BadFrame("a command must have an id".to_owned()));
        }
        match Box::pin(self.execute(session, &command, replies)).await {
            Ok(()) => {}
            Err(Refusal::Reply(error)) => replies.push(error_reply(command.id, &error)),
            Err(Refusal::Close(reason)) => return Err(reason),
        }
        Ok(())
    }

    fn is_connected(&self) -> bool {
        self.is_connected
    }

    fn unsubscribed(&self, channel: &ChannelName, why: Ended) -> Utf8Bytes {
        match why {
            Ended::Expired => frames::unsubscribe(channel, SUBSCRIPTION_EXPIRED, "subscription expired"),
            Ended::Forbidden | Ended::Revoked => frames::unsubscribe(channel, UNSUBSCRIBED, "server unsubscribe"),
        }
    }

    fn encode(&mut self, session: &mut Session, event: &Event) -> Option<Utf8Bytes> {
        match event {
            Event::Message { channel, .. } if self.ended.contains(&channel.name) => None,
            Event::Message { channel, delivery, .. } => {
                let encode = |delivery: &_| frames::message(&channel.name, &Publication::new(delivery));
                Some(delivery.centrifugo(encode).clone())
            }
            Event::Gap(gap) if self.ended.contains(&gap.channel) => None,
            Event::Gap(gap) => {
                session.subscriber.unsubscribe(&gap.channel);
                self.ended.push(gap.channel.clone());
                Some(frames::unsubscribe(&gap.channel, INSUFFICIENT_STATE, "insufficient state"))
            }
            Event::Presence { .. } | Event::Stale | Event::Fresh => None,
        }
    }

    fn ping(&self) -> Message {
        if self.has_control_pings { Message::Ping(Vec::new().into()) } else { Message::Text("{}".into()) }
    }

    fn close_frame(&self, reason: &CloseReason) -> CloseFrame {
        // Clients reconnect, except after 3500 to 3999.
        let (code, text) = match reason {
            CloseReason::Draining => (3001, "shutdown"),
            CloseReason::Expired => (3005, "connection expired"),
            CloseReason::Slow => (3008, "slow"),
            CloseReason::NoPong => (3012, "no pong"),
            CloseReason::TooManyCommands => (3013, "too many requests"),
            CloseReason::Unauthenticated(_) => (3500, "invalid token"),
            CloseReason::BadFrame(_) => (3501, "bad request"),
            CloseReason::Violation(code, text) => (*code, *text),
            CloseReason::ConnectTimeout => (3502, "stale"),
            CloseReason::Disconnected => (3503, "force disconnect"),
            CloseReason::TooManySockets => (3504, "connection limit"),
        };
        CloseFrame { code, reason: text.into() }
    }
}

impl Centrifugo {
    pub(super) fn new(has_control_pings: bool) -> Self {
        Self { is_connected: false, has_control_pings, ended: Vec::new() }
    }

    async fn execute(
        &mut self,
        session: &mut Session,
        command: &Command<'_>,
        replies: &mut Vec<Utf8Bytes>,
    ) -> Result<(), Refusal> {
        let (id, name) = (command.id, command.name);
        match name {
            "connect" => {
                let ConnectParams { token } = command.read()?;
                if !token.is_empty() {
                    authenticate(session, &token).await?;
                }
                self.is_connected = true;
                let interval = (!self.has_control_pings).then_some(PING_S);
                replies.push(reply(
                    id,
                    name,
                    &Connected { ping: interval, pong: interval.map(|_| true), ..state(session) },
                ));
            }
            "refresh" => {
                let ConnectParams { token } = command.read()?;
                authenticate(session, &token).await?;
                replies.push(reply(id, name, &state(session)));
                let forbidden = session.end_forbidden();
                replies.extend(
                    forbidden.iter().map(|channel| frames::unsubscribe(channel, UNSUBSCRIBED, "permission denied")),
                );
            }
            "subscribe" => subscribe(session, command, replies).await?,
            "unsubscribe" => {
                let ChannelParams { channel } = command.read()?;
                session.subscriber.unsubscribe(&channel);
                replies.push(reply(id, name, &Empty {}));
            }
            "publish" => {
                let PublishParams { channel, data } = command.read()?;
                let namespace = session.pubsub.events.namespace(&channel).map_err(PubSubError::from)?;
                let request = publish_request(&namespace, data, TagMap::new())?;
                session.publish(channel, request).await?;
                replies.push(reply(id, name, &Empty {}));
            }
            "history" => {
                let params: HistoryParams = command.read()?;
                let page = session.history(&params.channel, params.since(), params.order(), params.limit()).await?;
                replies.push(reply(id, name, &params.result(&page)?));
            }
            "presence" | "presence_stats" => {
                let ChannelParams { channel } = command.read()?;
                let presence = session.presence(&channel, name == "presence").await?;
                replies.push(reply(id, name, &presence_result(&presence, name == "presence")?));
            }
            "sub_refresh" => {
                let SubRefreshParams { channel, token } = command.read()?;
                session.renew(&channel, &token)?;
                replies.push(reply(id, name, &TokenState::of(session, &channel)));
            }
            _ => return Err(CommandError::METHOD_NOT_FOUND.into()),
        }
        Ok(())
    }
}

async fn authenticate(session: &mut Session, token: &str) -> Result<(), Refusal> {
    session.authenticate(token).await.map_err(|problem| match problem.status().as_u16() {
        429 => Refusal::Close(CloseReason::TooManySockets),
        _ if session.has_expired(token) => CommandError::TOKEN_EXPIRED.into(),
        _ => Refusal::Close(CloseReason::Unauthenticated(problem.text().to_owned())),
    })
}

/// The connection, and how long its credential is valid.
fn state(session: &Session) -> Connected<'_> {
    let left = session.expires_in();
    Connected {
        client: &session.handle.client,
        version: env!("CARGO_PKG_VERSION"),
        expires: left.map(|_| true),
        // Clients ask for a new token after this time; at once would be before they handle the reply.
        ttl: left.map(|left| left.saturating_sub(REFRESH_AHEAD.min(left / 4)).as_secs().max(1)),
        ping: None,
        pong: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ping_has_the_form_that_the_client_asked_for() {
        assert_eq!(Centrifugo::new(false).ping(), Message::Text("{}".into()));
        assert_eq!(Centrifugo::new(true).ping(), Message::Ping(Vec::new().into()));
    }

    #[test]
    fn clients_reconnect_unless_they_are_at_fault() {
        let closes_for_good = |reason| (3_500..4_000).contains(&Centrifugo::new(false).close_frame(&reason).code);
        for reason in [CloseReason::Draining, CloseReason::Expired, CloseReason::Slow, CloseReason::NoPong] {
            assert!(!closes_for_good(reason.clone()), "{reason:?}");
        }
        let at_fault = [
            CloseReason::BadFrame(String::new()),
            CloseReason::Unauthenticated(String::new()),
            CloseReason::ConnectTimeout,
            CloseReason::TooManySockets,
        ];
        for reason in at_fault {
            assert!(closes_for_good(reason.clone()), "{reason:?}");
        }
    }
}
