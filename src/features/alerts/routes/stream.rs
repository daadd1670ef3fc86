//! `GET /alerts/events`: alerts as Server-Sent Events.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Extension;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::Response;
use futures_util::stream;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use crate::features::alerts::model::Alert;
use crate::features::alerts::service::Shared;
use crate::http::auth::Principal;
use crate::http::extract::{NoQuery, OpenConnection};
use crate::http::problem::Problem;
use crate::http::reply::limited_event_stream;
use crate::http::slots::Slot;

/// The time between comments. Browsers and proxies close idle connections after 30 s.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// Receive alerts as Server-Sent Events.
///
/// The event `alerts` has all alerts that fire. It comes first, and again if the client reads too slowly. Each event `alert`
/// is an alert that begins (`status` is `firing`) or ends (`resolved`). Events come without Redis too. When the credential
/// expires, the stream ends with the event `expired`.
#[utoipa::path(get, path = "/alerts/events", tag = "alerts", operation_id = "stream_alerts",
    responses((status = 200, description = "A stream of events until the client leaves", content_type = "text/event-stream",
        body = String)))]
pub(in super::super) async fn stream_alerts(
    State(alerts): State<Shared>,
    Extension(caller): Extension<Arc<Principal>>,
    open: Option<Extension<OpenConnection>>,
    NoQuery: NoQuery,
) -> Result<Response, Problem> {
    let slot = alerts.streams.take_stream(&caller)?;
    let expires = caller.end(alerts.clock.now());
    let (tasks, idle) = (alerts.tasks.clone(), alerts.idle);
    let open = open.map(|Extension(open)| open);
    let state = StreamState { alerts, changes: None, expires, has_expired: false, _slot: slot, _open: open };
    let pieces = stream::unfold(state, |mut state| async move {
        let chunk = state.next().await?;
        Some((chunk, state))
    });
    Ok(limited_event_stream(pieces, &tasks, idle))
}

struct StreamState {
    alerts: Shared,
    /// `None`: the client needs all alerts first.
    changes: Option<Receiver<Alert>>,
    /// When the credential ends.
    expires: Option<Instant>,
    has_expired: bool,
    _slot: Slot,
    /// The stream counts as a connection as long as it is open.
    _open: Option<OpenConnection>,
}

impl StreamState {
    /// The next chunk; `None` at the end.
    async fn next(&mut self) -> Option<Bytes> {
        if self.has_expired {
            return None;
        }
        let Some(changes) = &mut self.changes else {
            let (all, changes) = self.alerts.follow();
            self.changes = Some(changes);
            return Some(event("alerts", &all));
        };
        let beat = Instant::now() + HEARTBEAT;
        let expires = self.expires.filter(|expires| *expires < beat);
        tokio::select! {
            change = changes.recv() => match change {
                Ok(alert) => Some(event("alert", &alert)),
                Err(RecvError::Closed) => None,
                Err(RecvError::Lagged(_)) => {
                    let (all, changes) = self.alerts.follow();
                    self.changes = Some(changes);
                    Some(event("alerts", &all))
                }
            },
            () = self.alerts.draining() => None,
            () = tokio::time::sleep_until(expires.unwrap_or(beat).into()) => {
                self.has_expired = expires.is_some();
                let text: &[u8] = if self.has_expired { b"event: expired\ndata: {}\n\n" } else { b":\n\n" };
                Some(Bytes::from_static(text))
            }
        }
    }
}

fn event<T: serde::Serialize + ?Sized>(name: &str, data: &T) -> Bytes {
    // Texts and finite numbers always serialise.
    let data = serde_json::to_string(data).unwrap_or_default();
    format!("event: {name}\ndata: {data}\n\n").into()
}
