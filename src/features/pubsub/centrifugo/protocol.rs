//! The commands of a connection.

use axum::extract::ws::{CloseFrame, Message, Utf8Bytes};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::super::delivery::Position;
use super::super::error::PubSubError;
use super::super::filter::Filter;
use super::super::session::Session;
use super::super::socket::{CloseReason, Ended, Protocol};
use super::super::subscriber::Subscribed;
use super::super::subscription::{Delivering, Event};
use super::super::websocket::{Mode, delivering};
use super::error::CommandError;
use super::frames::{self, Command, error_reply, reply};
use super::publication::{HistoryParams, Publication, publish_request};
use crate::events::{ChannelName, TagMap};
use crate::http::extract::parse_json;

/// The client asks for error 112 instead of a subscription that could not recover.
const REJECT_UNRECOVERED: u64 = 2;
/// The credential does not permit the subscription any more. Clients do not subscribe again.
const UNSUBSCRIBED: u16 = 2000;
/// The channel token has ended. Clients subscribe again, with a new token.
const SUBSCRIPTION_EXPIRED: u16 = 2501;
/// Messages are lost. Clients subscribe again, and learn that they did not recover.
const INSUFFICIENT_STATE: u16 = 2500;
/// The time between pings, seconds.
const PING_S: u64 = 25;

/// Centrifugo's protocol, in JSON.
pub(super) struct Centrifugo {
    is_connected: bool,
    /// The client asked for pings as control frames of the WebSocket instead of `{}`.
    has_control_pings: bool,
    /// Channels whose subscriptions ended with a gap since the last command: the client must not receive later messages.
    ended: Vec<ChannelName>,
}

/// Why a command is not executed.
enum Refusal {
    Reply(CommandError),
    Close(CloseReason),
}

impl<E: Into<CommandError>> From<E> for Refusal {
    fn from(error: E) -> Self {
        Self::Reply(error.into())
    }
}

/// Members that the service does not use are ignored, because clients of later versions may send more.
#[derive(Deserialize)]
struct ConnectParams {
    #[serde(default)]
    token: String,
}

#[derive(Deserialize)]
struct SubscribeParams {
    channel: ChannelName,
    /// A channel token.
    #[serde(default)]
    token: String,
    #[serde(default)]
    data: Option<SubscribeData>,
    #[serde(default)]
    recover: bool,
    #[serde(default)]
    offset: u64,
    #[serde(default)]
    epoch: String,
    #[serde(default)]
    tf: Option<Filter>,
    #[serde(default)]
    flag: u64,
    /// The kind of subscription; 0 is a stream of messages.
    #[serde(default, rename = "type")]
    kind: i64,
}

/// What an application may pass as data of a subscription: how it receives messages.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct SubscribeData {
    #[serde(default)]
    mode: Mode,
    max_rate: Option<f64>,
    #[serde(default)]
    snapshot: bool,
}

#[derive(Deserialize)]
struct ChannelParams {
    channel: ChannelName,
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
    /// Seconds until the credential expires.
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ping: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pong: Option<bool>,
}

#[derive(Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "the protocol has them")]
struct SubscribeResult<'a> {
    recoverable: bool,
    positioned: bool,
    epoch: &'a str,
    offset: u64,
    was_recovering: bool,
    recovered: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    publications: Vec<Publication<'a>>,
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
        if !session.take_command() {
            return Err(CloseReason::TooManyCommands);
        }
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
            Ended::Revoked => frames::unsubscribe(channel, UNSUBSCRIBED, "server unsubscribe"),
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
            Event::Stale | Event::Fresh => None,
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
                let ConnectParams { token } = read(command)?;
                if !token.is_empty() {
                    authenticate(session, &token)?;
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
                let ConnectParams { token } = read(command)?;
                authenticate(session, &token)?;
                replies.push(reply(id, name, &state(session)));
                let forbidden = session.end_forbidden();
                replies.extend(
                    forbidden.iter().map(|channel| frames::unsubscribe(channel, UNSUBSCRIBED, "permission denied")),
                );
            }
            "subscribe" => subscribe(session, command, replies).await?,
            "unsubscribe" => {
                let ChannelParams { channel } = read(command)?;
                session.subscriber.unsubscribe(&channel);
                replies.push(reply(id, name, &Empty {}));
            }
            "publish" => {
                let PublishParams { channel, data } = read(command)?;
                let namespace = session.pubsub.events.namespace(&channel).map_err(PubSubError::from)?;
                let request = publish_request(namespace, data, TagMap::new())?;
                session.publish(channel, request).await?;
                replies.push(reply(id, name, &Empty {}));
            }
            "history" => {
                let params: HistoryParams = read(command)?;
                let page = session.history(&params.channel, params.since(), params.order(), params.limit()).await?;
                replies.push(reply(id, name, &params.result(&page)?));
            }
            "presence" | "presence_stats" | "sub_refresh" => return Err(CommandError::NOT_AVAILABLE.into()),
            _ => return Err(CommandError::METHOD_NOT_FOUND.into()),
        }
        Ok(())
    }
}

fn read<T: DeserializeOwned>(command: &Command<'_>) -> Result<T, CommandError> {
    Ok(parse_json(command.params.get().as_bytes())?)
}

fn authenticate(session: &mut Session, token: &str) -> Result<(), Refusal> {
    session.authenticate(token).map_err(|problem| match problem.status().as_u16() {
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
        ttl: left.map(|left| left.as_secs().max(1)),
        ping: None,
        pong: None,
    }
}

async fn subscribe(session: &mut Session, command: &Command<'_>, replies: &mut Vec<Utf8Bytes>) -> Result<(), Refusal> {
    let SubscribeParams { channel, token, data, recover, offset, epoch, tf, flag, kind } = read(command)?;
    if kind != 0 {
        return Err(CommandError::bad_request(format!("type must be 0, got {kind}")).into());
    }
    let SubscribeData { mode, max_rate, snapshot } = data.unwrap_or_default();
    let since = recover.then(|| Position { epoch: epoch.into(), offset });
    // A client that recovers knows the messages up to its position.
    let delivering: Delivering = delivering(mode, max_rate, tf, snapshot && !recover).map_err(CommandError::from)?;
    let token = Some(token.as_str()).filter(|token| !token.is_empty());
    let Subscribed { position, recovered, messages } = session.subscribe(&channel, token, since, delivering).await?;
    if recovered == Some(false) && flag & REJECT_UNRECOVERED != 0 {
        session.subscriber.unsubscribe(&channel);
        return Err(CommandError::UNRECOVERABLE.into());
    }
    let count = Publication::fitting(messages.iter().map(|delivery| &**delivery));
    let (first, others) = messages.split_at(count);
    let result = SubscribeResult {
        recoverable: true,
        positioned: true,
        epoch: &position.epoch,
        // Each recovered message moves the position of the client, which begins where it was.
        offset: if recovered == Some(true) { offset } else { position.offset },
        was_recovering: recover,
        recovered: recovered == Some(true),
        publications: first.iter().map(|delivery| Publication::new(delivery)).collect(),
    };
    replies.push(reply(command.id, command.name, &result));
    let push = |delivery: &_| frames::message(&channel, &Publication::new(delivery));
    replies.extend(others.iter().map(|delivery| delivery.centrifugo(push).clone()));
    Ok(())
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
