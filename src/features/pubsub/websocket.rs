//! `GET /pubsub/ws`: the native protocol, one JSON object per text frame.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocketUpgrade};
use axum::http::HeaderMap;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::delivery::{Delivery, Position};
use super::error::{NOT_SUBSCRIBED, PubSubError};
use super::filter::Filter;
use super::model::{MAX_PAGE, PublishRequest};
use super::service::PubSubService;
use super::session::Session;
use super::socket::{self, CloseReason, Ended, Protocol};
use super::subscriber::Subscribed;
use super::subscription::{Delivering, Event};
use crate::events::{ChannelName, HistoryOrder, TagMap};
use crate::http::auth::Caller;
use crate::http::extract::{NoQuery, OpenConnection, read_json};
use crate::http::problem::Problem;

/// Open a WebSocket for real-time messages.
///
/// The client sends commands and receives replies with the `id` of the command, and events. The first command is
/// `{"id":1,"cmd":"connect"}` with a `token`, unless the handshake has a credential; then
/// `{"id":2,"cmd":"subscribe","channel":"market:events"}`. With `since`, a subscription recovers the messages after a position.
/// The page about real-time channels describes every command, event and close code.
#[utoipa::path(get, path = "/pubsub/ws", tag = "pubsub", operation_id = "open_channel_socket",
    responses((status = 101, description = "The socket is open")))]
pub(super) async fn open_socket(
    State(pubsub): State<Arc<PubSubService>>,
    Extension(caller): Extension<Caller>,
    open: Option<Extension<OpenConnection>>,
    NoQuery: NoQuery,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    let native = Native { is_connected: caller.principal.is_some() };
    socket::upgrade(&pubsub, caller, open.map(|Extension(open)| open), &headers, upgrade, native)
}

/// The most bytes of messages in the reply to a subscription: a frame must fit into the buffer of a socket.
const MAX_REPLY: usize = 128 << 10;

/// The native protocol.
struct Native {
    is_connected: bool,
}

/// A command of a client. Members that do not belong to the command are ignored.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Command {
    id: u64,
    cmd: CommandName,
    token: Option<String>,
    /// Channels to subscribe to when connecting.
    #[serde(default)]
    channels: Vec<ChannelName>,
    channel: Option<ChannelName>,
    since: Option<Since>,
    #[serde(default)]
    mode: Mode,
    max_rate: Option<f64>,
    filter: Option<Filter>,
    #[serde(default)]
    snapshot: bool,
    limit: Option<usize>,
    // The fields of a message to publish.
    message_type: Option<String>,
    data: Option<Box<RawValue>>,
    message_id: Option<String>,
    key: Option<String>,
    #[serde(default)]
    tags: TagMap,
    revision: Option<u64>,
    version: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum CommandName {
    Connect,
    Subscribe,
    Unsubscribe,
    Publish,
    History,
    Refresh,
    Ping,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Mode {
    #[default]
    All,
    Latest,
}

#[derive(Deserialize)]
struct Since {
    offset: u64,
    epoch: Box<str>,
}

#[derive(Serialize)]
struct Reply<'a, T> {
    id: u64,
    ok: &'a T,
}

#[derive(Serialize)]
struct ErrorReply<'a> {
    id: u64,
    error: ErrorDetail<'a>,
}

#[derive(Serialize)]
struct ErrorDetail<'a> {
    /// The slug of the problem.
    code: &'a str,
    detail: &'a str,
}

#[derive(Serialize)]
struct Connected<'a> {
    client: &'a str,
    subject: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_in_ms: Option<u64>,
    ping_ms: u64,
}

#[derive(Serialize)]
struct SubscribedReply<'a> {
    channel: &'a ChannelName,
    offset: u64,
    epoch: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    recovered: Option<bool>,
    messages: Vec<&'a RawValue>,
}

/// An event that is not a message.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
enum Notice<'a> {
    Gap { channel: &'a ChannelName, from: u64, to: u64, epoch: &'a str, reason: &'a str },
    Stale,
    Fresh,
    Unsubscribed { channel: &'a ChannelName, code: &'a str },
}

/// Nothing to say but that it was done.
#[derive(Serialize)]
struct Done {}

impl Protocol for Native {
    const TRANSPORT: &'static str = "websocket";

