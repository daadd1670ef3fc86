//! The middleware that every request passes: one unboxed service instead of a stack of layers.
//!
//! A stack of stock layers costs a third of this service's throughput; this one costs about a thirtieth. On the way in
//! it assigns the request id, sheds load, checks credentials, starts the deadline and catches panics. On the way out it
//! writes problem bodies, records metrics and logs requests that were slow or failed.
//!
//! It runs in front of the routers instead of in a layer of them, because a layer costs every request a boxed service
//! and a boxed future. It also decodes and encodes bodies, and removes the legacy prefix from paths. It looks the
//! operation up in the [`RouteTable`] itself; a path without an operation reaches only the pages, so no route can be
//! called without its access row.

use std::convert::Infallible;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::future::Either;
use pin_project_lite::pin_project;
use tower::Service;

use super::access::{Budget, Fencing, Guard, LONGEST_WAIT, RouteInfo, RouteTable};
use super::auth::{Authenticator, Principal};
use super::extract::{BodyLimit, DEFAULT_BODY_LIMIT};
use super::layer::{Next, NextFuture};
use super::problem::{self, Problem};
use super::request_id::{self, RequestId};
use super::{compression, fencing, legacy_prefix};
use crate::config::http::HttpConfig;
use crate::lifecycle::deadline::{Deadline, deadline};
use crate::redis::Outcome;
use crate::telemetry::metrics::HttpMetrics;
use crate::telemetry::traces::{RequestSpan, RequestTraces};

/// The parts of the middleware, and what it protects.
#[derive(Debug)]
pub struct Middleware {
    api: Next,
    pages: Router,
    table: RouteTable,
    authenticator: Authenticator,
    metrics: HttpMetrics,
    traces: RequestTraces,
    in_flight: AtomicUsize,
    max_requests: usize,
    request_deadline: Duration,
    streaming_deadline: Duration,
    body_limit: usize,
    slow_request: Duration,
}

impl Middleware {
    /// `api` serves the paths of the route table and `pages` all others.
    pub fn new(
        api: Next,
        pages: Router,
        config: &HttpConfig,
        table: RouteTable,
        authenticator: Authenticator,
        metrics: HttpMetrics,
        traces: RequestTraces,
    ) -> Self {
        Self {
            api,
            pages,
            table,
            authenticator,
            metrics,
            traces,
            in_flight: AtomicUsize::new(0),
            max_requests: config.max_requests,
            request_deadline: config.request_deadline.duration(),
            streaming_deadline: config.streaming_deadline.duration(),
            body_limit: config.body_limit.as_usize(),
            slow_request: config.slow_request.duration(),
        }
    }

    /// Admits or rejects the request. A guarded route receives its caller as a [`Principal`].
    fn admit(&self, request: &mut Request, route: Option<&RouteInfo>, in_flight: usize) -> Result<(), Problem> {
        if in_flight > self.max_requests {
            return Err(Problem::new(&problem::OVERLOADED)
                .outcome(Outcome::NotApplied)
                .retry_after(Duration::from_secs(1)));
        }
        if let Some(RouteInfo { guard: Guard::Scope(scope), .. }) = route {
            let principal: Arc<Principal> = self.authenticator.authenticate(request.headers_mut())?;
            principal.require(scope)?;
            request.extensions_mut().insert(principal);
        }
        if route.is_some_and(|route| route.fencing == Fencing::None) {
            fencing::refuse_unheeded(request.method(), request.headers())?;
        }
        compression::decompress(request)
    }
}

/// The service behind every connection: the middleware in front of the API's routes and the pages for people.
#[derive(Clone, Debug)]
pub struct MiddlewareService(Arc<Middleware>);

impl MiddlewareService {
    pub fn new(middleware: Middleware) -> Self {
        Self(Arc::new(middleware))
    }
}

impl Service<Request> for MiddlewareService {
    type Response = Response;
    type Error = Infallible;
    type Future = MiddlewareFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request) -> MiddlewareFuture {
        let middleware = &self.0;
        let operations = middleware.table.at(request.uri().path());
        let is_api = operations.is_some();
        let route = operations.and_then(|operations| operations.get(request.method())).cloned();
        let id = RequestId::of(request.headers());
        let span = middleware.traces.start(&request, route.as_deref().map(|route| route.path), id.as_str());
        let in_flight = middleware.in_flight.fetch_add(1, Ordering::Relaxed) + 1;
        middleware.metrics.in_flight.inc();
        let context = RequestContext {
            middleware: Arc::clone(middleware),
            started: Instant::now(),
            method: request.method().clone(),
            path: request.uri().path_and_query().cloned(),
            id,
            span,
            accepted_codings: compression::accepted_codings(request.headers()),
            answered: false,
            route,
        };
        let state = if let Err(problem) = middleware.admit(&mut request, context.route.as_deref(), in_flight) {
            State::Rejected { problem: Some(problem) }
        } else {
            let (limit, body_limit) = match context.budget() {
                Budget::Standard => (middleware.request_deadline, middleware.body_limit),
                Budget::Waiting => (middleware.request_deadline + LONGEST_WAIT, middleware.body_limit),
                Budget::Streaming => (middleware.streaming_deadline, usize::MAX),
            };
            // No handler of a safe method reads a body.
            if body_limit != DEFAULT_BODY_LIMIT && !context.method.is_safe() {
                request.extensions_mut().insert(BodyLimit(body_limit));
            }
            let call = || {
                if is_api {
                    legacy_prefix::strip(request.uri_mut());
                    return middleware.api.call(request);
                }
                Either::Left(middleware.pages.clone().call(request))
            };
            match catch_unwind(AssertUnwindSafe(call)) {
                Ok(inner) => State::Running { inner, deadline: deadline(context.started + limit) },
                Err(_) => State::Rejected { problem: Some(panicked(&context)) },
            }
        };
        MiddlewareFuture { state, context }
    }
}

