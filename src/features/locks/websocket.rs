//! `GET /locks/{resource}/hold`: a WebSocket that holds a lock as long as it is open.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Extension;
use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Serialize;

use super::acquire_spec::AcquireSpec;
use super::error::LockError;
use super::hold::HeldLock;
use super::model::{AcquireRequest, HoldQuery, LockGrant, ResourcePath, millis};
use super::service::LockService;
use crate::http::auth::{Principal, check_origin};
use crate::http::extract::{OpenConnection, Path, Query};
use crate::http::problem::Problem;
use crate::http::slots::Slot;
use crate::http::websocket::{answer_close, upgrade_required, violation};

/// Clients send only pings and closes, whose frames have at most 125 bytes. Also the size of the read buffer, which
/// every socket has for its whole life.
const MAX_MESSAGE: usize = 1 << 10;
/// The most bytes that a client may leave unread before its connection counts as lost.
const MAX_UNREAD: usize = 64 << 10;

/// RFC 6455: the replica stops.
const GOING_AWAY: u16 = 1001;
/// RFC 6455: the client sent data.
const UNSUPPORTED_DATA: u16 = 1003;
/// Private range: the credential has expired.
const CREDENTIAL_EXPIRED: u16 = 4401;
/// Private range: the lock was not granted.
const LOCK_REFUSED: u16 = 4409;
/// Private range: the lock is lost.
const LOCK_LOST: u16 = 4410;

/// Hold a lock with a WebSocket.
///
/// The service acquires the lock, extends it after every third of its lease, and releases it when the socket closes or
/// the client no longer answers pings. It sends JSON text messages: `{"event":"acquired", ...}` and
/// `{"event":"extended", ...}` with the fields of a grant, `{"event":"refused","code":...}` before close code 4409, and
/// `{"event":"lost"}` before close code 4410. A replica that stops closes with 1001, and the end of
/// the client's credential closes with 4401. Clients must not send data; data closes the socket with 1003.
///
/// An `Origin` that is neither the service's own nor one of `http.cors_origins` is 403.
#[utoipa::path(get, path = "/locks/{resource}/hold", tag = "locks", operation_id = "hold_lock",
    params(ResourcePath, HoldQuery),
    responses((status = 101, description = "The socket is open. The first message says whether the lock is held")))]
pub(super) async fn hold_lock(
    State(locks): State<Arc<LockService>>,
    Extension(caller): Extension<Arc<Principal>>,
    open: Option<Extension<OpenConnection>>,
    Path(path): Path<ResourcePath>,
    Query(query): Query<HoldQuery>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    check_origin(&headers, &locks.origins)?;
    let HoldQuery { ttl_ms, wait_ms, owner } = query;
    let request = AcquireRequest { ttl_ms, wait_ms, owner, metadata: None };
    let spec = AcquireSpec::new(&locks.config, path.resource, request).map_err(LockError::into_query_problem)?;
    let upgrade = upgrade.map_err(upgrade_required)?;
    let slot = locks.holds.take_stream(&caller)?;
    let upgrade = upgrade
        .read_buffer_size(MAX_MESSAGE)
        .max_message_size(MAX_MESSAGE)
        .max_frame_size(MAX_MESSAGE)
        .write_buffer_size(0)
        .max_write_buffer_size(MAX_UNREAD);
    let expires = caller.end(locks.clock.now());
    Ok(upgrade.on_upgrade(move |socket| async move {
        let connection = HoldConnection { socket, ttl: spec.ttl, expires, _open: open, _slot: slot };
        let tasks = locks.tasks.clone();
        // A task, so that a stopping replica waits until the lock is released.
        tasks.spawn("locks.hold", move |_| connection.run(locks, caller, spec));
    }))
}

