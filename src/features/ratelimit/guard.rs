//! The layer around every route that limits this service's own callers.
//!
//! A caller is the principal that the outermost middleware verified, by API key or token. Public routes, such as health, are
//! not limited. Two limits apply, and a reload may change both:
//! - `ratelimit.caller_rate`: each replica counts the requests of each credential in memory, in windows of a second that begin
//!   with the credential's first request. Callers without credentials are not told apart, and not limited.
//! - `ratelimit.guard` names a limiter, which counts in Redis as it does for others. Without credentials all callers are one.

use std::slice;
use std::sync::Arc;

use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use futures_util::future::BoxFuture;

use super::check::{Decision, Mode, ResolvedCheck};
use super::error::LimitError;
use super::limiter::Limiter;
use super::model::LimitKey;
use super::service::LimitService;
use crate::http::auth::Principal;
use crate::http::layer::{Next, RequestLayer};
use crate::http::problem::Problem;

/// The layer that refuses callers that exceed a limit. If none applies, requests pass through.
impl RequestLayer for LimitService {
    fn acts_on(&self, request: &Request) -> bool {
        let caller = request.extensions().get::<Arc<Principal>>();
        caller.is_some_and(|caller| {
            let limiters = self.limiters.load();
            limiters.guard.is_some() || (limiters.callers.is_some() && !caller.is_anonymous())
        })
    }

    fn respond(self: Arc<Self>, request: Request, next: Next) -> BoxFuture<'static, Response> {
        Box::pin(async move {
            let admitted = match request.extensions().get::<Arc<Principal>>().cloned() {
                Some(caller) => self.admit(&caller).await,
                None => Ok(()),
            };
            match admitted {
                Ok(()) => next.call(request).await,
                Err(error) => Problem::from(error).into_response(),
            }
        })
    }
}

impl LimitService {
    async fn admit(&self, caller: &Principal) -> Result<(), LimitError> {
        let limiters = self.limiters.load_full();
        if let Some(limiter) = limiters.callers.as_ref().filter(|_| !caller.is_anonymous()) {
            self.count(limiter, caller)?;
        }
        let Some(limiter) = &limiters.guard else { return Ok(()) };
        let check = self.resolve_key(limiter, LimitKey::of_name(&caller.id), None).map_err(LimitError::InvalidGuard)?;
        // Boxed because a future is as large as its largest branch, and most services have no guard.
        Box::pin(self.enforce(check)).await.map(|_| ())
    }

    /// Counts a request in memory.
    fn count(&self, limiter: &Arc<Limiter>, caller: &Principal) -> Result<(), LimitError> {
        let (limiter, key) = (Arc::clone(limiter), LimitKey::of_name(&caller.id));
        let check = ResolvedCheck { limiter, key, cost: 1, forced: None };
        let refused = self.callers.decide(slice::from_ref(&check), Mode::Take).pop().filter(|made| !made.allowed);
        // Memory is where this limit is counted, so the decision is as good as any. Requests that pass are counted elsewhere.
        refused.map_or(Ok(()), |refused| {
            let refused = Decision { degraded: false, ..refused };
            refused.record(0.0);
            Err(LimitError::Refused(Box::new(refused)))
        })
    }
}
