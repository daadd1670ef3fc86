//! The life of one WebSocket, whatever protocol it speaks: commands, events, pings, expiry, and the end.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade};
use axum::http::HeaderMap;
use axum::response::Response;
use futures_util::{SinkExt, StreamExt};
use prometheus::IntGauge;
use tokio::time::Instant;

use super::service::PubSubService;
use super::session::{Ended, Session};
use super::subscription::Event;
use crate::events::ChannelName;
use crate::http::auth::{Caller, check_origin};
use crate::http::extract::OpenConnection;
use crate::http::problem::Problem;
use crate::http::slots::Slot;
use crate::http::websocket::{answer_close, upgrade_required, violation};
use crate::random;

/// The size of the read buffer, which every socket has for its whole life.
const READ_BUFFER: usize = 1 << 10;
/// How many bytes are collected before they are written.
const WRITE_BUFFER: usize = 16 << 10;
/// The most bytes that wait to be written: a batch and the largest reply.
const MAX_WRITE_BUFFER: usize = 256 << 10;
/// Frames up to this many bytes are not counted: a connection needs as much for its other buffers.
const SHORT_FRAME: usize = 16 << 10;
/// The close code of the registry of RFC 6455 for a service that has too much to do.
const TRY_AGAIN_LATER: u16 = 1013;
/// The header of a ping or a pong of a client: two bytes and the mask.
const CONTROL_HEADER: usize = 6;
/// A client must say who it is within this time.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The time between pings. Proxies cut idle connections after 60 s.
const PING: Duration = Duration::from_secs(25);
/// A client must answer a ping, and read what it is sent, within this time.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why the service closes a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum CloseReason {
    /// The replica stops.
    Draining,
    /// A frame is not what the protocol allows.
    BadFrame(String),
    /// A frame is not what RFC 6455 allows: its close code, and what is wrong.
    Violation(u16, &'static str),
    /// The client did not identify itself in time.
    ConnectTimeout,
    /// The credential is not valid.
    Unauthenticated(String),
    Expired,
    /// The credential has too many connections.
    TooManySockets,
    TooManyCommands,
    NoPong,
    /// The client does not read.
    Slow,
    /// An operator disconnected the client.
    Disconnected,
}

/// A protocol on a WebSocket.
pub(super) trait Protocol: Send + 'static {
    /// The label in metrics.
    const TRANSPORT: &'static str;

    /// The commands of a text frame.
    fn commands(frame: &str) -> impl Iterator<Item = &str> + Send {
        std::iter::once(frame)
    }

    /// Handles a command, and adds the replies.
    fn receive(
        &mut self,
        session: &mut Session,
        text: &str,
        replies: &mut Vec<Utf8Bytes>,
    ) -> impl Future<Output = Result<(), CloseReason>> + Send;

    /// Whether the client has identified itself.
    fn is_connected(&self) -> bool;

    /// The frame that tells of a subscription that the service ended.
    fn unsubscribed(&self, channel: &ChannelName, why: Ended) -> Utf8Bytes;

    /// The frame of an event; `None` if the protocol has none for it.
    fn encode(&mut self, session: &mut Session, event: &Event) -> Option<Utf8Bytes>;

    fn ping(&self) -> Message;

    fn close_frame(&self, reason: &CloseReason) -> CloseFrame;
}

/// Upgrades a request to a WebSocket that speaks `protocol`.
///
/// # Errors
/// `forbidden` for a foreign origin, `unauthenticated` for a revoked token, `upgrade-required`, `overloaded` or `too-many-sockets`.
pub(super) async fn upgrade<P: Protocol>(
    pubsub: &Arc<PubSubService>,
    caller: Caller,
    open: Option<OpenConnection>,
    headers: &HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
    protocol: P,
) -> Result<Response, Problem> {
    check_origin(headers, &pubsub.origins)?;
    let upgrade = upgrade.map_err(upgrade_required)?;
    pubsub.refuse_revoked(caller.principal.as_deref()).await?;
    let gauge = pubsub.metrics.connections.with_label_values(&[P::TRANSPORT]);
    let permit = pubsub.sockets.admit(caller.principal.as_deref(), gauge)?;
    let largest = pubsub.largest_frame();
    let upgrade = upgrade
        .read_buffer_size(READ_BUFFER)
        .max_message_size(largest)
        .max_frame_size(largest)
        .write_buffer_size(WRITE_BUFFER)
        .max_write_buffer_size(MAX_WRITE_BUFFER.max(4 * largest));
    let pubsub = Arc::clone(pubsub);
    Ok(upgrade.on_upgrade(move |socket| async move {
        let tasks = pubsub.tasks.clone();
        // Boxed, so that the task that upgrades is small; created on the thread on which it runs.
        tasks.spawn_tracked_connection(async move {
            let session = Session::new(&pubsub, caller, permit);
            let arrivals = Arrivals { read: open.as_ref().map_or(0, OpenConnection::arrived), open, long_frame: None };
            Connection { socket, session, protocol, events: Vec::new(), replies: Vec::new(), arrivals }.run().await;
        });
    }))
}

