//! Log lines of the binary, as a log collector receives them.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{Exposition, RedisServer, ServiceProcess};

const TRACEPARENT: &str = "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n";

fn json(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

#[test]
fn a_json_log_line_is_flat_and_has_a_timestamp_and_a_request_id() {
    let redis = RedisServer::start();
    let mut service = ServiceProcess::start_on(&redis, &[("LOG_FORMAT", "json"), ("LOG_LEVEL", "debug")]);
    service.send("GET", "/nowhere", "x-request-id: order-17\r\n");
    let line = json(&service.line_with("order-17"));
    assert_eq!(line["message"], "request rejected", "{line}");
    assert_eq!(line["level"], "DEBUG", "{line}");
    assert_eq!(line["request_id"], "order-17", "{line}");
    assert_eq!(line["code"], "not-found", "{line}");
    assert!(line["target"].as_str().is_some_and(|target| target.starts_with("gridtokenx_redis")), "{line}");
    let timestamp = line["timestamp"].as_str().expect("a timestamp");
    assert!(timestamp.parse::<jiff::Timestamp>().is_ok() && timestamp.ends_with('Z'), "RFC 3339: {timestamp}");
    assert!(line.get("trace_id").is_none(), "{line}");
}

#[test]
fn log_lines_of_a_traced_request_have_its_trace_id_in_both_formats() {
    let redis = RedisServer::start();
    // The ids are logged even if the collector is unreachable.
    let collector = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9");
    let debug = ("LOG_LEVEL", "gridtokenx_redis::http=debug");
    let mut service = ServiceProcess::start_on(&redis, &[collector, debug]);
    service.send("GET", "/nowhere", TRACEPARENT);
    let line = json(&service.line_with("request rejected"));
    assert_eq!(line["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736", "{line}");
    let span = line["span_id"].as_str().expect("a span id");
    assert!(span.len() == 16 && span != "00f067aa0ba902b7", "the service's own span: {line}");
    assert!(line["request_id"].is_string(), "{line}");

    let mut service = ServiceProcess::start_on(&redis, &[collector, debug, ("LOG_FORMAT", "pretty")]);
    service.send("GET", "/nowhere", TRACEPARENT);
    let line = service.line_with("request rejected");
    assert!(line.contains("trace_id=4bf92f3577b34da6a3ce929d0e0e4736 span_id="), "{line}");
    assert!(!line.contains('\u{1b}'), "output to a pipe has no colours: {line}");
}

#[test]
fn the_level_filters_log_lines() {
    let redis = RedisServer::start();
    let (status, output) = ServiceProcess::start_on(&redis, &[("LOG_LEVEL", "info")]).terminate();
    assert!(status.success() && output.contains(r#""message":"stopped""#), "{output}");
    let (status, output) = ServiceProcess::start_on(&redis, &[("LOG_LEVEL", "error")]).terminate();
    assert!(status.success() && !output.contains("stopped"), "{output}");
}

#[test]
fn a_forced_release_of_a_lock_is_logged_at_every_level() {
    let redis = RedisServer::start();
    let mut service = ServiceProcess::start_on(&redis, &[("LOG_FORMAT", "json"), ("LOG_LEVEL", "error")]);
    service.ready();
    let _: String = redis.command(&["SET", "lock:settlement:42", "0123456789abcdef0123456789abcdef"]);
    let (status, body) = service.send("DELETE", "/locks/settlement:42?force=true", "x-request-id: order-17\r\n");
    assert_eq!(status, 204, "{body}");
    let line = json(&service.line_with("lock freed by force"));
    assert_eq!((&line["target"], &line["level"]), (&"audit".into(), &"WARN".into()), "{line}");
    assert_eq!((&line["resource"], &line["was_held"]), (&"settlement:42".into(), &true.into()), "{line}");
    assert!(line["by"].is_string() && line["fence"].is_u64(), "{line}");
    assert!(!line.to_string().contains("0123456789abcdef"), "tokens are secrets: {line}");
}

#[test]
fn a_stalled_log_reader_drops_lines_and_does_not_block_requests() {
    let redis = RedisServer::start();
    let mut service = ServiceProcess::start_on(&redis, &[("LOG_LEVEL", "debug")]);
    service.stall_output();
    service.repeat("GET /nowhere HTTP/1.1\r\nhost: test\r\n\r\n", 10_000);
    let (_, scraped) = service.get("/metrics");
    let lost = Exposition::parse(&scraped).count("log_lines_dropped_total", &[]);
    assert!(lost > 0, "10,000 lines do not fit into the pipe and the queue");
}

/// Checks that every line is a JSON object, and returns the lines.
fn json_lines(output: &str) -> Vec<Value> {
    let lines: Vec<Value> = output.lines().map(json).collect();
    assert!(lines.iter().all(|line| line["level"].is_string() && line["message"].is_string()), "{output}");
    lines
}

#[test]
fn json_logs_are_json_from_the_first_line_to_the_last() {
    let data = tempfile::tempdir().expect("a directory");
    let (status, output) = {
        let mut service = ServiceProcess::start_private(data.path(), &[("LOG_FORMAT", "json")]);
        service.ready();
        service.terminate()
    };
    assert!(status.success(), "{output}");
    let lines = json_lines(&output);
    let start = lines.iter().find(|line| line["message"] == "listening").expect("the addresses");
    assert!(start["swagger_ui"].as_str().is_some_and(|address| address.ends_with("/swagger-ui/")), "{start}");
    for (variables, code, reason) in [
        (vec![("PORT", "web")], 64, "PORT"),
        (vec![("LOG_LEVEL", "warning")], 64, "LOG_LEVEL"),
        (vec![("GTX__CHACHE__TTL", "1s")], 64, "chache"),
        (vec![("GTX__HTTP__ADDRESS", "0.0.0.0")], 64, "auth.mode"),
        (vec![("GTX__REDIS__EMBEDDED__BINARY", "/nowhere/redis-server")], 69, "/nowhere/redis-server"),
    ] {
        let data = tempfile::tempdir().expect("a directory");
        let (status, output) = ServiceProcess::start_private(data.path(), &variables).ended();
        assert_eq!(status.code(), Some(code), "{output}");
        let lines = json_lines(&output);
        let last = lines.last().expect("a line");
        assert!(
            last["level"] == "ERROR" && last["reason"].as_str().is_some_and(|text| text.contains(reason)),
            "{last}"
        );
    }
}

#[test]
fn a_failure_of_many_requests_has_one_line() {
    let mut redis = RedisServer::start();
    let mut service = ServiceProcess::start_on(&redis, &[]);
    service.ready();
    redis.kill();
    let paths = [
        "/cache/a",
        "/json/a",
        "/timeseries/a",
        "/locks/a",
        "/locks",
        "/prom/api/v1/query?query=a",
        "/prom/api/v1/labels",
    ];
    for path in paths.iter().cycle().take(300) {
        assert_eq!(service.get(path).0, 503, "{path}");
    }
    let (_, output) = service.terminate();
    let lines = json_lines(&output);
    let failures = lines.iter().filter(|line| line["code"] == "redis-unavailable").count();
    assert!((1..=3).contains(&failures), "one line, and one every ten seconds: {output}");
}

/// The lines about one task whose message is this.
fn about_task(output: &str, task: &str, message: &str) -> Vec<Value> {
    let lines = json_lines(output).into_iter();
    lines.filter(|line| line["task"] == task && line["message"] == message).collect()
}

#[test]
fn a_task_that_fails_repeatedly_is_logged_once_and_so_is_its_recovery() {
    let redis = RedisServer::start();
    let _: String = redis.command(&["SET", "market:symbols", "not a set"]);
    let mut service = ServiceProcess::start_on(&redis, &[("LOG_FORMAT", "json")]);
    let failures = |service: &mut ServiceProcess| {
        let metrics = Exposition::parse(&service.get("/metrics").1);
        metrics.count("task_failures_total", &[("task", "trades.fold")])
    };
    while failures(&mut service) < 3 {
        std::thread::yield_now();
    }
    let _: i64 = redis.command(&["DEL", "market:symbols"]);
    // The first good round comes too soon after the last failure; the next one is ten seconds later.
    let deadline = Instant::now() + Duration::from_secs(60);
    while about_task(&service.output(), "trades.fold", "a background task works again").is_empty() {
        assert!(Instant::now() < deadline, "{}", service.output());
        std::thread::yield_now();
    }
    let (_, output) = service.terminate();
    let begun = about_task(&output, "trades.fold", "a background task fails");
    let ended = about_task(&output, "trades.fold", "a background task works again");
    assert_eq!((begun.len(), ended.len()), (1, 1), "{output}");
    assert!(begun[0]["error"].is_string() && begun[0]["level"] == "WARN", "{}", begun[0]);
    assert!(ended[0]["failures"].as_u64() >= Some(3), "{}", ended[0]);
}
