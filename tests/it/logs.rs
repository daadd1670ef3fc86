//! Log lines of the binary, as a log collector reads them.

use std::io::{Read, Write};

use serde_json::Value;

use crate::support::{Exposition, RedisServer, ServiceProcess};

const TRACEPARENT: &str = "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n";

fn json(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

#[test]
fn a_json_line_is_flat_dated_and_names_its_request() {
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
fn a_traced_requests_lines_name_its_trace_in_either_format() {
    let redis = RedisServer::start();
    // Nobody listens there, which is no reason to lose the ids.
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
    assert!(!line.contains('\u{1b}'), "no colours for a pipe: {line}");
}

#[test]
fn the_level_decides_what_is_said() {
    let redis = RedisServer::start();
    let (status, said) = ServiceProcess::start_on(&redis, &[("LOG_LEVEL", "info")]).terminate();
    assert!(status.success() && said.contains(r#""message":"stopped""#), "{said}");
    let (status, said) = ServiceProcess::start_on(&redis, &[("LOG_LEVEL", "error")]).terminate();
    assert!(status.success() && !said.contains("stopped"), "{said}");
}

#[test]
fn a_lock_that_is_freed_by_force_is_on_record_at_every_level() {
    let redis = RedisServer::start();
    let mut service = ServiceProcess::start_on(&redis, &[("LOG_FORMAT", "json"), ("LOG_LEVEL", "error")]);
    service.ready();
    let _: String = redis.command(&["SET", "lock:settlement:42", "0123456789abcdef0123456789abcdef"]);
    let (status, answer) = service.send("DELETE", "/locks/settlement:42?force=true", "x-request-id: order-17\r\n");
    assert_eq!(status, 204, "{answer}");
    let line = json(&service.line_with("lock freed by force"));
    assert_eq!((&line["target"], &line["level"]), (&"audit".into(), &"WARN".into()), "{line}");
    assert_eq!((&line["resource"], &line["was_held"]), (&"settlement:42".into(), &true.into()), "{line}");
    assert!(line["by"].is_string() && line["fence"].is_u64(), "{line}");
    assert!(!line.to_string().contains("0123456789abcdef"), "tokens are secrets: {line}");
}

#[test]
fn a_reader_that_stalls_costs_lines_and_no_request() {
    let redis = RedisServer::start();
    let mut service = ServiceProcess::start_on(&redis, &[("LOG_LEVEL", "debug")]);
    service.stall_output();
    let mut connection = service.connect();
    let mut chunk = vec![0; 64 << 10];
    for _ in 0..200 {
        connection.write_all("GET /nowhere HTTP/1.1\r\nhost: test\r\n\r\n".repeat(50).as_bytes()).expect("sent");
        let mut answers = String::new();
        while answers.matches("HTTP/1.1 404").count() < 50 {
            let length = connection.read(&mut chunk).expect("an answer in time");
            assert!(length > 0, "the service closed the connection");
            answers.push_str(&String::from_utf8_lossy(&chunk[..length]));
        }
    }
    let (_, scraped) = service.get("/metrics");
    let lost = Exposition::parse(&scraped).count("log_lines_dropped_total", &[]);
    assert!(lost > 0, "10,000 lines do not fit into the pipe and the queue");
}
