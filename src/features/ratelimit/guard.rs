//! The layer around every route: the service holds its own callers to a limit, by the same engine.
//!
//! A caller is who the edge has verified, by API key or token; without credentials all are one caller. Routes for
//! everybody, such as health, are not limited. Which limiter it is, `ratelimit.guard` says, also after a reload.

use std::convert::Infallible;
use std::mem;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use futures_util::future::{BoxFuture, Either};
use tower::{Layer, Service};

use super::asking::Ask;
use super::error::BadAsk;
use super::fields::refusal;
use super::model::LimitKey;
use super::service::LimitService;
use crate::http::auth::Principal;
use crate::http::problem::{INTERNAL, Problem};
use crate::redis::Outcome;

/// Refuses callers that are above the limit.
#[derive(Clone, Debug)]
pub struct CallerLimitLayer(LimitService);

impl CallerLimitLayer {
    pub(super) const fn new(limits: LimitService) -> Self {
        Self(limits)
    }
}

impl<S> Layer<S> for CallerLimitLayer {
    type Service = CallerLimit<S>;

    fn layer(&self, inner: S) -> CallerLimit<S> {
        CallerLimit { limits: self.0.clone(), inner }
    }
}

/// A route whose callers are limited; while no limiter is configured a request passes straight through.
#[derive(Clone, Debug)]
pub struct CallerLimit<S> {
    limits: LimitService,
    inner: S,
}

impl<S> Service<Request> for CallerLimit<S>
where
    S: Service<Request, Response = Response, Error = Infallible, Future: Send + 'static> + Clone + Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Either<S::Future, BoxFuture<'static, Result<Response, Infallible>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let caller = request.extensions().get::<Arc<Principal>>();
        let Some(asked) = caller.and_then(|caller| self.limits.ask_of_caller(caller)) else {
            return Either::Left(self.inner.call(request));
        };
        let limits = self.limits.clone();
        // The inner service that is ready is this one; its clone is for the next request.
        let ready = self.inner.clone();
        let mut inner = mem::replace(&mut self.inner, ready);
        Either::Right(Box::pin(async move {
            match limits.admit(asked).await {
                Ok(()) => inner.call(request).await,
                Err(problem) => Ok(problem.into_response()),
            }
        }))
    }
}

impl LimitService {
    /// What a request of this caller costs; `None` while callers are not limited.
    fn ask_of_caller(&self, caller: &Principal) -> Option<Result<Ask, BadAsk>> {
        let limiter = self.limiters.load().guard.clone()?;
        Some(self.priced(limiter, LimitKey::of_name(&caller.id), None))
    }

    async fn admit(&self, asked: Result<Ask, BadAsk>) -> Result<(), Problem> {
        // A limiter's own cost is within its limit.
        let ask = asked.map_err(|bad| Problem::new(&INTERNAL).outcome(Outcome::NotApplied).caused_by(bad))?;
        let decision = self.check(ask).await?;
        if decision.allowed { Ok(()) } else { Err(refusal(decision)) }
    }
}
