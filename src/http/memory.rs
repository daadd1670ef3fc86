//! The memory of large bodies, of which one credential never takes everything.
//!
//! A request body counts from its head until the response is ready, whether it has arrived or not, and a response until
//! its last piece is handed to the connection. A client that sends or reads slowly therefore delays only itself.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::header;
use axum::response::Response;
use http_body::{Frame, SizeHint};

use super::access::Budget;
use super::extract::require_json;
use super::slots::Slot;

/// The memory of all large bodies, bytes. One credential has half of it.
pub const TOTAL: usize = 40 << 20;
/// Shorter bodies are not counted, bytes: a connection needs as much for its buffers, and the kernel's hold a response that
/// the client does not read.
const SMALL: usize = 16 << 10;
/// How much of a streamed body is in memory, bytes: what a load collects for one write, and the longest piece of an export.
const STREAMED_REQUEST: usize = 256 << 10;
const STREAMED_RESPONSE: usize = 1 << 20;
/// The most bytes of a response that are handed to the connection at a time.
const PIECE: usize = 64 << 10;
/// The highest ratio of gzip (RFC 1951: 258 bytes in two bits).
const GZIP_RATIO: usize = 1_032;

/// The memory that the body of a request may need, bytes; 0 if it is not counted.
pub fn of_request(request: &Request, budget: Budget, limit: usize) -> usize {
    if http_body::Body::is_end_stream(request.body()) {
        return 0;
    }
    // Where other formats are streamed, JSON is collected.
    let is_streamed = budget == Budget::Streaming && require_json(request.headers()).is_err();
    let limit = if is_streamed { STREAMED_REQUEST } else { limit };
    let is_compressed = request.headers().contains_key(header::CONTENT_ENCODING);
    let length = http_body::Body::size_hint(request.body()).exact().and_then(|length| usize::try_from(length).ok());
    let length = match length {
        Some(length) if is_compressed => length.saturating_mul(GZIP_RATIO).min(limit),
        // A capability may have a higher limit than the others.
        Some(length) if !is_streamed => length.min(TOTAL / 2),
        Some(length) => length.min(limit),
        None => limit,
    };
    if length <= SMALL { 0 } else { length }
}

/// The memory of a response that is ready, bytes; 0 if it is not counted.
pub fn of_response(response: &Response) -> usize {
    if response.extensions().get::<EventStream>().is_some() {
        return 0;
    }
    match http_body::Body::size_hint(response.body())
        .exact()
        .map(|length| usize::try_from(length).unwrap_or(usize::MAX))
    {
        Some(length) if length <= SMALL => 0,
        // A capability may have larger values than the others.
        Some(length) => length.min(TOTAL / 2),
        None => STREAMED_RESPONSE,
    }
}

/// A response extension: the body is a stream of events that lasts as long as its client stays. It has a limit of its own
/// and holds at most a few messages.
#[derive(Clone, Copy, Debug)]
pub struct EventStream;

/// A body that keeps its memory counted until it has been sent.
#[derive(Debug)]
struct CountedBody {
    body: Body,
    /// What is left of the latest piece.
    rest: Bytes,
    /// Whether other tasks have run since the last piece.
    has_yielded: bool,
    _memory: Slot,
}

/// Keeps `memory` taken until the response has been handed to the connection.
pub fn counted(response: Response, memory: Slot) -> Response {
    response.map(|body| Body::new(CountedBody { body, rest: Bytes::new(), has_yielded: true, _memory: memory }))
}

impl http_body::Body for CountedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        // Each piece may be compressed, which takes a while.
        if !std::mem::replace(&mut self.has_yielded, true) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if self.rest.is_empty() {
            match std::task::ready!(Pin::new(&mut self.body).poll_frame(cx)).map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(bytes))) => self.rest = bytes,
                Some(Ok(Err(other))) => return Poll::Ready(Some(Ok(other))),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
        self.has_yielded = false;
        let length = self.rest.len().min(PIECE);
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(length)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let left = u64::try_from(self.rest.len()).unwrap_or(u64::MAX);
        match self.body.size_hint().exact() {
            Some(exact) => SizeHint::with_exact(exact.saturating_add(left)),
            None => SizeHint::default(),
        }
    }
}
