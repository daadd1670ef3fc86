//! The guard object over HTTP: a WebSocket that holds a lock while it lives.

use std::time::{Duration, Instant};

use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::http::{HeaderValue, header};
use axum::response::Response;
use serde::Serialize;

use super::acquisition::Taken;
use super::error::{LOCK_UPGRADE_REQUIRED, LockError};
use super::model::{AcquireRequest, ExtendRequest, HoldQuery, LockGrant, ResourcePath, millis};
use super::service::LockService;
use super::wish::Wish;
use crate::http::extract::{Path, Query};
use crate::http::problem::{Problem, ProblemBody};

/// Clients have nothing to say but pings and closes; a frame of those has 125 bytes at most.
const MAX_MESSAGE: usize = 1 << 10;
/// What a client may leave unread before it counts as gone.
const MAX_UNREAD: usize = 64 << 10;

/// Close codes: RFC 6455 for going away and wrong data, the private range for ours.
const GOING_AWAY: u16 = 1001;
const UNSUPPORTED_DATA: u16 = 1003;
const LOCK_REFUSED: u16 = 4409;
const LOCK_LOST: u16 = 4410;

/// Hold a lock while a WebSocket lives.
///
/// The service acquires the lock, extends it after every third of its lease, and releases it when the socket closes or
/// the client no longer answers pings. It sends JSON texts: `{"event":"acquired", ...}` and `{"event":"extended", ...}`
/// with the fields of a grant, `{"event":"refused","code":...}` before close code 4409, and `{"event":"lost"}` before
/// close code 4410. A replica that stops closes with 1001. Clients send nothing; data closes the socket with 1003.
#[utoipa::path(get, path = "/locks/{resource}/hold", tag = "locks", operation_id = "hold_lock",
    params(ResourcePath, HoldQuery),
    responses(
        (status = 101, description = "The socket is open; the first message says whether the lock is held"),
        (status = 401, description = "`unauthenticated`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 403, description = "`forbidden`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "`invalid-path`, `invalid-query`", body = ProblemBody,
         content_type = "application/problem+json"),
        (status = 426, description = "`upgrade-required`: the request is no WebSocket handshake", body = ProblemBody,
         content_type = "application/problem+json"),
        (status = 503, description = "`overloaded`", body = ProblemBody, content_type = "application/problem+json")))]
pub(super) async fn hold_lock(
    State(locks): State<LockService>,
    Path(path): Path<ResourcePath>,
    Query(query): Query<HoldQuery>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    let HoldQuery { ttl_ms, wait_ms, owner } = query;
    let request = AcquireRequest { ttl_ms, wait_ms, owner, metadata: None };
    let wish = locks.wish(path.resource, request).map_err(LockError::into_query_problem)?;
    let upgrade = upgrade.map_err(|rejection| {
        Problem::new(&LOCK_UPGRADE_REQUIRED)
            .header(header::UPGRADE, HeaderValue::from_static("websocket"))
            .caused_by(rejection)
    })?;
    let upgrade = upgrade
        .max_message_size(MAX_MESSAGE)
        .max_frame_size(MAX_MESSAGE)
        .write_buffer_size(0)
        .max_write_buffer_size(MAX_UNREAD);
    Ok(upgrade.on_upgrade(move |socket| async move {
        let tasks = locks.tasks().clone();
        // A task, so that a stopping replica waits until the lock is released.
        tasks.spawn("locks.hold", move |_| Guard { locks, socket, wish }.run());
    }))
}

/// What a client is told.
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

/// One socket and the lock that it holds.
struct Guard {
    locks: LockService,
    socket: WebSocket,
    wish: Wish,
}

/// Why a hold ends.
enum End {
    /// The client closed, vanished, or does not read.
    Gone,
    /// The client sent what it should not.
    Data,
    Lost,
    Draining,
}

impl Guard {
    async fn run(mut self) {
        let taken = tokio::select! {
            taken = self.locks.take(&self.wish) => taken,
            end = end_of(&mut self.socket) => {
                if let End::Data = end {
                    self.close(UNSUPPORTED_DATA, "send nothing").await;
                }
                return;
            }
        };
        match taken.and_then(|taken| taken.grant().map(|grant| (taken, grant))) {
            Ok((taken, grant)) => self.hold(taken, grant).await,
            Err(error) => self.refuse(error).await,
        }
    }