    async fn receive(
        &mut self,
        session: &mut Session,
        text: &str,
        replies: &mut Vec<Utf8Bytes>,
    ) -> Result<(), CloseReason> {
        if !session.take_command() {
            return Err(CloseReason::TooManyCommands);
        }
        let command: Command = read_json(text.as_bytes()).map_err(|error| CloseReason::BadFrame(error.to_string()))?;
        if !self.is_connected && command.cmd != CommandName::Connect {
            return Err(CloseReason::Unauthenticated("the first command must be connect".to_owned()));
        }
        let id = command.id;
        if let Err(problem) = Box::pin(self.execute(session, command, replies)).await? {
            let error = ErrorDetail { code: problem.kind().slug, detail: problem.text() };
            replies.push(json(&ErrorReply { id, error }));
        }
        Ok(())
    }

    fn is_connected(&self) -> bool {
        self.is_connected
    }

    fn encode(&mut self, _: &mut Session, event: &Event) -> Option<Utf8Bytes> {
        Some(match event {
            Event::Message { delivery, skipped, .. } => delivery.native(*skipped),
            Event::Gap(gap) => json(&Notice::Gap {
                channel: &gap.channel,
                from: gap.from,
                to: gap.to,
                epoch: &gap.epoch,
                reason: gap.reason.text(),
            }),
            Event::Stale => json(&Notice::Stale),
            Event::Fresh => json(&Notice::Fresh),
        })
    }

    fn unsubscribed(&self, channel: &ChannelName, why: Ended) -> Utf8Bytes {
        let code = match why {
            Ended::Expired => "expired",
            Ended::Revoked => "revoked",
        };
        json(&Notice::Unsubscribed { channel, code })
    }

    fn ping(&self) -> Message {
        Message::Ping(Vec::new().into())
    }

    fn close_frame(&self, reason: &CloseReason) -> CloseFrame {
        let (code, text) = match reason {
            CloseReason::Draining => (1001, format!("{{\"reconnect_after_ms\":{}}}", reconnect_after())),
            CloseReason::BadFrame(text) => (4400, text.clone()),
            CloseReason::Violation(code, text) => (*code, (*text).to_owned()),
            CloseReason::Unauthenticated(text) => (4401, text.clone()),
            CloseReason::Expired => (4401, "the credential has expired".to_owned()),
            CloseReason::ConnectTimeout => (4408, "the client did not connect within 10 s".to_owned()),
            CloseReason::TooManySockets => (4429, "the credential has too many connections".to_owned()),
            CloseReason::TooManyCommands => (4429, "too many commands".to_owned()),
            CloseReason::NoPong => (3012, "the client did not answer a ping".to_owned()),
            CloseReason::Slow => (3008, "the client does not read".to_owned()),
            CloseReason::Disconnected => (4403, "an operator disconnected the client".to_owned()),
        };
        CloseFrame { code, reason: shortened(&text).into() }
    }
}

impl Native {
    /// Runs a command. The inner error is the reply; the outer one closes the connection.
    async fn execute(
        &mut self,
        session: &mut Session,
        command: Command,
        replies: &mut Vec<Utf8Bytes>,
    ) -> Result<Result<(), Problem>, CloseReason> {
        let id = command.id;
        match command.cmd {
            CommandName::Connect | CommandName::Refresh => {
                if let Some(token) = &command.token {
                    session.authenticate(token).map_err(|problem| refused(&problem))?;
                }
                self.is_connected = true;
                for channel in session.end_forbidden() {
                    replies.push(json(&Notice::Unsubscribed { channel: &channel, code: "forbidden" }));
                }
                let expires_in_ms = session.expires_in().map(millis);
                let (client, subject) = (&session.handle.client, session.subject());
                let connected = Connected { client, subject, expires_in_ms, ping_ms: 25_000 };
                replies.push(json(&Reply { id, ok: &connected }));
                for channel in command.channels {
                    match session.subscribe(&channel, None, None, Delivering::default()).await {
                        Ok(subscribed) => push_subscribed(id, &channel, &subscribed, replies),
                        Err(error) => return Ok(Err(error.into())),
                    }
                }
                Ok(Ok(()))
            }
            CommandName::Ping => {
                replies.push(json(&Reply { id, ok: &Done {} }));
                Ok(Ok(()))
            }
            _ => Ok(self.execute_on_channel(session, command, replies).await),
        }
    }

