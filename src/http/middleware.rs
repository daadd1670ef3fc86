//! The middleware that every request passes: one unboxed service instead of a stack of layers.
//!
//! A stack of stock layers costs a third of this service's throughput; this one costs about a thirtieth. On the way in
//! it assigns the request id, sheds load, checks credentials, starts the deadline and catches panics. On the way out it
//! writes problem bodies, records metrics and logs requests that were slow or failed.
//!
//! It looks the operation up in the [`RouteTable`] and calls its handler, through the few layers that act on the request;
//! the routes have no router, which would cost every request a boxed service and a boxed future. A path without an
//! operation reaches only the router of the pages, so no route can be called without its access row. The middleware also
//! decodes and encodes bodies, and removes the legacy prefix from paths.

mod problems;

use std::convert::Infallible;
use std::future::{Future, ready};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::Request;
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderValue, Method, header};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use pin_project_lite::pin_project;
use tower::{Service, ServiceExt};

use super::access::{Budget, FreesMemory, LONGEST_WAIT, Repetition, Weight};
use super::audited::{Audited, Peer};
use super::auth::{Authenticator, Principal, Scopes};
use super::extract::{BodyLimit, DEFAULT_BODY_LIMIT};
use super::layer::{self, Layers};
use super::paced_body::{self, AwaitsBody, Pace};
use super::path_parameters::RoutePath;
use super::problem::{self, Problem};
use super::reply::remove_body;
use super::request_id::{self, RequestId};
use super::route_table::{Route, RouteTable};
use super::slots::{Admission, Slot, Slots};
use super::turns::{self, Turns};
use super::{compression, documentation, durability, legacy_prefix, memory, uri};
use crate::config::http::HttpConfig;
use crate::lifecycle::deadline::{Deadline, deadline};
use crate::lifecycle::{caller, large_work};
use crate::redis::Outcome;
use crate::telemetry::episodes;
use crate::telemetry::metrics::HttpMetrics;
use crate::telemetry::traces::{RequestSpan, RequestTraces};

/// Requests that take longer are logged: half of the default deadline, and far more than a healthy request takes.
const SLOW: Duration = Duration::from_secs(1);

/// The parts of the middleware, and what it protects.
#[derive(Debug)]
pub struct Middleware {
    table: RouteTable,
    layers: Layers,
    pages: Router,
    pub(super) authenticator: Arc<Authenticator>,
    metrics: HttpMetrics,
    traces: RequestTraces,
    pub(super) slots: Slots,
    /// The memory of large bodies; each slot is a byte.
    pub(super) memory: Slots,
    turns: Arc<Turns>,
    /// The callers of routes that need no credential.
    pub(super) visitors: Principal,
    pace: Pace,
    request_deadline: Duration,
    streaming_deadline: Duration,
    pub(super) body_limit: usize,
}

impl Middleware {
    /// `table` serves its paths, through `layers`, and `pages` all others.
    pub fn new(
        config: &HttpConfig,
        table: RouteTable,
        layers: Layers,
        pages: Router,
        authenticator: Authenticator,
        metrics: HttpMetrics,
        traces: RequestTraces,
    ) -> Self {
        Self {
            table,
            layers,
            pages,
            authenticator: Arc::new(authenticator),
            metrics,
            traces,
            slots: Slots::new(config.max_requests),
            memory: Slots::new(memory::TOTAL),
            turns: Arc::default(),
            visitors: Principal::new("visitors", None, Scopes::default()),
            pace: Pace { idle: config.body_idle_timeout.duration(), rate: config.min_body_rate.bytes() },
            request_deadline: config.request_deadline.duration(),
            streaming_deadline: config.streaming_deadline.duration(),
            body_limit: config.body_limit.as_usize(),
        }
    }