/// A message to the client.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Event<'a> {
    Acquired(&'a LockGrant),
    Extended(&'a LockGrant),
    Refused {
        code: &'static str,
        detail: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        retry_after_ms: Option<u64>,
    },
    Lost,
}

/// The WebSocket of one held lock.
struct HoldConnection {
    socket: WebSocket,
    /// The lease; a message may take a third of it to send.
    ttl: Duration,
    /// When the client's credential ends.
    expires: Option<Instant>,
    /// The socket counts as a connection as long as it is open. Absent if no server accepted it.
    _open: Option<Extension<OpenConnection>>,
    _slot: Slot,
}

/// Why a hold ends.
enum HoldEnd {
    /// The client vanished, or does not read.
    Disconnected,
    /// The client closed the socket.
    Closed,
    /// A frame is not what RFC 6455 allows: its close code, and what is wrong.
    Violation(u16, &'static str),
    /// The client sent data.
    DataReceived,
    CredentialExpired,
    LockLost,
    Draining,
}

impl HoldConnection {
    async fn run(mut self, locks: Arc<LockService>, caller: Arc<Principal>, spec: AcquireSpec) {
        let held = tokio::select! {
            held = locks.hold(&caller, &spec) => held,
            end = self.client_end() => {
                return self.end(end).await;
            }
        };
        match held {
            Ok(lock) => self.hold(&locks, lock).await,
            Err(error) => self.refuse(error).await,
        }
    }

    async fn refuse(&mut self, error: LockError) {
        let detail = error.to_string();
        let (close_code, retry_after_ms) = match &error {
            LockError::Held { remaining, .. } => (LOCK_REFUSED, remaining.map(millis)),
            LockError::Interrupted => (GOING_AWAY, None),
            _ => (LOCK_REFUSED, None),
        };
        let code = Problem::from(error).kind().slug;
        if self.send(&Event::Refused { code, detail, retry_after_ms }).await {
            self.close(close_code, code).await;
        }
    }

    async fn hold(&mut self, locks: &LockService, mut lock: HeldLock) {
        let end = if self.send(&Event::Acquired(&lock.grant)).await {
            self.keep(locks, &mut lock).await
        } else {
            HoldEnd::Disconnected
        };
        // Before the release: the client still works under a lock that it may not have.
        if matches!(end, HoldEnd::LockLost) && self.send(&Event::Lost).await {
            self.close(LOCK_LOST, "lock-lost").await;
        }
        if matches!(end, HoldEnd::CredentialExpired) {
            self.end(HoldEnd::CredentialExpired).await;
            return lock.release().await;
        }
        lock.release().await;
        self.end(end).await;
    }

    /// Tells the client why its socket closes.
    async fn end(&mut self, end: HoldEnd) {
        match end {
            HoldEnd::Disconnected | HoldEnd::LockLost => {}
            HoldEnd::Closed => answer_close(&mut self.socket, self.ttl / 3).await,
            HoldEnd::Violation(code, text) => self.close(code, text).await,
            HoldEnd::DataReceived => self.close(UNSUPPORTED_DATA, "clients must not send data").await,
            HoldEnd::CredentialExpired => self.close(CREDENTIAL_EXPIRED, "the credential has expired").await,
            HoldEnd::Draining => self.close(GOING_AWAY, "the replica is stopping; the lock is released").await,
        }
    }

    /// Extends the lock until there is a reason to end.
    async fn keep(&mut self, locks: &LockService, lock: &mut HeldLock) -> HoldEnd {
        // When the oldest ping without a pong was sent.
        let mut unanswered = Some(Instant::now());
        loop {
            tokio::select! {
                () = lock.extension_due() => {}
                () = locks.phase.draining() => return HoldEnd::Draining,
                () = at(self.expires) => return HoldEnd::CredentialExpired,
                message = self.socket.recv() => {
                    if let Some(end) = reason_to_end(message) {
                        return end;
                    }
                    unanswered = None;
                    continue;
                }
            }
            if unanswered.is_some_and(|since| since.elapsed() > self.ttl) {
                return HoldEnd::Disconnected;
            }
            match lock.extend().await {
                Ok(true) => {
                    unanswered.get_or_insert_with(Instant::now);
                    if !self.send(&Event::Extended(&lock.grant)).await {
                        return HoldEnd::Disconnected;
                    }
                }
                Ok(false) => {}
                Err(_) => return HoldEnd::LockLost,
            }
        }
    }

    /// Resolves when the client closes the socket, vanishes, or sends data, and when its credential expires.
    async fn client_end(&mut self) -> HoldEnd {
        loop {
            let message = tokio::select! {
                message = self.socket.recv() => message,
                () = at(self.expires) => return HoldEnd::CredentialExpired,
            };
            if let Some(end) = reason_to_end(message) {
                return end;
            }
        }
    }

    /// Sends an event, and a ping to detect a client that vanished. Returns whether both were sent.
    async fn send(&mut self, event: &Event<'_>) -> bool {
        // Strings and numbers always serialise.
        let text = serde_json::to_string(event).unwrap_or_default();
        let sent = async {
            self.socket.send(Message::text(text)).await?;
            self.socket.send(Message::Ping(Vec::new().into())).await
        };
        matches!(tokio::time::timeout(self.ttl / 3, sent).await, Ok(Ok(())))
    }

    /// Sends a close frame. If that fails, the client is gone anyway.
    async fn close(&mut self, code: u16, reason: &'static str) {
        let close = self.socket.send(Message::Close(Some(CloseFrame { code, reason: reason.into() })));
        let _ = tokio::time::timeout(self.ttl / 3, close).await;
    }
}

/// Resolves at this moment, if there is one.
async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment.into()).await,
        None => std::future::pending().await,
    }
}

/// Why a message ends the hold. Pings and pongs only show that the client is alive.
fn reason_to_end(message: Option<Result<Message, axum::Error>>) -> Option<HoldEnd> {
    match message {
        Some(Ok(Message::Ping(_) | Message::Pong(_))) => None,
        Some(Ok(Message::Text(_) | Message::Binary(_))) => Some(HoldEnd::DataReceived),
        Some(Ok(Message::Close(_))) => Some(HoldEnd::Closed),
        Some(Err(error)) => {
            Some(violation(error).map_or(HoldEnd::Disconnected, |(code, text)| HoldEnd::Violation(code, text)))
        }
        None => Some(HoldEnd::Disconnected),
    }
}
