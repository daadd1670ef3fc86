//! `GET /ui/events`: the live numbers as Server-Sent Events.

use std::sync::Arc;
use std::time::Instant;

use axum::Extension;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::Response;
use futures_util::stream;

use crate::features::ui::live::{Shared, Viewing};
use crate::http::auth::Principal;
use crate::http::extract::{NoQuery, OpenConnection};
use crate::http::problem::Problem;
use crate::http::reply::limited_event_stream;
use crate::http::slots::Slot;

/// The scopes whose actions the page offers.
const OFFERED: &[&str] = &["cache:write", "json:write"];

/// Receive the live numbers of the web page as Server-Sent Events.
///
/// The event `caller` names the actions that the page may offer to the caller: the scopes `cache:write` and `json:write`.
/// The event `replica` names the replica that sends the stream, its version, and when it started. Each event `frame` has the
/// numbers of one second at this replica; the first ones are those of the last ten minutes. A client that reads too slowly is
/// disconnected. After ten minutes the stream ends with the event `again`, and when the credential expires, with the event
/// `expired`.
#[utoipa::path(get, path = "/ui/events", tag = "ui", operation_id = "stream_live_numbers",
    responses((status = 200, description = "A stream of events until the client leaves", content_type = "text/event-stream",
        body = String)))]
pub(in super::super) async fn stream_live_numbers(
    State(live): State<Shared>,
    Extension(caller): Extension<Arc<Principal>>,
    open: Option<Extension<OpenConnection>>,
    NoQuery: NoQuery,
) -> Result<Response, Problem> {
    let slot = live.viewers.take_stream(&caller)?;
    let expires = caller.end(live.deps.clock.now());
    let may: Vec<&str> = OFFERED.iter().copied().filter(|scope| caller.may(scope)).collect();
    let (kept, frames) = live.frames.follow();
    let replica = serde_json::json!({
        "name": &*live.deps.replica, "version": env!("CARGO_PKG_VERSION"), "started": live.started,
    });
    let caller = serde_json::json!({ "may": may });
    let mut beginning = format!("event: caller\ndata: {caller}\n\nevent: replica\ndata: {replica}\n\n").into_bytes();
    beginning.extend_from_slice(&kept);
    let (tasks, idle) = (live.deps.tasks.clone(), live.idle);
    let open = open.map(|Extension(open)| open);
    let state = Viewer {
        live,
        beginning: Some(beginning.into()),
        frames,
        expires,
        has_expired: false,
        _slot: slot,
        _open: open,
    };
    let pieces = stream::unfold(state, |mut state| async move {
        let chunk = state.next().await?;
        Some((chunk, state))
    });
    Ok(limited_event_stream(pieces, &tasks, idle))
}

struct Viewer {
    live: Shared,
    beginning: Option<Bytes>,
    frames: Viewing,
    /// When the credential ends.
    expires: Option<Instant>,
    has_expired: bool,
    _slot: Slot,
    /// The stream counts as a connection as long as it is open.
    _open: Option<OpenConnection>,
}

impl Viewer {
    /// The next chunk; `None` at the end, which comes early for a viewer that has missed frames.
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(beginning) = self.beginning.take() {
            return Some(beginning);
        }
        if self.has_expired {
            return None;
        }
        let end = self.expires;
        let expiry = async {
            match end {
                Some(end) => tokio::time::sleep_until(end.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            frame = self.frames.next() => frame,
            () = self.live.deps.phase.draining() => None,
            () = expiry => {
                self.has_expired = true;
                Some(Bytes::from_static(b"event: expired\ndata: {}\n\n"))
            }
        }
    }
}
