//! The span of a request, and the spans of the calls that it makes.

use axum::extract::Request;
use axum::http::{Method, StatusCode};
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{Span as _, SpanId, SpanKind, Status, TraceContextExt, TraceId, Tracer};
use opentelemetry::{Context, ContextGuard, KeyValue};
use opentelemetry_http::HeaderExtractor;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{SdkTracer, Span};

use crate::random;

/// Decides for each request whether it is traced.
#[derive(Clone, Debug, Default)]
pub struct RequestTraces(Option<Sampling>);

#[derive(Clone, Debug)]
struct Sampling {
    tracer: SdkTracer,
    /// The share of requests without a `traceparent` that are traced.
    ratio: f64,
}

/// Is in the context of a traced request, so that the code it calls can start child spans.
struct Recorder(SdkTracer);

impl RequestTraces {
    pub(super) fn new(tracer: SdkTracer, ratio: f64) -> Self {
        Self(Some(Sampling { tracer, ratio }))
    }

    /// Starts a span if the request is sampled: the flag of its `traceparent` decides, or else `telemetry.sample_ratio`.
    pub fn start(&self, request: &Request, route: Option<&'static str>, id: &str) -> Option<RequestSpan> {
        let Sampling { tracer, ratio } = self.0.as_ref()?;
        let propagator = TraceContextPropagator::new();
        let above = propagator.extract_with_context(&Context::new(), &HeaderExtractor(request.headers()));
        let caller = above.span().span_context().clone();
        let sampled = if caller.is_valid() { caller.is_sampled() } else { random::fraction() < *ratio };
        sampled.then(|| RequestSpan::start(tracer, &above, request, route, id))
    }
}

/// A traced request.
pub struct RequestSpan {
    context: Context,
}

impl RequestSpan {
    fn start(tracer: &SdkTracer, above: &Context, request: &Request, route: Option<&'static str>, id: &str) -> Self {
        let method = method_name(request.method());
        let mut attributes = vec![
            KeyValue::new("http.request.method", method),
            KeyValue::new("url.scheme", "http"),
            KeyValue::new("url.path", request.uri().path().to_owned()),
            KeyValue::new("request_id", id.to_owned()),
        ];
        attributes.extend(route.map(|route| KeyValue::new("http.route", route)));
        let span = tracer
            .span_builder(route.map_or_else(|| method.to_owned(), |route| format!("{method} {route}")))
            .with_kind(SpanKind::Server)
            .with_attributes(attributes)
            .start_with_context(tracer, above);
        Self { context: above.with_span(span).with_value(Recorder(tracer.clone())) }
    }

    /// Makes this the current request of the thread until the guard is dropped.
    pub fn enter(&self) -> ContextGuard {
        self.context.clone().attach()
    }

    /// Records why the request failed, such as the slug of a problem.
    pub fn fail(&self, kind: &'static str) {
        let span = self.context.span();
        span.set_attribute(KeyValue::new("error.type", kind));
        span.set_status(Status::error(""));
    }

    /// Ends the span with the status of the answer.
    pub fn end(&self, status: StatusCode) {
        let span = self.context.span();
        span.set_attribute(KeyValue::new("http.response.status_code", i64::from(status.as_u16())));
        // A client's mistake is not a failure of the service.
        if status.is_server_error() {
            span.set_status(Status::error(""));
        }
        span.end();
    }
}

/// A call to another server within a traced request. The span ends when this is dropped.
///
/// Boxed, since few requests are traced and every exchange with Redis has room for one.
#[derive(Debug)]
pub struct ClientSpan(Box<Span>);

impl ClientSpan {
    pub fn fail(&mut self, kind: &'static str) {
        self.0.set_attribute(KeyValue::new("error.type", kind));
        self.0.set_status(Status::error(""));
    }
}

/// Starts a child of the thread's current traced request; without one it does not call `describe`.
pub fn client_span(describe: impl FnOnce() -> (String, Vec<KeyValue>)) -> Option<ClientSpan> {
    Context::map_current(|context| {
        let Recorder(tracer) = context.get()?;
        let (name, attributes) = describe();
        let span = tracer.span_builder(name).with_kind(SpanKind::Client).with_attributes(attributes);
        Some(ClientSpan(Box::new(span.start_with_context(tracer, context))))
    })
}

/// The ids that a log line has in common with its trace.
#[derive(Clone, Copy, Debug)]
pub struct TraceIds {
    pub trace: TraceId,
    pub span: SpanId,
}

/// The ids of the thread's current traced request.
pub fn current_ids() -> Option<TraceIds> {
    Context::map_current(|context| {
        let span = context.span();
        let ids = span.span_context();
        ids.is_valid().then(|| TraceIds { trace: ids.trace_id(), span: ids.span_id() })
    })
}

/// The name of a standard method. Others are not named, since clients could invent any number of them.
fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "_OTHER",
    }
}
