//! The layer around all routes.

use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};
use axum::response::{IntoResponse, Response};
use futures_util::future::BoxFuture;
use http_body_util::BodyExt;

use super::error::IdempotencyError;
use super::fingerprint::{Hash, HashedBody, request_hash};
use super::keys;
use super::recorded_response::{REPLAYED, RecordedResponse};
use super::scripts::Recording;
use super::service::{Attempt, IdempotencyService};
use crate::config::value::Span;
use crate::http::access::{FreesMemory, Repetition};
use crate::http::auth::Principal;
use crate::http::extract::BodyLimit;
use crate::http::idempotent_operation::{FirstResponse, LimitedLife, MAX_KEY, Repeated, Unrecorded};
use crate::http::layer::{Next, RequestLayer};
use crate::http::paced_body::incomplete;
use crate::http::problem::{BODY_TOO_LARGE, INTERNAL, Problem, REQUEST_TIMEOUT};
use crate::redis::Outcome;

static HEADER: HeaderName = HeaderName::from_static("idempotency-key");

/// The largest response body that is recorded, bytes. It takes memory for the whole retention, and most responses to a
/// write are far smaller. The repetition of a request whose response was not recorded is 409, which states that it
/// succeeded.
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

/// The caller of a request with a key on a guarded route that acts on keys; on public routes a key has no owner.
fn repeatable(request: &Request) -> Option<&Arc<Principal>> {
    let by_method = *request.method() == Method::POST || *request.method() == Method::PATCH;
    let is_ignored = || request.extensions().get() == Some(&Repetition::Ignore);
    if by_method && request.headers().contains_key(&HEADER) && !is_ignored() {
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
        let operation = keys::operation(caller, request.method(), request.uri().path(), key);
        let repetition = request.extensions().get().copied().unwrap_or(Repetition::Replay);
        let hash = request_hash(request.uri(), request.headers(), caller.limits());
        let mut attempt = self.attempt(&operation, request.extensions().get::<FreesMemory>().is_some())?;
        let mut first = None;
        let is_optional = repetition == Repetition::ReplayIfRecorded;
        let claimed = match self.claim(&mut attempt, None, is_optional.then_some(self.open_timeout)).await {
            // A claim that arrives late blocks the key until its lease ends.
            Err(IdempotencyError::Redis(_)) if is_optional => return Ok(run(request).await),
            claimed => claimed?,
        };
        if let Some(recording) = claimed {
            let runs = matches!(repetition, Repetition::Rerun | Repetition::Refresh);
            request = self.same_request(&recording, &hash, request, runs).await?;
            let Some(body) = recording.answer.body.clone() else { return Err(IdempotencyError::AnswerTooLarge.into()) };
            if repetition == Repetition::Refresh {
                request.extensions_mut().insert(FirstResponse(Some(body)));
                return Ok(recording.answer.refreshed(run(request).await));
            }
            if !runs {
                let replayed = recording.answer.replay(recording.remaining);
                return replayed.ok_or_else(|| IdempotencyError::AnswerTooLarge.into());
            }
            if self.claim(&mut attempt, Some(&body), None).await?.is_some() {
                // Another repetition has replaced the record in the meantime.
                return Err(IdempotencyError::InProgress { remaining: Duration::ZERO }.into());
            }
            request.extensions_mut().insert(FirstResponse(Some(body)));
            first = Some(recording);
        }
        request.extensions_mut().insert(operation);
        let (parts, body) = request.into_parts();
        let (body, body_hash) = HashedBody::new(body);
        let request = Request::from_parts(parts, Body::new(body));
        let response = tokio::select! {
            response = run(request) => response,
            never = self.renew(&attempt) => match never {},
        };
        self.settle(&attempt, caller, first, &hash, &body_hash, response).await
    }

    /// Records a successful response, or releases the claim so that the request can be retried. `first` is the recording
    /// that the claim replaced; it stays if this attempt could not find out whether it still holds.
    async fn settle(
        &self,
        attempt: &Attempt,
        caller: &Principal,
        first: Option<Recording>,
        request: &Hash,
        body: &OnceLock<Hash>,
        response: Response,
    ) -> Result<Response, Problem> {
        let status = response.status();
        if let Some(Recording { body, answer, remaining, .. }) = first.as_ref().filter(|_| status.is_server_error()) {
            self.complete(attempt, request, body.as_ref(), answer, *remaining).await;
            return Ok(response);
        }
        let life = response.extensions().get().map_or(Duration::MAX, |LimitedLife { life, .. }| *life);
        let retention = attempt.retention.duration().min(life).as_millis();
        let retention = Span::from_millis(u64::try_from(retention).unwrap_or(u64::MAX));
        let is_kept = !status.is_client_error() && !status.is_server_error() && retention.as_millis() > 0;
        if !is_kept || response.extensions().get::<Unrecorded>().is_some() {
            self.release(attempt).await;
            return Ok(response);
        }
        match RecordedResponse::of(response, MAX_ANSWER, retention).await {
            Ok((mut answer, mut response)) => {
                // A response that replaces one is of about its size.
                if first.is_none() && !self.may_keep(caller, answer.body.as_ref().map_or(0, Bytes::len)).await {
                    answer.body = None;
                }
                self.complete(attempt, request, body.get(), &answer, retention).await;
                if response.extensions().get::<Repeated>().is_some() {
                    response.headers_mut().insert(REPLAYED.clone(), HeaderValue::from_static("true"));
                }
                Ok(response)
            }
            Err(error) => {
                self.release(attempt).await;
                Err(Problem::new(&INTERNAL).outcome(Outcome::Unknown).caused_by(error))
            }
        }
    }

    /// The request, if it is the one that was recorded. Its body is hashed up to the route's limit, and kept only for a
    /// handler that reruns.
    ///
    /// # Errors
    /// [`IdempotencyError::KeyReused`] if it is another request; a problem of its body.
    async fn same_request(
        &self,
        done: &Recording,
        hash: &Hash,
        request: Request,
        keeps_body: bool,
    ) -> Result<Request, Problem> {
        if *hash != done.request {
            return Err(IdempotencyError::KeyReused.into());
        }
        let Some(first) = done.body else { return Ok(request) };
        let limit = BodyLimit::of(&request);
        let (parts, body) = request.into_parts();
        let (mut body, hash) = HashedBody::new(body);
        let (mut kept, mut length) = (Vec::new(), 0_usize);
        while let Some(frame) = tokio::time::timeout(self.body_idle_timeout, body.frame()).await.transpose() {
            let frame = match frame {
                Ok(Ok(frame)) => frame,
                Ok(Err(error)) => return Err(incomplete(error)),
                Err(_) => return Err(Problem::new(&REQUEST_TIMEOUT).outcome(Outcome::NotApplied)),
            };
            let Some(data) = frame.data_ref() else { continue };
            length = length.saturating_add(data.len());
            if length > limit {
                return Err(Problem::new(&BODY_TOO_LARGE).detail(format!("the limit is {limit} bytes")));
            }
            if keeps_body {
                kept.extend_from_slice(data);
            }
        }
        if hash.get() != Some(&first) {
            return Err(IdempotencyError::KeyReused.into());
        }
        Ok(Request::from_parts(parts, Body::from(kept)))
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
