//! Telemetry: spans sent to a collector, and metrics.

use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::Request;
use axum::http::Method;
use gridtokenx_redis::redis::Effect;
use opentelemetry_proto::tonic::trace::v1::Status;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;

use crate::support::{Collector, Exposition, RedisServer, ServiceProcess, TestApp, eventually, hex};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

fn traceparent(flags: &str) -> String {
    format!("00-{TRACE}-{CALLER}-{flags}")
}

fn exporting_to(url: &str, sample_ratio: &str) -> String {
    format!("[telemetry]\notlp_endpoint = \"{url}\"\nsample_ratio = {sample_ratio}\nexport_interval = \"20ms\"")
}

async fn traced_app(collector: &Collector, sample_ratio: &str) -> TestApp {
    TestApp::builder().config(&exporting_to(&collector.url(), sample_ratio)).spawn().await
}

async fn metrics(app: &TestApp) -> Exposition {
    let reply = app.get("/metrics").await.expect(200);
    assert_eq!(reply.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    Exposition::parse(&reply.text())
}

#[tokio::test]
async fn a_sampled_request_is_a_span_in_the_callers_trace() {
    let collector = Collector::start();
    let app = traced_app(&collector, "0.0").await;
    let parent = traceparent("01");
    let headers = [("traceparent", parent.as_str()), ("tracestate", "vendor=7"), ("x-request-id", "order-17")];
    app.send(Method::GET, "/api/health/live", &headers, "").await.expect(200);
    eventually("the span arrives", async || !collector.trace(TRACE).is_empty()).await;
    let [received] = collector.trace(TRACE).try_into().expect("one span");
    assert_eq!(received.span.name, "GET /health/live");
    assert_eq!(received.span.kind(), SpanKind::Server);
    assert_eq!(hex(&received.span.parent_span_id), CALLER);
    assert_eq!(received.span.trace_state, "vendor=7");
    assert!(received.span.end_time_unix_nano > received.span.start_time_unix_nano);
    for (key, value) in [
        ("http.request.method", "GET"),
        ("http.route", "/health/live"),
        ("url.path", "/api/health/live"),
        ("url.scheme", "http"),
        ("http.response.status_code", "200"),
        ("request_id", "order-17"),
    ] {
        assert_eq!(received.attributes.get(key).map(String::as_str), Some(value), "{key}: {received:?}");
    }
    assert_eq!(received.resource["service.name"], "gridtokenx-redis");
    assert_eq!(received.resource["service.version"], env!("CARGO_PKG_VERSION"));
}

#[tokio::test]
async fn the_callers_sampling_flag_overrides_the_ratio_unless_the_header_is_invalid() {
    let collector = Collector::start();
    let app = traced_app(&collector, "1.0").await;
    let unsampled = traceparent("00");
    app.send(Method::GET, "/health/live", &[("traceparent", unsampled.as_str())], "").await.expect(200);
    app.send(Method::GET, "/health/live", &[("traceparent", "00-nonsense")], "").await.expect(200);
    app.get("/nowhere").await.expect(404);
    let is_last = |name: &str| collector.spans().iter().any(|received| received.span.name == name);
    eventually("the last request's span arrives", async || is_last("GET")).await;
    assert!(collector.trace(TRACE).is_empty(), "an unsampled request was traced");
    let lives: Vec<_> =
        collector.spans().into_iter().filter(|received| received.span.name == "GET /health/live").collect();
    assert_eq!(lives.len(), 1, "{lives:?}");
    assert!(lives[0].span.parent_span_id.is_empty(), "a separate trace");
}

#[tokio::test]
async fn a_server_error_marks_the_span_as_failed_and_a_client_error_does_not() {
    let collector = Collector::start();
    let redis_unavailable = "[redis]\nurl = \"unix:///nowhere/redis.sock\"";
    let app = TestApp::builder()
        .config(&exporting_to(&collector.url(), "1.0"))
        .config(redis_unavailable)
        .unready()
        .spawn()
        .await;
    app.get("/health/ready").await.expect(503);
    app.get("/nowhere").await.expect(404);
    eventually("both spans arrive", async || collector.spans().len() >= 2).await;
    for received in collector.spans() {
        let failed = received.span.name == "GET /health/ready";
        assert_eq!(received.attributes["http.response.status_code"], if failed { "503" } else { "404" });
        let status = received.span.status.as_ref().map_or(StatusCode::Unset, Status::code);
        assert_eq!(status == StatusCode::Error, failed, "{received:?}");
    }
}

#[tokio::test]
async fn redis_commands_are_traced_only_within_a_request() {
    let collector = Collector::start();
    let app = traced_app(&collector, "0.0").await;
    let redis = &app.app().deps.redis.state;
    let mut ping = redis::cmd("PING");
    ping.arg("secret");
    redis.query::<String>(&ping, Effect::Read).await.expect("a reply outside of a request");
    let request = Request::builder().header("traceparent", traceparent("01")).body(Body::empty()).expect("a request");
    let span = app.app().deps.traces.requests().start(&request, Some("/probe"), "id");
    let span = span.expect("sampled");
    {
        let _entered = span.enter();
        redis.query::<String>(&ping, Effect::Read).await.expect("a reply");
        let wrong = redis.query::<i64>(&redis::cmd("NO-SUCH-COMMAND"), Effect::Read).await;
        wrong.expect_err("no such command");
    }
    span.end(axum::http::StatusCode::OK);
    eventually("all spans arrive", async || collector.trace(TRACE).len() >= 3).await;
    let spans = collector.trace(TRACE);
    let parent = spans.iter().find(|received| received.span.name == "GET /probe").expect("the request");
    let named = |name: &str| spans.iter().filter(|received| received.span.name == name).collect::<Vec<_>>();
    assert_eq!(collector.spans().len(), spans.len(), "a command outside of a request was traced");
    let [ping] = named("PING")[..] else { panic!("{spans:?}") };
    assert_eq!(ping.span.parent_span_id, parent.span.span_id);
    assert_eq!(ping.span.kind(), SpanKind::Client);
    assert_eq!(ping.attributes["db.system.name"], "redis");
    assert!(!format!("{ping:?}").contains("secret"), "arguments contain data of callers");
    let [wrong] = named("NO-SUCH-COMMAND")[..] else { panic!("{spans:?}") };
    assert_eq!(wrong.attributes["error.type"], "internal");
}

#[tokio::test]
async fn an_unreachable_collector_loses_only_spans() {
    // The port was bound and released: no process listens on it.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port");
    let app = TestApp::builder().config(&exporting_to(&format!("http://{closed}"), "1.0")).spawn().await;
    app.get("/health/live").await.expect(200);
    eventually("the loss is counted", async || {
        app.get("/health/live").await.expect(200);
        metrics(&app).await.count("otlp_spans_total", &[("outcome", "failed")]) > 0
    })
    .await;
}

#[tokio::test]
async fn a_stalled_collector_fills_the_bounded_queue_and_does_not_delay_requests() {
    let collector = Collector::stalled();
    let app = traced_app(&collector, "1.0").await;
    let mut slowest = Duration::ZERO;
    for _ in 0..6_000 {
        let started = Instant::now();
        app.get("/health/live").await.expect(200);
        slowest = slowest.max(started.elapsed());
    }
    assert!(slowest < Duration::from_secs(1), "a request took {slowest:?}");
    let metrics = metrics(&app).await;
    assert!(metrics.count("otlp_spans_total", &[("outcome", "dropped")]) > 0);
    assert!(metrics.count("otlp_spans_total", &[("outcome", "exported")]) == 0);
    let started = Instant::now();
    app.app().deps.traces.stop(Duration::from_millis(100)).await;
    assert!(started.elapsed() < Duration::from_secs(1), "the time limit is respected");
}

#[test]
fn queued_spans_are_sent_when_the_service_stops() {
    let (collector, redis) = (Collector::start(), RedisServer::start());
    let mut service = ServiceProcess::start_on(
        &redis,
        &[("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url()), ("GTX__TELEMETRY__EXPORT_INTERVAL", "1h")],
    );
    let response = service.send("GET", "/health/live", &format!("traceparent: {}\r\n", traceparent("01")));
    assert_eq!(response.0, 200, "{response:?}");
    assert!(collector.spans().is_empty(), "the interval has not passed");
    let (status, rest) = service.terminate();
    assert!(status.success(), "{rest}");
    assert_eq!(collector.trace(TRACE).len(), 1);
}

#[test]
fn the_certificate_of_a_collector_is_verified() {
    let ((collector, certificate), redis) = (Collector::start_tls(), RedisServer::start());
    let trusted = redis.directory().join("collector.pem");
    std::fs::write(&trusted, certificate).expect("a file");
    let endpoint = collector.url();
    let spans = |authorities: &str| {
        let mut service = ServiceProcess::start_on(
            &redis,
            &[("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint), ("SSL_CERT_FILE", authorities)],
        );
        service.send("GET", "/health/live", &format!("traceparent: {}\r\n", traceparent("01")));
        let (status, rest) = service.terminate();
        assert!(status.success(), "{rest}");
        (collector.trace(TRACE).len(), rest)
    };
    assert_eq!(spans(trusted.to_str().expect("a path")).0, 1);
    let (spans, log) = spans("/etc/ssl/certs/ca-certificates.crt");
    assert_eq!(spans, 1, "a certificate of unknown origin was accepted");
    assert!(log.contains("the collector does not accept spans"), "{log}");
}

#[test]
fn a_stalled_collector_delays_the_shutdown_by_its_timeout_at_most() {
    let (collector, redis) = (Collector::stalled(), RedisServer::start());
    let mut service = ServiceProcess::start_on(
        &redis,
        &[("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url()), ("GTX__TELEMETRY__SAMPLE_RATIO", "1.0")],
    );
    service.get("/health/live");
    let started = Instant::now();
    let (status, rest) = service.terminate();
    // The export times out after 5 s.
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    assert!(status.success(), "lost spans do not change the exit status: {rest}");
}

#[tokio::test]
async fn metrics_have_the_prometheus_format_and_the_names_of_the_dashboards() {
    let app = TestApp::spawn().await;
    app.get("/health/live").await.expect(200);
    app.get("/nowhere").await.expect(404);
    let metrics = metrics(&app).await;
    let live = [("method", "GET"), ("route", "/health/live")];
    assert!(metrics.value("http_requests_total", &[live[0], live[1], ("status", "200")]) >= 1.0);
    assert!(metrics.count("http_requests_total", &[("method", ""), ("route", ""), ("status", "404")]) >= 1);
    assert!(metrics.value("http_request_duration_seconds_bucket", &[live[1], ("le", "+Inf")]) >= 1.0);
    assert!(metrics.count("http_requests_in_flight", &[]) >= 1, "the scrape itself");
    assert_eq!(metrics.count("http_panics_total", &[]), 0);
    assert_eq!(metrics.count("build_info", &[("version", env!("CARGO_PKG_VERSION"))]), 1);
    for (name, kind) in [
        ("http_requests_total", "counter"),
        ("http_request_duration_seconds", "histogram"),
        ("http_requests_in_flight", "gauge"),
        ("redis_commands_total", "counter"),
        ("redis_command_duration_seconds", "histogram"),
        ("redis_connection_state", "gauge"),
        ("redis_connects_total", "counter"),
        ("process_cpu_seconds_total", "counter"),
        ("process_resident_memory_bytes", "gauge"),
    ] {
        assert_eq!(metrics.kind(name), Some(kind), "{name}");
    }
}

#[tokio::test]
async fn process_metrics_are_exported() {
    let app = TestApp::spawn().await;
    eventually("CPU time is counted", async || metrics(&app).await.value("process_cpu_seconds_total", &[]) > 0.0).await;
    let metrics = metrics(&app).await;
    let resident = metrics.value("process_resident_memory_bytes", &[]);
    assert!((1e6..1e10).contains(&resident), "{resident}");
    let descriptors = metrics.value("process_open_fds", &[]);
    assert!((3.0..metrics.value("process_max_fds", &[])).contains(&descriptors), "{descriptors}");
    let epoch = std::time::UNIX_EPOCH.elapsed().expect("a clock").as_secs_f64();
    let age = epoch - metrics.value("process_start_time_seconds", &[]);
    assert!((-2.0..600.0).contains(&age), "started {age} s ago");
}

#[tokio::test]
async fn redis_commands_and_connections_are_counted_by_role_and_outcome() {
    let app = TestApp::builder().behind_proxy().spawn().await;
    let redis = &app.app().deps.redis.state;
    let ok = [("role", "cache,state"), ("outcome", "ok")];
    let before = metrics(&app).await;
    let ping = redis::cmd("PING");
    for _ in 0..10 {
        redis.query::<String>(&ping, Effect::Read).await.expect("a reply");
    }
    let after = metrics(&app).await;
    assert!(after.count("redis_commands_total", &ok) >= before.count("redis_commands_total", &ok) + 10);
    let all = [("role", "cache,state")];
    assert!(after.count("redis_command_duration_seconds_count", &all) >= 10);
    assert_eq!(after.count("redis_connection_state", &all), 1);
    assert_eq!(after.count("redis_connects_total", &all), 1);

    app.proxy().cut();
    eventually("the loss is counted", async || {
        let _ = redis.query::<String>(&ping, Effect::Read).await;
        let metrics = metrics(&app).await;
        metrics.count("redis_connection_state", &all) == 0
            && metrics.count("redis_commands_total", &[("role", "cache,state"), ("outcome", "unavailable")]) > 0
    })
    .await;
    app.proxy().heal();
    eventually("the new connection is counted", async || {
        let metrics = metrics(&app).await;
        metrics.count("redis_connection_state", &all) == 1 && metrics.count("redis_connects_total", &all) >= 2
    })
    .await;
}

#[tokio::test]
async fn a_connection_that_carried_a_large_value_is_replaced_and_no_request_notices() {
    let app = TestApp::spawn().await;
    let redis = &app.app().deps.redis.state;
    let all = [("role", "cache,state")];
    let write = |bytes: usize| redis::cmd("SET").arg("value").arg("x".repeat(bytes)).clone();
    redis.query::<()>(&write(100_000), Effect::Write).await.expect("written");
    assert_eq!(metrics(&app).await.count("redis_connects_total", &all), 1);
    redis.query::<()>(&write(300_000), Effect::Write).await.expect("written");
    let length = redis::cmd("STRLEN").arg("value").clone();
    eventually("another connection serves", async || {
        assert_eq!(redis.query::<usize>(&length, Effect::Read).await.expect("a reply"), 300_000);
        metrics(&app).await.count("redis_connects_total", &all) == 2
    })
    .await;
    assert_eq!(metrics(&app).await.count("redis_connection_state", &all), 1);
}