pin_project! {
    /// One request on its way through the middleware.
    pub struct MiddlewareFuture {
        #[pin]
        state: State,
        context: RequestContext,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State {
        Rejected { problem: Option<Problem> },
        Running {
            #[pin]
            inner: NextFuture,
            deadline: Deadline,
        },
    }
}

impl Future for MiddlewareFuture {
    type Output = Result<Response, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let context = this.context;
        let _entered = context.span.as_ref().map(RequestSpan::enter);
        let response = match this.state.project() {
            StateProjection::Rejected { problem } => {
                problem.take().map(IntoResponse::into_response).unwrap_or_default()
            }
            StateProjection::Running { inner, deadline } => match catch_unwind(AssertUnwindSafe(|| inner.poll(cx))) {
                Ok(Poll::Ready(Ok(response))) => response,
                Ok(Poll::Pending) => {
                    ready!(Pin::new(deadline).poll(cx));
                    deadline_exceeded(&context.method).into_response()
                }
                Err(_) => panicked(context).into_response(),
            },
        };
        Poll::Ready(Ok(context.finish(response)))
    }
}

/// What the middleware keeps of a request until it responds.
struct RequestContext {
    middleware: Arc<Middleware>,
    route: Option<Arc<RouteInfo>>,
    started: Instant,
    method: Method,
    /// As the client sent it, with a legacy prefix.
    path: Option<PathAndQuery>,
    id: RequestId,
    span: Option<RequestSpan>,
    /// The value of `Accept-Encoding`.
    accepted_codings: Option<HeaderValue>,
    answered: bool,
}

impl RequestContext {
    fn finish(&mut self, response: Response) -> Response {
        self.answered = true;
        let mut response = self.complete(response);
        response.headers_mut().insert(request_id::HEADER.clone(), self.id.header());
        let elapsed = self.started.elapsed();
        let status = response.status();
        match &self.route {
            Some(route) => route.metrics.record(status, elapsed),
            None => self.middleware.metrics.record_unrouted(status),
        }
        if let Some(span) = &self.span {
            span.end(status);
        }
        // A request that asked to wait is not slow.
        let is_slow = elapsed >= self.middleware.slow_request && self.budget() != Budget::Waiting;
        if is_slow && !status.is_server_error() {
            tracing::warn!(
                method = %self.method, path = self.path(), status = status.as_u16(),
                elapsed_ms = elapsed.as_millis(), request_id = self.id.as_str(), "slow request",
            );
        }
        match self.accepted_codings.take() {
            None => response,
            Some(accepted) => compression::compress(response, accepted),
        }
    }

    /// Writes the body of a problem that a handler returned, and of the router's plain rejection of a method.
    fn complete(&self, mut response: Response) -> Response {
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
        self.log(&problem);
        let mut response = problem.render(self.path(), self.id.as_str());
        if self.method == Method::HEAD {
            let length = http_body::Body::size_hint(response.body()).lower();
            response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
            *response.body_mut() = Body::empty();
        }
        response
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
        let cause = problem.cause().map(causes);
        tracing::warn!(
            method = %self.method, path = self.path(), status = status.as_u16(), code = problem.kind().slug,
            cause, request_id = self.id.as_str(), "request failed",
        );
    }

    /// The budget of the operation; a path without an operation has the standard one.
    fn budget(&self) -> Budget {
        self.route.as_ref().map_or(Budget::Standard, |route| route.budget)
    }

    fn path(&self) -> &str {
        self.path.as_ref().map_or("", PathAndQuery::path)
    }
}

impl Drop for RequestContext {
    fn drop(&mut self) {
        self.middleware.in_flight.fetch_sub(1, Ordering::Relaxed);
        self.middleware.metrics.in_flight.dec();
        if !self.answered {
            self.middleware.metrics.aborted.inc();
            if let Some(span) = &self.span {
                span.fail("aborted");
            }
        }
    }
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

/// A safe method changes nothing, so its outcome is known even after the deadline.
fn deadline_exceeded(method: &Method) -> Problem {
    let outcome = if method.is_safe() { Outcome::NotApplied } else { Outcome::Unknown };
    Problem::new(&problem::DEADLINE_EXCEEDED).outcome(outcome).retry_after(Duration::from_secs(1))
}

fn panicked(context: &RequestContext) -> Problem {
    context.middleware.metrics.panics.inc();
    // The panic hook logs the message and the place.
    tracing::error!(
        method = %context.method, path = context.path(), request_id = context.id.as_str(), "handler panicked",
    );
    Problem::new(&problem::INTERNAL).outcome(Outcome::Unknown)
}