    async fn execute_on_channel(
        &self,
        session: &mut Session,
        command: Command,
        replies: &mut Vec<Utf8Bytes>,
    ) -> Result<(), Problem> {
        let id = command.id;
        let channel = command.channel.clone().ok_or_else(|| Problem::body_field("/channel", "is required"))?;
        let since = command.since.as_ref();
        let since = since.map(|since| Position { epoch: since.epoch.clone(), offset: since.offset });
        match command.cmd {
            CommandName::Subscribe => {
                let delivering = delivering(command.mode, command.max_rate, command.filter, command.snapshot)?;
                let token = command.token.as_deref();
                let subscribed = session.subscribe(&channel, token, since, delivering).await?;
                push_subscribed(id, &channel, &subscribed, replies);
            }
            CommandName::Unsubscribe => {
                if !session.subscriber.unsubscribe(&channel) {
                    return Err(
                        Problem::new(&NOT_SUBSCRIBED).detail(format!("there is no subscription to `{channel}`"))
                    );
                }
                replies.push(json(&Reply { id, ok: &Done {} }));
            }
            CommandName::Publish => {
                let required = |field| PubSubError::invalid(field, "is required");
                let request = PublishRequest {
                    channel: None,
                    message_type: command.message_type.ok_or_else(|| required("/message_type"))?,
                    data: command.data.ok_or_else(|| required("/data"))?,
                    id: command.message_id,
                    key: command.key,
                    tags: command.tags,
                    revision: command.revision,
                    version: command.version,
                };
                let published = session.publish(channel, request).await?;
                replies.push(json(&Reply { id, ok: &published }));
            }
            CommandName::History => {
                let limit = command.limit.unwrap_or(MAX_PAGE).clamp(1, MAX_PAGE);
                let page = session.history(&channel, since, HistoryOrder::Asc, limit).await?;
                replies.push(json(&Reply { id, ok: &page }));
            }
            CommandName::Connect | CommandName::Refresh | CommandName::Ping => {}
        }
        Ok(())
    }
}

/// How a subscription receives messages.
///
/// # Errors
/// `invalid-body` naming the field.
pub(super) fn delivering(
    mode: Mode,
    max_rate: Option<f64>,
    filter: Option<Filter>,
    snapshot: bool,
) -> Result<Delivering, Problem> {
    if let Some(filter) = &filter {
        filter.check().map_err(|rule| Problem::body_field("/filter", rule))?;
    }
    let interval = match max_rate {
        None => None,
        Some(rate) if (0.01..=1_000.0).contains(&rate) => Some(Duration::from_secs_f64(1.0 / rate)),
        Some(rate) => {
            return Err(Problem::body_field("/max_rate", format!("must be between 0.01 and 1000, got {rate}")));
        }
    };
    Ok(Delivering { interval, latest_only: mode == Mode::Latest, filter, snapshot })
}

/// Adds the reply to a subscription. Recovered messages that do not fit into it follow as events.
fn push_subscribed(id: u64, channel: &ChannelName, subscribed: &Subscribed, replies: &mut Vec<Utf8Bytes>) {
    let Subscribed { position, recovered, messages } = subscribed;
    let mut bytes = 0;
    let fits = |delivery: &&Arc<Delivery>| {
        bytes += delivery.text().len();
        bytes <= MAX_REPLY
    };
    let count = messages.iter().take_while(fits).count();
    let (first, others) = messages.split_at(count);
    let parsed = first.iter().filter_map(|delivery| serde_json::from_str(delivery.text()).ok());
    let ok = SubscribedReply {
        channel,
        offset: position.offset,
        epoch: &position.epoch,
        recovered: *recovered,
        messages: parsed.collect(),
    };
    replies.push(json(&Reply { id, ok: &ok }));
    replies.extend(others.iter().map(|delivery| delivery.native(0)));
}

fn refused(problem: &Problem) -> CloseReason {
    match problem.status().as_u16() {
        429 => CloseReason::TooManySockets,
        _ => CloseReason::Unauthenticated(problem.text().to_owned()),
    }
}

/// Text, numbers and raw JSON always serialise.
fn json(value: &impl Serialize) -> Utf8Bytes {
    serde_json::to_string(value).unwrap_or_default().into()
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// When a client of a stopping replica should reconnect, milliseconds: at random, so that not all come at once.
fn reconnect_after() -> u64 {
    millis(Duration::from_secs(1).mul_f64(0.2 + crate::random::fraction()))
}

/// A close frame has room for 123 bytes.
fn shortened(text: &str) -> &str {
    (0..=123).rev().find_map(|end| text.get(..end)).unwrap_or_default()
}
