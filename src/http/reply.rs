//! Responses that several features share.

use std::borrow::Cow;
use std::convert::Infallible;
use std::fmt::Display;
use std::pin::pin;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, StreamExt, stream};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use utoipa::ToSchema;

use super::extract::Json;
use super::memory::EventStream;
use super::problem::Problem;
use crate::lifecycle::Tasks;
use crate::redis::Outcome;

/// 201 with the created object.
#[derive(Debug)]
pub struct Created<T>(pub T);

impl<T: Serialize> IntoResponse for Created<T> {
    fn into_response(self) -> Response {
        (StatusCode::CREATED, Json(self.0)).into_response()
    }
}

/// A stream of Server-Sent Events, as pieces of text.
fn event_stream(pieces: impl Stream<Item = Bytes> + Send + 'static) -> Response {
    let mut response = Body::from_stream(pieces.map(Ok::<_, Infallible>)).into_response();
    response.extensions_mut().insert(EventStream);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // nginx would collect the events otherwise.
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    response
}

/// A stream of Server-Sent Events that ends if its client takes nothing for `idle`: what `pieces` holds, such as a place among
/// the streams, is free again then. A client of HTTP/2 may grant its stream nothing on a connection that is otherwise alive,
/// so the connection's own limit is not enough.
pub fn limited_event_stream(
    pieces: impl Stream<Item = Bytes> + Send + 'static,
    tasks: &Tasks,
    idle: Duration,
) -> Response {
    let (send, mut receive) = mpsc::channel(1);
    tasks.spawn_connection(async move {
        let mut pieces = pin!(pieces);
        loop {
            let piece = tokio::select! {
                piece = pieces.next() => piece,
                () = send.closed() => None,
            };
            let Some(piece) = piece else { return };
            if !matches!(tokio::time::timeout(idle, send.send(piece)).await, Ok(Ok(()))) {
                return;
            }
        }
    });
    event_stream(stream::poll_fn(move |cx| receive.poll_recv(cx)))
}

/// 204 without a body.
#[derive(Clone, Copy, Debug)]
pub struct NoContent;

impl IntoResponse for NoContent {
    fn into_response(self) -> Response {
        StatusCode::NO_CONTENT.into_response()
    }
}

/// One page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// Pass this as `cursor` to get the next page; null on the last page.
    #[schema(required = true)]
    pub next_cursor: Option<String>,
}

impl<T> Page<T> {
    pub const fn empty() -> Self {
        Self { items: Vec::new(), next_cursor: None }
    }

    /// Adds a page of a list that begins behind the items of this page, and is followed by others unless it `is_last`.
    /// `cursor` makes the cursor behind an item. Returns whether this page, of at most `limit` items, ends with it.
    pub fn append(&mut self, part: Self, limit: usize, is_last: bool, cursor: impl Fn(&T) -> String) -> bool {
        self.items.extend(part.items);
        self.next_cursor = part.next_cursor;
        let is_full = self.items.len() >= limit;
        if is_full && !is_last && self.next_cursor.is_none() {
            self.next_cursor = self.items.last().map(cursor);
        }
        is_full || self.next_cursor.is_some()
    }
}

/// Why one item of a batch failed.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct ItemError {
    /// The kind of problem, as in `/problems/{slug}`.
    #[schema(value_type = String, example = "cache-miss")]
    pub code: Cow<'static, str>,
    pub detail: String,
    pub outcome: Outcome,
    /// The response that the item would have as a request of its own; absent in an error that was read.
    #[serde(skip)]
    pub problem: Option<Box<Problem>>,
}

impl ItemError {
    /// The error, and the status that it would have as a response of its own.
    pub fn of<E: Display + Into<Problem>>(error: E) -> (u16, Self) {
        let detail = error.to_string();
        let (status, item) = Self::of_problem(&error.into());
        (status, Self { detail, ..item })
    }

    /// The problem of an item, and its status.
    pub fn of_problem(problem: &Problem) -> (u16, Self) {
        // A problem without an outcome was found before anything was done.
        let outcome = problem.known_outcome().unwrap_or(Outcome::NotApplied);
        let (code, detail) = (problem.kind().slug.into(), problem.text().to_owned());
        let item = Self { code, detail, outcome, problem: Some(Box::new(problem.clone())) };
        (problem.status().as_u16(), item)
    }
}

/// Leaves the head of a response, with the length of the body that GET would return (RFC 9110, section 9.3.2).
pub(super) fn remove_body(response: &mut Response) {
    let body = std::mem::take(response.body_mut());
    if let Some(length) = http_body::Body::size_hint(&body).exact() {
        response.headers_mut().entry(header::CONTENT_LENGTH).or_insert_with(|| HeaderValue::from(length));
    }
}
