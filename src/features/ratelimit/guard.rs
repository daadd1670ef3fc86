//! The layer around every route that limits this service's own callers, with the same engine.
//!
//! A caller is the principal that the outermost middleware verified, by API key or token. Without credentials all callers
//! are one. Public routes, such as health, are not limited. `ratelimit.guard` names the limiter; a reload may change it.

use std::convert::Infallible;
use std::mem;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use futures_util::future::{BoxFuture, Either};
use tower::{Layer, Service};

use super::error::LimitError;
use super::limiter::Limiter;
use super::model::LimitKey;
use super::service::LimitService;
use crate::http::auth::Principal;
use crate::http::problem::Problem;

/// Refuses callers that exceed the limit.
#[derive(Clone, Debug)]
pub struct CallerLimitLayer(Arc<LimitService>);

impl CallerLimitLayer {
    pub(super) const fn new(limits: Arc<LimitService>) -> Self {
        Self(limits)
    }
}

impl<S> Layer<S> for CallerLimitLayer {
    type Service = CallerLimit<S>;

    fn layer(&self, inner: S) -> CallerLimit<S> {
        CallerLimit { limits: Arc::clone(&self.0), inner }
    }
}

/// A route whose callers are limited. If no limiter is configured, requests pass through.
#[derive(Clone, Debug)]
pub struct CallerLimit<S> {
    limits: Arc<LimitService>,
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
        let Some((limiter, caller)) = self.limits.limiters.load().guard.clone().zip(caller) else {
            return Either::Left(self.inner.call(request));
        };
        let (limits, key) = (Arc::clone(&self.limits), LimitKey::of_name(&caller.id));
        // `poll_ready` prepared the service that `self` holds; its clone serves the next request.
        let ready = self.inner.clone();
        let mut inner = mem::replace(&mut self.inner, ready);
        Either::Right(Box::pin(async move {
            match limits.admit(&limiter, key).await {
                Ok(()) => inner.call(request).await,
                Err(error) => Ok(Problem::from(error).into_response()),
            }
        }))
    }
}

impl LimitService {
    async fn admit(&self, limiter: &Arc<Limiter>, key: LimitKey) -> Result<(), LimitError> {
        let check = self.resolve_key(limiter, key, None).map_err(LimitError::InvalidGuard)?;
        self.enforce(check).await.map(|_| ())
    }
}
