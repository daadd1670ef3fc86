//! The layer around every route that limits this service's own callers, with the same engine.
//!
//! A caller is the principal that the outermost middleware verified, by API key or token. Without credentials all callers
//! are one. Public routes, such as health, are not limited. `ratelimit.guard` names the limiter; a reload may change it.

use std::sync::Arc;

use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use futures_util::future::BoxFuture;

use super::check::ResolvedCheck;
use super::error::{InvalidCheck, LimitError};
use super::model::LimitKey;
use super::service::LimitService;
use crate::http::auth::Principal;
use crate::http::layer::{Next, RequestLayer};
use crate::http::problem::Problem;

/// Refuses callers that exceed the limit. If no limiter is configured, requests pass through.
#[derive(Debug)]
pub(super) struct CallerLimitLayer(pub LimitService);

impl RequestLayer for CallerLimitLayer {
    fn acts_on(&self, request: &Request) -> bool {
        self.0.limiters.load().guard.is_some() && request.extensions().get::<Arc<Principal>>().is_some()
    }

    fn respond(self: Arc<Self>, request: Request, next: Next) -> BoxFuture<'static, Response> {
        Box::pin(async move {
            let check = request.extensions().get::<Arc<Principal>>().and_then(|caller| self.0.caller_check(caller));
            match check {
                Some(check) => match self.0.admit(check).await {
                    Ok(()) => next.call(request).await,
                    Err(error) => Problem::from(error).into_response(),
                },
                None => next.call(request).await,
            }
        })
    }
}

impl LimitService {
    /// The check of a request of this caller; `None` if callers are not limited.
    fn caller_check(&self, caller: &Principal) -> Option<Result<ResolvedCheck, InvalidCheck>> {
        let limiter = self.limiters.load().guard.clone()?;
        Some(self.resolve_key(limiter, LimitKey::of_name(&caller.id), None))
    }

    async fn admit(&self, check: Result<ResolvedCheck, InvalidCheck>) -> Result<(), LimitError> {
        let decision = self.check(check.map_err(LimitError::InvalidGuard)?).await?;
        if decision.allowed { Ok(()) } else { Err(LimitError::Refused(Box::new(decision))) }
    }
}
