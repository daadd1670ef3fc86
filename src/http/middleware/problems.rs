//! Problems on their way out: their bodies, and their lines in the log.

use std::sync::Arc;

use axum::http::{StatusCode, header};
use axum::response::Response;

use super::RequestContext;
use crate::http::audited::Denied;
use crate::http::problem::{self, Problem};
use crate::redis::Outcome;
use crate::telemetry::episodes;

impl RequestContext {
    /// Writes the body of a problem that a handler returned, and of a page's plain rejection of a method.
    pub(super) fn complete(&self, mut response: Response) -> Response {
        let problem = match response.extensions_mut().remove::<Arc<Problem>>() {
            Some(problem) => problem,
            None if response.status() == StatusCode::METHOD_NOT_ALLOWED => {
                let mut problem = Problem::new(&problem::METHOD_NOT_ALLOWED);
                if let Some(allow) = response.headers().get(header::ALLOW) {
                    problem = problem.header(header::ALLOW, allow.clone());
                }
                Arc::new(problem)
            }
            None => return response,
        };
        self.middleware.metrics.problems.with_label_values(&[problem.kind().slug]).inc();
        self.log(&problem);
        problem.render(self.path(), self.id.as_str())
    }

    /// Tells the layers that the request was denied. A denial without a problem is none of the service's.
    pub(super) fn report_denial(&self, response: &Response) {
        if let Some(route) = &self.route
            && matches!(response.status(), StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
            && let Some(problem) = response.extensions().get::<Arc<Problem>>()
        {
            let denied = Denied {
                method: &self.method,
                route: route.path,
                caller: self.admission.caller.as_deref(),
                peer: self.peer,
                reason: problem.kind().slug,
            };
            self.middleware.layers.iter().for_each(|layer| layer.denied(&denied));
        }
    }

    /// Logs a problem with its cause, which the caller does not see. No other place logs problems.
    fn log(&self, problem: &Problem) {
        let status = problem.status();
        if !status.is_server_error() {
            tracing::debug!(
                method = %self.method, path = self.path(), code = problem.kind().slug,
                request_id = self.id.as_str(), "request rejected",
            );
            return;
        }
        if let Some(span) = &self.span {
            span.fail(problem.kind().slug);
        }
        // An internal error has a cause of its own. Others have one cause for many requests.
        let repeated = match episodes::next(problem.kind().slug) {
            _ if status == StatusCode::INTERNAL_SERVER_ERROR => 0,
            Some(repeated) => repeated,
            None => return,
        };
        let cause = problem.cause().map(causes);
        tracing::warn!(
            method = %self.method, path = self.path(), status = status.as_u16(), code = problem.kind().slug,
            cause, request_id = self.id.as_str(), repeated, "request failed",
        );
    }
}

/// The problem of a request whose handler panicked.
pub(super) fn panicked(context: &RequestContext) -> Problem {
    context.middleware.metrics.panics.inc();
    // The panic hook logs the message and the place.
    tracing::error!(
        method = %context.method, path = context.path(), request_id = context.id.as_str(), "handler panicked",
    );
    Problem::new(&problem::INTERNAL).outcome(Outcome::Unknown)
}

/// An error and the chain of its sources, on one line.
fn causes(error: &(dyn std::error::Error + Send + Sync + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        source = inner.source();
    }
    text
}