    async fn refuse(&mut self, error: LockError) {
        let detail = error.to_string();
        let retry_after_ms = match &error {
            LockError::Held { remaining, .. } => remaining.map(millis),
            _ => None,
        };
        let interrupted = matches!(error, LockError::Interrupted);
        let code = Problem::from(error).kind().slug;
        if self.tell(&Event::Refused { code, detail, retry_after_ms }).await.is_ok() {
            self.close(if interrupted { GOING_AWAY } else { LOCK_REFUSED }, code).await;
        }
    }

    async fn hold(&mut self, taken: Taken, grant: LockGrant) {
        let end = match self.tell(&Event::Acquired(&grant)).await {
            Ok(()) => self.keep(grant).await,
            Err(gone) => gone,
        };
        if let End::Lost = end {
            // Told at once: the client works on under a lock that it may not have.
            if self.tell(&Event::Lost).await.is_ok() {
                self.close(LOCK_LOST, "lock-lost").await;
            }
        }
        self.locks.give_back(taken).await;
        match end {
            End::Gone | End::Lost => {}
            End::Data => self.close(UNSUPPORTED_DATA, "send nothing").await,
            End::Draining => self.close(GOING_AWAY, "the replica is stopping; the lock is released").await,
        }
    }

    /// Extends until there is a reason to end.
    async fn keep(&mut self, mut grant: LockGrant) -> End {
        let third = self.wish.ttl / 3;
        let phase = self.locks.phase().clone();
        let told = Instant::now();
        let mut valid_until = told + Duration::from_millis(grant.validity_ms);
        let mut extend_at = told + third;
        // Since when a ping has waited for its pong.
        let mut unheard = Some(told);
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(extend_at.min(valid_until).into()) => {}
                () = phase.draining() => return End::Draining,
                message = self.socket.recv() => {
                    if let Some(end) = judged(message.as_ref()) {
                        return end;
                    }
                    unheard = None;
                    continue;
                }
            }
            if unheard.is_some_and(|since| since.elapsed() > self.wish.ttl) {
                return End::Gone;
            }
            let request = ExtendRequest { token: grant.token.clone(), ttl_ms: Some(millis(self.wish.ttl)) };
            let extension = self.locks.extend(grant.resource.clone(), request);
            match tokio::time::timeout_at(valid_until.into(), extension).await {
                Ok(Ok(extended)) => {
                    let now = Instant::now();
                    valid_until = now + Duration::from_millis(extended.validity_ms);
                    (grant, extend_at) = (extended, now + third);
                    unheard.get_or_insert(now);
                    if let Err(gone) = self.tell(&Event::Extended(&grant)).await {
                        return gone;
                    }
                }
                Ok(Err(LockError::Lost { .. })) | Err(_) => return End::Lost,
                Ok(Err(_)) if Instant::now() >= valid_until => return End::Lost,
                // Redis may come back while the lease lasts.
                Ok(Err(_)) => extend_at = Instant::now() + third / 4,
            }
        }
    }

    /// Sends an event and a ping, so that a client that vanished is noticed.
    async fn tell(&mut self, event: &Event<'_>) -> Result<(), End> {
        // Strings and numbers always serialise.
        let text = serde_json::to_string(event).unwrap_or_default();
        let sent = async {
            self.socket.send(Message::text(text)).await?;
            self.socket.send(Message::Ping(Vec::new().into())).await
        };
        match tokio::time::timeout(self.wish.ttl / 3, sent).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(End::Gone),
        }
    }

    /// Says goodbye; a client that does not hear it is gone anyway.
    async fn close(&mut self, code: u16, reason: &'static str) {
        let goodbye = self.socket.send(Message::Close(Some(CloseFrame { code, reason: reason.into() })));
        let _ = tokio::time::timeout(self.wish.ttl / 3, goodbye).await;
    }
}

/// Resolves when the client closes, vanishes, or speaks.
async fn end_of(socket: &mut WebSocket) -> End {
    loop {
        if let Some(end) = judged(socket.recv().await.as_ref()) {
            return end;
        }
    }
}

/// Whether a message ends the hold; pings and pongs only show that the client lives.
fn judged(message: Option<&Result<Message, axum::Error>>) -> Option<End> {
    match message {
        Some(Ok(Message::Ping(_) | Message::Pong(_))) => None,
        Some(Ok(Message::Text(_) | Message::Binary(_))) => Some(End::Data),
        Some(Ok(Message::Close(_)) | Err(_)) | None => Some(End::Gone),
    }
}