    /// Whether only a few requests of the caller for this operation may run at a time.
    fn takes_turns(&self, caller: &Principal, route: &Route, request: &Request, now: Instant) -> bool {
        let may_wait = match route.budget {
            Budget::Standard => http_body::Body::is_end_stream(request.body()),
            // A write may wait for something else than a change, such as a source of cached values.
            Budget::Waiting | Budget::Streaming => request.method().is_safe(),
        };
        match route.weight {
            Weight::Usual if route.budget != Budget::Streaming => {
                self.turns.are_needed(caller, route.id(), may_wait, now)
            }
            Weight::Probe | Weight::Usual => false,
            Weight::Heavy => true,
        }
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
        let sent_path = request.uri().path_and_query().cloned();
        uri::normalize(request.uri_mut());
        let routes = middleware.table.at(request.uri().path());
        let route = routes.and_then(|routes| routes.get(request.method())).cloned();
        let id = RequestId::of(request.headers());
        let span = middleware.traces.start(&request, route.as_deref().map(|route| route.path), id.as_str());
        middleware.metrics.in_flight.inc();
        let mut context = RequestContext {
            middleware: Arc::clone(middleware),
            started: Instant::now(),
            method: request.method().clone(),
            path: sent_path,
            id,
            span,
            accepted_codings: compression::accepted_codings(request.headers()),
            answered: false,
            admission: Admission::default(),
            awaits_body: None,
            peer: request.extensions().get().copied(),
            route,
        };
        if !http_body::Body::is_end_stream(request.body()) {
            let (body, awaits_body) = paced_body::paced(std::mem::take(request.body_mut()), middleware.pace);
            *request.body_mut() = body;
            context.awaits_body = Some(awaits_body);
        }
        let admitted = middleware.admit(&mut request, context.route.as_deref());
        let state = if let Err(problem) = admitted {
            context.admission.caller = request.extensions().get().cloned();
            State::Rejected { problem: Some(problem) }
        } else {
            context.admission = admitted.unwrap_or_default();
            let (limit, body_limit) = match context.budget() {
                Budget::Standard => (middleware.request_deadline, middleware.body_limit),
                Budget::Waiting => (middleware.request_deadline + LONGEST_WAIT, middleware.body_limit),
                Budget::Streaming => (middleware.streaming_deadline, usize::MAX),
            };
            // No handler of a safe method reads a body.
            if body_limit != DEFAULT_BODY_LIMIT && !context.method.is_safe() {
                request.extensions_mut().insert(BodyLimit(body_limit));
            }
            let inner = match (&context.route, routes) {
                (Some(route), _) => {
                    legacy_prefix::strip(request.uri_mut());
                    if route.repetition != Repetition::Replay {
                        request.extensions_mut().insert(route.repetition);
                    }
                    if route.frees_memory {
                        request.extensions_mut().insert(FreesMemory);
                    }
                    if let Some(audited) = Audited::of(route.audit, route.path, &request, &context.id) {
                        request.extensions_mut().insert(audited);
                    }
                    if route.has_parameters {
                        request.extensions_mut().insert(RoutePath(route.path));
                    }
                    match &context.admission.caller {
                        Some(caller) if middleware.takes_turns(caller, route, &request, context.started) => {
                            let (layers, handler) = (Arc::clone(&middleware.layers), Arc::clone(&route.handler));
                            let next = move || layer::call(&layers, 0, &handler, request);
                            let patience = context.started + limit / 2;
                            let (turns, caller) = (Arc::clone(&middleware.turns), Arc::clone(caller));
                            Box::pin(turns::in_turn(turns, caller, patience, context.awaits_body.clone(), next))
                        }
                        _ => layer::call(&middleware.layers, 0, &route.handler, request),
                    }
                }
                (None, Some(routes)) => {
                    let problem = Problem::new(&problem::METHOD_NOT_ALLOWED).header(header::ALLOW, routes.allow());
                    Box::pin(ready(problem.into_response()))
                }
                (None, None) => {
                    let pages = middleware.pages.clone();
                    Box::pin(pages.oneshot(request).map(|response| response.unwrap_or_else(|never| match never {})))
                }
            };
            State::Running { inner, deadline: deadline(context.started + limit) }
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
            inner: BoxFuture<'static, Response>,
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
            StateProjection::Running { inner, deadline } => {
                large_work::take();
                let poll = || catch_unwind(AssertUnwindSafe(|| inner.poll_unpin(cx)));
                let credential = context.admission.slot.as_ref().and_then(Slot::credential);
                let polled = caller::during(credential, || context.admission.durability.during(poll));
                if large_work::take() {
                    context.expect_large_work();
                }
                match polled {
                    Ok(Poll::Ready(response)) => response,
                    Ok(Poll::Pending) => {
                        ready!(Pin::new(deadline).poll(cx));
                        context.deadline_exceeded().into_response()
                    }
                    Err(_) => problems::panicked(context).into_response(),
                }
            }
        };
        Poll::Ready(Ok(context.finish(response)))
    }
}