struct Connection<P> {
    socket: WebSocket,
    session: Session,
    protocol: P,
    events: Vec<Event>,
    replies: Vec<Utf8Bytes>,
    arrivals: Arrivals,
}

/// What arrives on a connection.
struct Arrivals {
    /// The socket counts as a connection as long as it is open. Absent if no server accepted it.
    open: Option<OpenConnection>,
    /// The bytes that had arrived with the latest message.
    read: usize,
    /// The memory of a long frame. A WebSocket keeps its read buffer, so that it stays taken.
    long_frame: Option<Slot>,
}

/// What a client has sent.
enum Received {
    Message(Result<Message, axum::Error>),
    /// The beginning of a long frame, which needs memory.
    LongFrame,
    End,
}

impl Arrivals {
    fn arrived(&self) -> usize {
        self.open.as_ref().map_or(0, OpenConnection::arrived)
    }

    fn need_memory(&self) -> bool {
        self.long_frame.is_none() && self.arrived().saturating_sub(self.read) > SHORT_FRAME
    }

    async fn receive(&self, socket: &mut WebSocket) -> Received {
        poll_fn(|cx| match socket.poll_next_unpin(cx) {
            Poll::Ready(Some(message)) => Poll::Ready(Received::Message(message)),
            Poll::Ready(None) => Poll::Ready(Received::End),
            Poll::Pending if self.need_memory() => Poll::Ready(Received::LongFrame),
            Poll::Pending => Poll::Pending,
        })
        .await
    }
}

/// When the timer of a connection fires, and what for.
struct Schedule {
    next_ping: Instant,
    /// When a ping that was not answered was sent.
    pinged: Option<Instant>,
    started: Instant,
    /// When a connection closes because its replica stops.
    drain: Option<Instant>,
}

impl<P: Protocol> Connection<P> {
    async fn run(mut self) {
        let Some(reason) = self.serve().await else { return };
        let frame = self.protocol.close_frame(&reason);
        self.session.pubsub.metrics.closed.with_label_values(&[&frame.code.to_string()]).inc();
        // If that fails, the client is gone anyway.
        let _ = tokio::time::timeout(PATIENCE, self.socket.send(Message::Close(Some(frame)))).await;
    }

    /// Serves the client until it disconnects, or until there is a reason to close the connection.
    async fn serve(&mut self) -> Option<CloseReason> {
        if self.session.is_revoked() {
            return Some(CloseReason::Disconnected);
        }
        let phase = self.session.pubsub.phase.clone();
        let delivered = self.session.pubsub.metrics.delivered.with_label_values(&[P::TRANSPORT]);
        let now = Instant::now();
        // The first ping comes at a random time, so that clients that connected together are not pinged together.
        let first = now + PING.mul_f64(0.5 + random::fraction() / 2.0);
        let mut schedule = Schedule { next_ping: first, pinged: None, started: now, drain: None };
        let mut timer = pin!(tokio::time::sleep_until(self.deadline(&schedule)));
        let mut draining = pin!(phase.draining());
        loop {
            tokio::select! {
                received = self.arrivals.receive(&mut self.socket) => {
                    if self.arrivals.need_memory() && !self.take_long_frame() {
                        let why = "the long frames of the credential take too much memory";
                        return Some(CloseReason::Violation(TRY_AGAIN_LATER, why));
                    }
                    let message = match received {
                        Received::Message(message) => message,
                        Received::LongFrame => continue,
                        Received::End => return None,
                    };
                    schedule.pinged = None;
                    let text = match message {
                        Ok(Message::Text(text)) => text,
                        Ok(Message::Ping(payload) | Message::Pong(payload)) => {
                            // It may come between the frames of a message.
                            self.arrivals.read += payload.len() + CONTROL_HEADER;
                            continue;
                        }
                        Ok(Message::Binary(_)) => {
                            return Some(CloseReason::BadFrame("only text frames are accepted".to_owned()));
                        }
                        Ok(Message::Close(_)) => {
                            answer_close(&mut self.socket, PATIENCE).await;
                            return None;
                        }
                        Err(error) => {
                            return violation(error).map(|(code, text)| CloseReason::Violation(code, text));
                        }
                    };
                    self.arrivals.read = self.arrivals.arrived();
                    for command in P::commands(&text) {
                        // The timer may be as late as this command.
                        if self.session.is_over() {
                            return Some(CloseReason::Expired);
                        }
                        if !self.session.take_command() {
                            return Some(CloseReason::TooManyCommands);
                        }
                        let received = self.protocol.receive(&mut self.session, command, &mut self.replies).await;
                        let replies = std::mem::take(&mut self.replies);
                        if !self.send(replies.into_iter()).await {
                            return Some(CloseReason::Slow);
                        }
                        if let Err(reason) = received {
                            return Some(reason);
                        }
                    }
                    timer.as_mut().reset(self.deadline(&schedule));
                }
                () = self.session.subscriber.ready() => {
                    let ended = self.session.obey();
                    let Some(ended) = ended else { return Some(CloseReason::Disconnected) };
                    self.session.subscriber.collect(WRITE_BUFFER, &mut self.events).await;
                    if self.session.is_over() {
                        return Some(CloseReason::Expired);
                    }
                    let events = std::mem::take(&mut self.events);
                    let mut frames: Vec<_> =
                        ended.iter().map(|(channel, why)| self.protocol.unsubscribed(channel, *why)).collect();
                    let messages = events.iter().filter_map(|event| self.protocol.encode(&mut self.session, event));
                    frames.extend(messages);
                    delivered.inc_by(u64::try_from(events.len()).unwrap_or_default());
                    if !self.send(frames.into_iter()).await {
                        return Some(CloseReason::Slow);
                    }
                }
                () = &mut draining, if schedule.drain.is_none() => {
                    let spread = self.session.pubsub.config.drain_spread.duration();
                    schedule.drain = Some(Instant::now() + spread.mul_f64(random::fraction()));
                    timer.as_mut().reset(self.deadline(&schedule));
                }
                () = &mut timer => {
                    if let Some(reason) = self.due(&mut schedule).await {
                        return Some(reason);
                    }
                    timer.as_mut().reset(self.deadline(&schedule));
                }
            }
        }
    }

