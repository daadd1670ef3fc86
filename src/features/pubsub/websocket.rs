//! `GET /pubsub/ws`: the native protocol, one JSON object per text frame.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocketUpgrade};
use axum::http::HeaderMap;
use axum::response::Response;

use super::error::PubSubError;
use super::model::{MAX_PAGE, PublishRequest};
use super::native_frames::{
    Command, CommandName, Connected, Done, ErrorDetail, ErrorReply, Notice, Reply, json, millis, push_subscribed,
};
use super::presence_digest::PresenceDigest;
use super::service::PubSubService;
use super::session::{Ended, Session};
use super::socket::{self, CloseReason, Protocol};
use super::subscription::{Delivering, Event};
use crate::events::{ChannelName, HistoryOrder};
use crate::http::auth::Caller;
use crate::http::extract::{NoQuery, OpenConnection, json_message, read_json};
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
    socket::upgrade(&pubsub, caller, open.map(|Extension(open)| open), &headers, upgrade, native).await
}

/// The native protocol.
struct Native {
    is_connected: bool,
}

impl Protocol for Native {
    const TRANSPORT: &'static str = "websocket";

    async fn receive(
        &mut self,
        session: &mut Session,
        text: &str,
        replies: &mut Vec<Utf8Bytes>,
    ) -> Result<(), CloseReason> {
        let command: Command =
            read_json(text.as_bytes()).map_err(|error| CloseReason::BadFrame(json_message(&error)))?;
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
            Event::Presence { digest, is_incomplete: false } => json(&Notice::Presence(digest)),
            Event::Presence { digest, .. } => {
                json(&Notice::Presence(&PresenceDigest { truncated: true, ..PresenceDigest::clone(digest) }))
            }
            Event::Stale => json(&Notice::Stale),
            Event::Fresh => json(&Notice::Fresh),
        })
    }

    fn unsubscribed(&self, channel: &ChannelName, why: Ended) -> Utf8Bytes {
        let code = match why {
            Ended::Expired => "expired",
            Ended::Forbidden => "forbidden",
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
                    session.authenticate(token).await.map_err(|problem| refused(&problem))?;
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
        match command.cmd {
            CommandName::Subscribe => {
                let delivering = Delivering {
                    snapshot: command.snapshot,
                    presence: command.presence,
                    ..Delivering::new(command.mode, command.max_rate, command.filter)?
                };
                let token = command.token.as_deref();
                let subscribed = session.subscribe(&channel, token, command.since, delivering).await?;
                push_subscribed(id, &channel, &subscribed, replies);
            }
            CommandName::Unsubscribe => {
                if !session.subscriber.unsubscribe(&channel) {
                    return Err(PubSubError::NotSubscribed { channel }.into());
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
                let page = session.history(&channel, command.since, HistoryOrder::Asc, limit).await?;
                replies.push(json(&Reply { id, ok: &page }));
            }
            CommandName::Presence => {
                replies.push(json(&Reply { id, ok: &session.presence(&channel, true).await? }));
            }
            CommandName::Connect | CommandName::Refresh | CommandName::Ping => {}
        }
        Ok(())
    }
}

fn refused(problem: &Problem) -> CloseReason {
    match problem.status().as_u16() {
        429 => CloseReason::TooManySockets,
        _ => CloseReason::Unauthenticated(problem.text().to_owned()),
    }
}

/// When a client of a stopping replica should reconnect, milliseconds: at random, so that not all come at once.
fn reconnect_after() -> u64 {
    millis(Duration::from_secs(1).mul_f64(0.2 + crate::random::fraction()))
}

/// A close frame has room for 123 bytes.
fn shortened(text: &str) -> &str {
    (0..=123).rev().find_map(|end| text.get(..end)).unwrap_or_default()
}