/// What the middleware keeps of a request until it responds.
struct RequestContext {
    middleware: Arc<Middleware>,
    route: Option<Arc<Route>>,
    started: Instant,
    method: Method,
    /// As the client sent it, with a legacy prefix.
    path: Option<PathAndQuery>,
    id: RequestId,
    span: Option<RequestSpan>,
    /// The value of `Accept-Encoding`.
    accepted_codings: Option<HeaderValue>,
    answered: bool,
    admission: Admission,
    awaits_body: Option<AwaitsBody>,
    peer: Option<Peer>,
}

impl RequestContext {
    fn finish(&mut self, response: Response) -> Response {
        self.answered = true;
        let response = durability::confirm(self.admission.durability, response);
        let response = self.count_memory(response);
        self.report_denial(&response);
        let mut response = self.complete(response);
        response.headers_mut().insert(request_id::HEADER.clone(), self.id.header());
        documentation::protect_browsers(response.headers_mut());
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
        let is_slow = elapsed >= SLOW && self.budget() != Budget::Waiting;
        if is_slow
            && !status.is_server_error()
            && let Some(repeated) = episodes::next("slow request")
        {
            tracing::warn!(
                method = %self.method, path = self.path(), status = status.as_u16(),
                elapsed_ms = elapsed.as_millis(), request_id = self.id.as_str(), repeated, "slow request",
            );
        }
        let mut response = match self.accepted_codings.take() {
            None => response,
            Some(accepted) => compression::compress(response, accepted),
        };
        // A compressed body has no known length, so HEAD states none, as GET (RFC 9110, section 9.3.2).
        if self.method == Method::HEAD {
            remove_body(&mut response);
        }
        response
    }

    /// Makes further requests for this operation by the same caller take turns.
    fn expect_large_work(&self) {
        if let (Some(route), Some(caller)) = (&self.route, &self.admission.caller) {
            self.middleware.turns.expect_large(caller, route.id(), Instant::now());
        }
    }

    /// Counts the memory of a large response until it is sent. If the caller's other bodies leave none, a problem replaces
    /// the response.
    fn count_memory(&self, response: Response) -> Response {
        let bytes = memory::of_response(&response);
        if bytes == 0 || self.method == Method::HEAD {
            return response;
        }
        match self.middleware.take_memory(bytes, self.admission.caller.as_deref()) {
            Ok(memory) => memory::counted(response, memory),
            Err(problem) => problem.outcome(self.outcome_without_response()).into_response(),
        }
    }

    /// What is known about a request that ends without the response of its handler. A safe method changes nothing.
    fn outcome_without_response(&self) -> Outcome {
        let changes_state = self.route.as_ref().is_some_and(|route| route.changes_state);
        if self.method.is_safe() && !changes_state { Outcome::NotApplied } else { Outcome::Unknown }
    }

    /// The problem of a request whose time is over. A handler that still waits for the body has not begun, unless it
    /// processes the body while it arrives.
    fn deadline_exceeded(&self) -> Problem {
        let awaits_body = self.awaits_body.as_ref().is_some_and(AwaitsBody::is_waiting);
        if awaits_body && self.budget() != Budget::Streaming {
            let slow = Problem::new(&problem::REQUEST_TIMEOUT).detail("the body was not complete at the deadline");
            return slow.outcome(Outcome::NotApplied);
        }
        let problem = Problem::new(&problem::DEADLINE_EXCEEDED).outcome(self.outcome_without_response());
        problem.retry_after(Duration::from_secs(1))
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
        self.middleware.metrics.in_flight.dec();
        if !self.answered {
            self.middleware.metrics.aborted.inc();
            if let Some(span) = &self.span {
                span.fail("aborted");
            }
        }
    }
}
