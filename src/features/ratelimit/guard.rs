//! The layer around every route that limits this service's own callers, with the same engine.
//!
//! A caller is the principal that the outermost middleware verified, by API key or token. Without credentials all callers
//! are one. Public routes, such as health, are not limited. `ratelimit.guard` names the limiter; a reload may change it.

use std::sync::Arc;

use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use futures_util::future::BoxFuture;

use super::error::LimitError;
use super::limiter::Limiter;
use super::model::LimitKey;
use super::service::LimitService;
use crate::http::auth::Principal;
use crate::http::layer::{Next, RequestLayer};
use crate::http::problem::Problem;

/// The layer that refuses callers that exceed the limit. If no limiter is configured, requests pass through.
impl RequestLayer for LimitService {
    fn acts_on(&self, request: &Request) -> bool {
        self.limiters.load().guard.is_some() && request.extensions().get::<Arc<Principal>>().is_some()
    }

    fn respond(self: Arc<Self>, request: Request, next: Next) -> BoxFuture<'static, Response> {
        Box::pin(async move {
            let caller = request.extensions().get::<Arc<Principal>>().map(|caller| LimitKey::of_name(&caller.id));
            let limiter = self.limiters.load().guard.clone();
            if let Some((limiter, caller)) = limiter.zip(caller)
                && let Err(error) = self.admit(&limiter, caller).await
            {
                return Problem::from(error).into_response();
            }
            next.call(request).await
        })
    }
}

impl LimitService {
    async fn admit(&self, limiter: &Arc<Limiter>, key: LimitKey) -> Result<(), LimitError> {
        let check = self.resolve_key(limiter, key, None).map_err(LimitError::InvalidGuard)?;
        self.enforce(check).await.map(|_| ())
    }
}