    /// Takes the memory of the largest frame. Returns false if there is none left for the client.
    fn take_long_frame(&mut self) -> bool {
        let pubsub = &self.session.pubsub;
        self.arrivals.long_frame = pubsub.sockets.long_frame(self.session.principal(), pubsub.largest_frame());
        self.arrivals.long_frame.is_some()
    }

    /// Does what is due. Returns a reason to close the connection.
    async fn due(&mut self, schedule: &mut Schedule) -> Option<CloseReason> {
        let now = Instant::now();
        if schedule.drain.is_some_and(|drain| drain <= now) {
            return Some(CloseReason::Draining);
        }
        if !self.protocol.is_connected() && schedule.started + CONNECT_TIMEOUT <= now {
            return Some(CloseReason::ConnectTimeout);
        }
        if self.session.is_over() {
            return Some(CloseReason::Expired);
        }
        if schedule.pinged.is_some_and(|pinged| pinged + PATIENCE <= now) {
            return Some(CloseReason::NoPong);
        }
        let ended = self.session.end_expired();
        let notices: Vec<_> = ended.iter().map(|channel| self.protocol.unsubscribed(channel, Ended::Expired)).collect();
        if !notices.is_empty() && !self.send(notices.into_iter()).await {
            return Some(CloseReason::Slow);
        }
        if schedule.next_ping <= now {
            schedule.next_ping = now + PING;
            schedule.pinged = Some(now);
            let ping = self.protocol.ping();
            if !matches!(tokio::time::timeout(PATIENCE, self.socket.send(ping)).await, Ok(Ok(()))) {
                return Some(CloseReason::Slow);
            }
        }
        None
    }

    /// When something is due next.
    fn deadline(&self, schedule: &Schedule) -> Instant {
        let connect = (!self.protocol.is_connected()).then(|| schedule.started + CONNECT_TIMEOUT);
        let expiry = self.session.expires.map(Instant::from_std);
        let pong = schedule.pinged.map(|pinged| pinged + PATIENCE);
        let token = self.session.next_token_end().map(Instant::from_std);
        let others = [connect, expiry, token, pong, schedule.drain];
        others.into_iter().flatten().fold(schedule.next_ping, Instant::min)
    }

    /// Sends frames in one write if they fit. Returns false if the client does not read them in time, or is gone.
    async fn send(&mut self, frames: impl Iterator<Item = Utf8Bytes>) -> bool {
        let frames: Vec<_> = frames.collect();
        let bytes = frames.iter().map(|frame| frame.len()).sum();
        let _backlog = Backlog::add(&self.session.pubsub.metrics.backlog, bytes);
        let send = async {
            for frame in frames {
                self.socket.feed(Message::Text(frame)).await?;
            }
            self.socket.flush().await
        };
        matches!(tokio::time::timeout(PATIENCE, send).await, Ok(Ok(())))
    }
}

/// Bytes in the backlog until they are written, or the connection is given up.
struct Backlog(IntGauge, i64);

impl Backlog {
    fn add(gauge: &IntGauge, bytes: usize) -> Self {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        gauge.add(bytes);
        Self(gauge.clone(), bytes)
    }
}

impl Drop for Backlog {
    fn drop(&mut self) {
        self.0.sub(self.1);
    }
}
