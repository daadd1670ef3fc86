//! The layer around all routes.

use std::future::Future;
use std::sync::{Arc, OnceLock};

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, Method};
use axum::response::{IntoResponse, Response};
use futures_util::future::BoxFuture;
use http_body_util::BodyExt;

use super::error::IdempotencyError;
use super::fingerprint::{Hash, HashedBody, request_hash};
use super::keys;
use super::recorded_response::RecordedResponse;
use super::scripts::Recording;
use super::service::{Attempt, IdempotencyService};
use crate::http::auth::Principal;
use crate::http::extract::BodyLimit;
use crate::http::idempotent_operation::Unrecorded;
use crate::http::layer::{Next, RequestLayer};
use crate::http::paced_body::incomplete;
use crate::http::problem::{BODY_TOO_LARGE, INTERNAL, Problem, REQUEST_TIMEOUT};
use crate::redis::Outcome;

static HEADER: HeaderName = HeaderName::from_static("idempotency-key");

/// The longest key, bytes.
const MAX_KEY: usize = 255;

/// The largest response body that is recorded, bytes. It takes memory for the whole retention, and most responses to a
/// write are far smaller. The repetition of a request with a larger response is 409, which states that it succeeded.
const MAX_ANSWER: usize = 64 << 10;

/// The layer that makes POST and PATCH requests with an `Idempotency-Key` repeatable.
impl RequestLayer for IdempotencyService {
    fn acts_on(&self, request: &Request) -> bool {
        repeatable(request).is_some()
    }

    fn respond(self: Arc<Self>, request: Request, next: Next) -> BoxFuture<'static, Response> {
        Box::pin(async move {
            let Some(caller) = repeatable(&request).cloned() else { return next.call(request).await };
            let answered = self.answer(&caller, request, |request| next.call(request)).await;
            answered.unwrap_or_else(IntoResponse::into_response)
        })
    }
}

/// The caller of a request with a key on a guarded route; on other routes a key has no owner.
fn repeatable(request: &Request) -> Option<&Arc<Principal>> {
    let by_method = *request.method() == Method::POST || *request.method() == Method::PATCH;
    if by_method && request.headers().contains_key(&HEADER) {
        return request.extensions().get();
    }
    None
}

impl IdempotencyService {
    async fn answer<F>(
        &self,
        caller: &Principal,
        mut request: Request,
        run: impl FnOnce(Request) -> F,
    ) -> Result<Response, Problem>
    where
        F: Future<Output = Response>,
    {
        let key = idempotency_key(request.headers())?;
        let operation = keys::operation(&caller.id, request.method(), request.uri().path(), key);
        let hash = request_hash(request.uri(), request.headers());
        let attempt = self.attempt(&operation)?;
        if let Some(recording) = self.claim(&attempt).await? {
            return self.repeat(recording, &hash, request).await;
        }
        request.extensions_mut().insert(operation);
        let (parts, body) = request.into_parts();
        let (body, body_hash) = HashedBody::new(body);
        let request = Request::from_parts(parts, Body::new(body));
        let response = tokio::select! {
            response = run(request) => response,
            never = self.renew(&attempt) => match never {},
        };
        self.settle(&attempt, &hash, &body_hash, response).await
    }

    /// Records a successful response, or releases the claim so that the request can be retried.
    async fn settle(
        &self,
        attempt: &Attempt,
        request: &Hash,
        body: &OnceLock<Hash>,
        response: Response,
    ) -> Result<Response, Problem> {
        let failed = response.status().is_client_error() || response.status().is_server_error();
        if failed || response.extensions().get::<Unrecorded>().is_some() {
            self.release(attempt).await;
            return Ok(response);
        }
        match RecordedResponse::of(response, MAX_ANSWER).await {
            Ok((answer, response)) => {
                self.complete(attempt, request, body.get(), &answer).await;
                Ok(response)
            }
            Err(error) => {
                self.release(attempt).await;
                Err(Problem::new(&INTERNAL).outcome(Outcome::Unknown).caused_by(error))
            }
        }
    }

    /// The recorded response, if this request is the one that was recorded.
    async fn repeat(&self, done: Recording, hash: &Hash, request: Request) -> Result<Response, Problem> {
        let is_same = *hash == done.request
            && match done.body {
                Some(first) => self.body_hash(request).await? == Some(first),
                None => true,
            };
        if !is_same {
            return Err(IdempotencyError::KeyReused.into());
        }
        done.answer.replay().ok_or_else(|| IdempotencyError::AnswerTooLarge.into())
    }

    /// Hashes a body up to the route's limit, without keeping it.
    async fn body_hash(&self, request: Request) -> Result<Option<Hash>, Problem> {
        let limit = BodyLimit::of(&request);
        let (mut body, hash) = HashedBody::new(request.into_body());
        let mut length = 0_usize;
        loop {
            match tokio::time::timeout(self.body_idle_timeout, body.frame()).await {
                Ok(None) => return Ok(hash.get().copied()),
                Ok(Some(Ok(frame))) => length = length.saturating_add(frame.data_ref().map_or(0, Bytes::len)),
                Ok(Some(Err(error))) => return Err(incomplete(error)),
                Err(_) => return Err(Problem::new(&REQUEST_TIMEOUT).outcome(Outcome::NotApplied)),
            }
            if length > limit {
                return Err(Problem::new(&BODY_TOO_LARGE).detail(format!("the limit is {limit} bytes")));
            }
        }
    }
}

/// The request's only key.
fn idempotency_key(headers: &HeaderMap) -> Result<&str, Problem> {
    let invalid = |rule: &str| Problem::request_header("Idempotency-Key", rule);
    let mut values = headers.get_all(&HEADER).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return Err(invalid("must be given once")) };
    match value.to_str() {
        Ok(key) if (1..=MAX_KEY).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic()) => Ok(key),
        _ => Err(invalid("must be 1 to 255 visible ASCII characters")),
    }
}
