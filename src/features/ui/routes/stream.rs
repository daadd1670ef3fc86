//! `GET /ui/events`: the live numbers as Server-Sent Events.

use std::sync::Arc;
use std::time::Instant;

use axum::Extension;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::Response;
use futures_util::stream;
use tokio::sync::broadcast::Receiver;

use crate::features::ui::live::Shared;
use crate::http::auth::Principal;
use crate::http::extract::{NoQuery, OpenConnection};
use crate::http::problem::Problem;
use crate::http::reply::event_stream;
use crate::http::slots::Slot;

/// The scopes whose actions the page offers.
const OFFERED: &[&str] = &["cache:write", "json:write"];

/// Receive the live numbers of the web page as Server-Sent Events.
///
/// The event `caller` names the actions that the page may offer to the caller: the scopes `cache:write` and `json:write`.
/// Each event `frame` has the numbers of one second at this replica; the first ones are those of the last ten minutes. A client that reads too slowly is disconnected. When the credential expires, the stream ends with the event `expired`.
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
    let mut beginning = format!("event: caller\ndata: {}\n\n", serde_json::json!({ "may": may })).into_bytes();
    beginning.extend_from_slice(&kept);
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
    Ok(event_stream(stream::unfold(state, |mut state| async move {
        let chunk = state.next().await?;
        Some((chunk, state))
    })))
}

struct Viewer {
    live: Shared,
    beginning: Option<Bytes>,
    frames: Receiver<Bytes>,
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
            frame = self.frames.recv() => frame.ok(),
            () = self.live.deps.phase.draining() => None,
            () = expiry => {
                self.has_expired = true;
                Some(Bytes::from_static(b"event: expired\ndata: {}\n\n"))
            }
        }
    }
}
