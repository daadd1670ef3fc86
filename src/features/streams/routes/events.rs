//! Appending, reading and listing events and streams.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;

use super::super::READ;
use super::super::error::StreamError;
use super::super::model::{
    AppendRequest, Appended, EventsPage, EventsQuery, MAX_PAGE, MAX_VERSION, MAX_WAIT_MS, Order, StreamInfo,
    StreamPath, StreamsQuery,
};
use super::super::names::StreamName;
use super::super::scripts::Range;
use super::super::service::{StreamService, page};
use super::page_limit;
use crate::http::auth::Principal;
use crate::http::compression::Uncompressed;
use crate::http::extract::{Json, NoQuery, Path, Query};
use crate::http::fencing::GrantToken;
use crate::http::negotiation::{NDJSON, preferred};
use crate::http::problem::Problem;
use crate::http::reply::{Created, NoContent, Page};

/// Append events to a stream.
///
/// All events are appended or none. Each gets the next version of the stream. With `expected_version`, they are appended only
/// if the stream has that version: otherwise the response is 409 `version-conflict` with `current_version`. The same events
/// with the same ids are appended once: after a response with an unknown outcome, send the same request again.
#[utoipa::path(post, path = "/streams/{stream}/events", tag = "streams", operation_id = "append_events",
    params(StreamPath), request_body = AppendRequest,
    responses((status = 201, description = "The versions of the events", body = Appended)))]
pub(in super::super) async fn append_events(
    State(streams): State<Arc<StreamService>>,
    Extension(caller): Extension<Arc<Principal>>,
    Path(path): Path<StreamPath>,
    NoQuery: NoQuery,
    GrantToken(token): GrantToken,
    Json(request): Json<AppendRequest>,
) -> Result<Created<Appended>, Problem> {
    Ok(Created(streams.append(&caller, &path.stream, request, token).await?))
}

/// Read the events of a stream.
///
/// A page ends early at about 1 MiB. With `wait_ms`, the call waits for an event if there is none. With `Accept:
/// application/x-ndjson`, the response has all requested events, one per line, and is streamed at the speed of the client; it is
/// complete if its last chunk has arrived.
#[utoipa::path(get, path = "/streams/{stream}/events", tag = "streams", operation_id = "read_events",
    params(StreamPath, EventsQuery),
    responses((status = 200, description = "A page of events, or all of them",
        content((EventsPage = "application/json"), (String = "application/x-ndjson")))))]
pub(in super::super) async fn read_events(
    State(streams): State<Arc<StreamService>>,
    Path(path): Path<StreamPath>,
    Query(query): Query<EventsQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let is_replay = preferred(&headers, &["application/json", NDJSON]) == NDJSON;
    if query.cursor.is_some() && query.from_version.is_some() {
        return Err(Problem::query_parameter("cursor", "must not be combined with from_version"));
    }
    for (name, version) in
        [("from_version", query.from_version), ("to_version", query.to_version), ("cursor", query.cursor)]
    {
        if let Some(version) = version.filter(|version| !(1..=MAX_VERSION).contains(version)) {
            return Err(Problem::query_parameter(name, format!("must be between 1 and {MAX_VERSION}, got {version}")));
        }
    }
    let wait_ms = query.wait_ms.unwrap_or_default();
    if wait_ms > MAX_WAIT_MS {
        let rule = format!("must be between 0 and {MAX_WAIT_MS}, got {wait_ms}");
        return Err(Problem::query_parameter("wait_ms", rule));
    }
    if wait_ms > 0 && (query.order == Order::Desc || is_replay) {
        let rule = "must not be combined with descending order or NDJSON";
        return Err(Problem::query_parameter("wait_ms", rule));
    }
    let limit = if is_replay && query.limit.is_none() { MAX_PAGE } else { page_limit(query.limit)? };
    let from = query.cursor.or(query.from_version);
    let range = Range { order: query.order, from, to: query.to_version, limit };
    if is_replay {
        let left = query.limit.unwrap_or(usize::MAX);
        return replay(streams, path.stream, range, left).await;
    }
    Ok(Json(streams.page(&path.stream, range, Duration::from_millis(wait_ms)).await?).into_response())
}

/// A replay on its way.
struct Replay {
    streams: Arc<StreamService>,
    stream: StreamName,
    /// What is read next; `None` at the end.
    next: Option<Range>,
    /// The most further events.
    left: usize,
}

