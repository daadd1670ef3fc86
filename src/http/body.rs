//! A request body as it arrives, for handlers that limit its size themselves.

use std::collections::VecDeque;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Request};
use http_body_util::BodyExt;

use super::paced_body::incomplete;
use super::problem::{self, Problem};
use crate::redis::Outcome;

/// The pieces of a body, one at a time.
#[derive(Debug)]
pub struct BodyStream {
    /// Pieces that [`BodyStream::ends_within`] has read.
    ahead: VecDeque<Bytes>,
    rest: Body,
}

impl<S: Send + Sync> FromRequest<S> for BodyStream {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        Ok(Self { ahead: VecDeque::new(), rest: request.into_body() })
    }
}

impl BodyStream {
    /// The next chunk of the body; `None` at its end.
    ///
    /// # Errors
    /// `request-timeout` (408) if nothing arrives for `idle` or the body arrives too slowly, `body-incomplete` (400) if the
    /// connection breaks or the body cannot be decompressed.
    pub async fn next(&mut self, idle: Duration) -> Result<Option<Bytes>, Problem> {
        match self.ahead.pop_front() {
            Some(piece) => Ok(Some(piece)),
            None => self.read(idle).await,
        }
    }

    /// Reads up to `size` bytes ahead. Returns whether the body has no more than that.
    ///
    /// # Errors
    /// The errors of [`BodyStream::next`].
    pub async fn ends_within(&mut self, size: usize, idle: Duration) -> Result<bool, Problem> {
        let mut length = 0;
        while let Some(piece) = self.read(idle).await? {
            length += piece.len();
            self.ahead.push_back(piece);
            if length > size {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Collects a JSON body on a route whose other formats are streamed. The deadline of such a route is long, so each pause
    /// in the body has its own limit.
    ///
    /// # Errors
    /// `body-too-large` (413), and the errors of [`BodyStream::next`].
    pub async fn collect(mut self, limit: usize, idle: Duration) -> Result<Vec<u8>, Problem> {
        let mut bytes = Vec::new();
        while let Some(piece) = self.next(idle).await? {
            if bytes.len() + piece.len() > limit {
                let advice = format!("a JSON body must have at most {limit} bytes; the other formats have no limit");
                return Err(Problem::new(&problem::BODY_TOO_LARGE).detail(advice));
            }
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes)
    }

    async fn read(&mut self, idle: Duration) -> Result<Option<Bytes>, Problem> {
        loop {
            let frame = match tokio::time::timeout(idle, self.rest.frame()).await {
                Ok(Some(Ok(frame))) => frame,
                Ok(None) => return Ok(None),
                Ok(Some(Err(error))) => return Err(incomplete(error)),
                Err(_) => {
                    let waited = format!("no data arrived for {} ms", idle.as_millis());
                    let slow = Problem::new(&problem::REQUEST_TIMEOUT).detail(waited);
                    return Err(slow.outcome(Outcome::NotApplied));
                }
            };
            // Trailers carry nothing that the service reads.
            if let Ok(bytes) = frame.into_data() {
                return Ok(Some(bytes));
            }
        }
    }
}
