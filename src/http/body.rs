//! A request body as it arrives, for handlers that limit its size themselves.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Request};
use http_body_util::BodyExt;

use super::problem::{self, Problem};

/// The pieces of a body, one at a time.
#[derive(Debug)]
pub struct BodyStream(Body);

impl<S: Send + Sync> FromRequest<S> for BodyStream {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        Ok(Self(request.into_body()))
    }
}

impl BodyStream {
    /// The next chunk of the body; `None` at its end.
    ///
    /// # Errors
    /// `body-incomplete` (400) if nothing arrives for `idle`, the connection breaks, or the body cannot be decompressed.
    pub async fn next(&mut self, idle: Duration) -> Result<Option<Bytes>, Problem> {
        loop {
            let frame = match tokio::time::timeout(idle, self.0.frame()).await {
                Ok(Some(Ok(frame))) => frame,
                Ok(None) => return Ok(None),
                Ok(Some(Err(error))) => return Err(Problem::new(&problem::BODY_INCOMPLETE).caused_by(error)),
                Err(_) => {
                    let waited = format!("no data arrived for {} ms", idle.as_millis());
                    return Err(Problem::new(&problem::BODY_INCOMPLETE).detail(waited));
                }
            };
            // Trailers carry nothing that the service reads.
            if let Ok(bytes) = frame.into_data() {
                return Ok(Some(bytes));
            }
        }
    }
}