/// Streams all events of a range. The first page is read before the response begins, so that its problems have a status.
async fn replay(
    streams: Arc<StreamService>,
    stream: StreamName,
    range: Range,
    left: usize,
) -> Result<Response, Problem> {
    let mut replay = Replay { streams, stream, next: Some(range), left };
    let first = replay.next().await?;
    let rest = stream::try_unfold(replay, async |mut replay| {
        Ok::<_, StreamError>(replay.next().await?.map(|chunk| (chunk, replay)))
    });
    let body = Body::from_stream(futures_util::StreamExt::chain(stream::iter(first.map(Ok)), rest));
    Ok((Extension(Uncompressed), [(header::CONTENT_TYPE, NDJSON)], body).into_response())
}

impl Replay {
    /// The lines of the next page.
    async fn next(&mut self) -> Result<Option<Bytes>, StreamError> {
        let Some(mut range) = self.next.take() else { return Ok(None) };
        range.limit = range.limit.min(self.left);
        let page = page(self.streams.read(&self.stream, range).await?, range);
        self.left = self.left.saturating_sub(page.items.len());
        let from = page.next_cursor.as_ref().and_then(|cursor| cursor.parse().ok());
        self.next = from.filter(|_| self.left > 0).map(|from| Range { from: Some(from), ..range });
        let mut lines = Vec::new();
        for event in &page.items {
            // Text and numbers always serialise.
            lines.extend(serde_json::to_vec(event).unwrap_or_default());
            lines.push(b'\n');
        }
        Ok(Some(lines.into()))
    }
}

/// Describe a stream.
#[utoipa::path(get, path = "/streams/{stream}", tag = "streams", operation_id = "get_stream",
    params(StreamPath),
    responses((status = 200, description = "The stream", body = StreamInfo)))]
pub(in super::super) async fn get_stream(
    State(streams): State<Arc<StreamService>>,
    Path(path): Path<StreamPath>,
    NoQuery: NoQuery,
) -> Result<Json<StreamInfo>, Problem> {
    let found = streams.describe(std::slice::from_ref(&path.stream)).await?.pop();
    Ok(Json(found.ok_or(StreamError::NotFound(path.stream))?))
}

/// List the streams.
///
/// The list has the streams that the credential may read. A page can have fewer items than `limit`.
#[utoipa::path(get, path = "/streams", tag = "streams", operation_id = "list_streams",
    params(StreamsQuery),
    responses((status = 200, description = "A page of streams, by name", body = Page<StreamInfo>)))]
pub(in super::super) async fn list_streams(
    State(streams): State<Arc<StreamService>>,
    Extension(caller): Extension<Arc<Principal>>,
    Query(query): Query<StreamsQuery>,
) -> Result<Json<Page<StreamInfo>>, Problem> {
    let limit = page_limit(query.limit)?;
    for (name, text) in [("prefix", Some(&query.prefix)), ("cursor", query.cursor.as_ref())] {
        if let Some(length) = text.map(String::len).filter(|length| *length > 128) {
            let rule = format!("must have at most 128 characters, got {length}");
            return Err(Problem::query_parameter(name, rule));
        }
    }
    let is_visible = |name: &str| name.starts_with(&query.prefix) && caller.may_access(READ, name);
    Ok(Json(streams.list(is_visible, query.cursor.as_deref(), limit).await?))
}

/// Delete a stream with its groups.
///
/// Its next event has version 1 again: readers must forget their positions.
#[utoipa::path(delete, path = "/streams/{stream}", tag = "streams", operation_id = "delete_stream",
    params(StreamPath),
    responses((status = 204, description = "There is no such stream any more")))]
pub(in super::super) async fn delete_stream(
    State(streams): State<Arc<StreamService>>,
    Extension(caller): Extension<Arc<Principal>>,
    Path(path): Path<StreamPath>,
    NoQuery: NoQuery,
) -> Result<NoContent, Problem> {
    streams.delete(&path.stream, &caller.id).await?;
    Ok(NoContent)
}

/// Forget the fencing tokens that a stream has seen.
///
/// The next append with a `Fencing-Token` is accepted, even if a former holder of the lock sends it: make sure that there is
/// none. The audit log records the call.
#[utoipa::path(delete, path = "/fences/streams/{stream}", tag = "streams", operation_id = "reset_stream_fence",
    params(StreamPath), responses((status = 204, description = "The stream remembers no token")))]
pub(in super::super) async fn reset_stream_fence(
    State(streams): State<Arc<StreamService>>,
    Path(path): Path<StreamPath>,
    Extension(caller): Extension<Arc<Principal>>,
    NoQuery: NoQuery,
) -> Result<NoContent, Problem> {
    streams.reset_fence(&path.stream, &caller.id).await?;
    Ok(NoContent)
}
