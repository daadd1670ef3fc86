//! The binary: its output at the start, reasons not to start, and its shutdown.

use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{RedisServer, ServiceProcess, eventually};

const SOON: Duration = Duration::from_secs(10);

#[tokio::test]
async fn the_start_prints_the_addresses_and_the_redis_version() {
    let redis = RedisServer::plain();
    let mut service = ServiceProcess::start(&[("REDIS_URL", &redis.url()), ("LOG_FORMAT", "pretty")]);
    let address = service.address();
    assert_ne!(address.port(), 0);
    let output = service.output();
    for line in [
        format!("API         http://{address}"),
        format!("Swagger UI  http://{address}/swagger-ui/"),
        format!("Metrics     http://{address}/metrics"),
        format!("Redis       7.0.15, no modules (single; cache, state) at {}", redis.url()),
        "Credentials none: every caller may do everything".to_owned(),
        "Files       none".to_owned(),
        "Variables   REDIS_URL, LOG_FORMAT, PORT, GTX__HTTP__WORKERS".to_owned(),
    ] {
        assert!(output.lines().any(|printed| printed == line), "{line}: {output}");
    }
    eventually("every lane is connected", async || service_is(&address, 200)).await;
}

#[tokio::test]
async fn the_start_logs_where_the_settings_come_from_and_no_secrets() {
    let (cache, state) = (RedisServer::plain(), RedisServer::plain());
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("service.toml");
    std::fs::write(&file, format!("[redis.cache]\nurl = \"{}\"\n", cache.url())).expect("a file");
    let with_password = state.url().replace("redis://", "redis://default:hunter2@");
    let variables = [("GTX__REDIS__STATE__URL", &*with_password), ("REDIS_VERSION", "7"), ("LOG_LEVEL", "error")];
    let mut service = ServiceProcess::start_with(&file, &variables);
    let line: Value = serde_json::from_str(&service.line_with("listening")).expect("JSON");
    let redis = line["redis"].as_str().expect("the servers");
    for part in [&*cache.url(), &*state.url().replace("redis://", "redis://***@"), "(single; state)"] {
        assert!(redis.contains(part), "{part}: {redis}");
    }
    assert_eq!(line["config_files"], file.display().to_string());
    assert_eq!(line["variables"], "LOG_LEVEL, PORT, GTX__HTTP__WORKERS, GTX__REDIS__STATE__URL");
    assert_eq!(line["credentials"], "none: every caller may do everything");
    let output = service.output();
    assert_eq!(output.matches("REDIS_VERSION has no effect").count(), 1, "{output}");
    assert!(!output.contains("hunter2"), "{output}");
}

fn service_is(address: &std::net::SocketAddr, status: u16) -> bool {
    use std::io::Read;
    let Ok(mut stream) = TcpStream::connect(address) else { return false };
    let _ = write!(stream, "GET /health/ready HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    answer.starts_with(&format!("HTTP/1.1 {status}"))
}

#[tokio::test]
async fn the_service_does_not_start_if_redis_disables_scripts() {
    let renamed = RedisServer::with_options(&["--save", "", "--rename-command", "EVALSHA", ""]);
    let unloadable = RedisServer::with_options(&["--save", "", "--rename-command", "SCRIPT", ""]);
    let rights = ["--save", "", "--user", "default", "on", "nopass", "~*", "&*", "+@all", "-evalsha"];
    let forbidden = RedisServer::with_options(&rights);
    for (redis, sentence) in [
        (renamed, "SCRIPT or EVALSHA is disabled on the server"),
        (unloadable, "SCRIPT or EVALSHA is disabled on the server"),
        (forbidden, "the service's Redis user may not use SCRIPT or EVALSHA"),
    ] {
        let mut service = ServiceProcess::start(&[("REDIS_URL", &redis.url())]);
        let (status, _) = service.ended_within(SOON);
        assert_eq!(status.code(), Some(69), "{}", service.output());
        eventually("the reason is printed", async || service.output().contains(sentence)).await;
    }
}

#[tokio::test]
async fn the_service_starts_even_if_redis_is_unavailable() {
    let mut redis = RedisServer::start();
    redis.kill();
    let mut service = ServiceProcess::start(&[("REDIS_URL", &redis.url())]);
    let (status, answer) = service.get("/health/ready");
    assert_eq!(status, 503, "{answer}");
    assert!(answer.contains("not connected: Redis cannot be reached"), "{answer}");
    assert!(service.output().contains("not connected yet (single; cache, state)"), "{}", service.output());
    assert_eq!(service.get("/health/live").0, 200);
    redis.boot();
    let address = service.address();
    eventually("the service is ready", async || service_is(&address, 200)).await;
}

#[tokio::test]
async fn the_service_does_not_start_with_an_invalid_setting() {
    let mut service = ServiceProcess::start(&[("REDIS_URL", "http://user:hunter2@nowhere")]);
    let (status, _) = service.ended_within(SOON);
    assert_eq!(status.code(), Some(64), "{}", service.output());
    eventually("the reason is printed", async || service.output().contains("http://***@nowhere")).await;
    assert!(!service.output().contains("hunter2"), "{}", service.output());
}

/// Runs one command directly on the private server.
fn private<T: redis::FromRedisValue>(data: &Path, parts: &[&str]) -> redis::RedisResult<T> {
    #[expect(clippy::disallowed_methods, reason = "a connection of the test")]
    let client = redis::Client::open(format!("unix://{}", data.join("redis.sock").display()))?;
    let mut command = redis::Cmd::new();
    for part in parts {
        command.arg(part);
    }
    command.query(&mut client.get_connection()?)
}

#[tokio::test]
async fn a_private_redis_keeps_its_data_when_the_service_restarts() {
    let data = tempfile::tempdir().expect("a directory");
    let mut service = ServiceProcess::start_private(data.path(), &[]);
    service.address();
    assert!(service.output().contains("7.0.15, no modules (private server; cache, state)"));
    let _: String = private(data.path(), &["SET", "a", "kept"]).expect("a write");
    service.signal("TERM");
    let (status, took) = service.ended_within(SOON);
    assert_eq!(status.code(), Some(0), "{}", service.output());
    assert!(took < Duration::from_secs(3), "{took:?}");
    private::<String>(data.path(), &["PING"]).expect_err("the private server ended with the service");

    let mut service = ServiceProcess::start_private(data.path(), &[]);
    service.address();
    assert_eq!(private::<String>(data.path(), &["GET", "a"]).expect("a read"), "kept");
}

#[tokio::test]
async fn a_private_redis_ends_with_a_killed_service_and_keeps_its_data() {
    let data = tempfile::tempdir().expect("a directory");
    let mut service = ServiceProcess::start_private(data.path(), &[]);
    service.address();
    let _: String = private(data.path(), &["SET", "a", "kept"]).expect("a write");
    service.signal("KILL");
    service.ended_within(SOON);
    eventually("the private server is gone", async || private::<String>(data.path(), &["PING"]).is_err()).await;
    let mut service = ServiceProcess::start_private(data.path(), &[]);
    service.address();
    assert_eq!(private::<String>(data.path(), &["GET", "a"]).expect("a read"), "kept");
}

#[tokio::test]
async fn a_second_service_on_the_same_data_does_not_start() {
    let data = tempfile::tempdir().expect("a directory");
    let mut first = ServiceProcess::start_private(data.path(), &[]);
    first.ready();
    let mut second = ServiceProcess::start_private(data.path(), &[]);
    let (status, _) = second.ended_within(SOON);
    assert_eq!(status.code(), Some(69), "{}", second.output());
    eventually("the reason is printed", async || second.output().contains("is in use by another service")).await;
    assert_eq!(first.get("/health/ready").0, 200);
}

#[tokio::test]
async fn the_service_ends_if_its_private_redis_dies() {
    let data = tempfile::tempdir().expect("a directory");
    let mut service = ServiceProcess::start_private(data.path(), &[]);
    service.address();
    let info: String = private(data.path(), &["INFO", "server"]).expect("info");
    let pid = info.lines().find_map(|line| line.strip_prefix("process_id:")).expect("a process id").trim().to_owned();
    let killed = std::process::Command::new("kill").args(["-KILL", &pid]).status().expect("kill runs");
    assert!(killed.success());
    let (status, _) = service.ended_within(SOON);
    assert_eq!(status.code(), Some(1), "{}", service.output());
}

#[tokio::test]
async fn a_missing_redis_server_is_reported_with_a_solution() {
    let data = tempfile::tempdir().expect("a directory");
    let mut service =
        ServiceProcess::start_private(data.path(), &[("GTX__REDIS__EMBEDDED__BINARY", "/nowhere/redis-server")]);
    let (status, _) = service.ended_within(SOON);
    assert_eq!(status.code(), Some(69), "{}", service.output());
    eventually("the reason is printed", async || {
        let output = service.output();
        output.contains("/nowhere/redis-server") && output.contains("REDIS_URL")
    })
    .await;
}

/// A connection with a request that never completes.
fn stuck_client(service: &mut ServiceProcess) -> TcpStream {
    let mut stream = TcpStream::connect(service.address()).expect("a connection");
    stream.write_all(b"GET /health/live HTTP/1.1\r\nHost: te").expect("sent");
    // The connection has been accepted once a request on a later connection gets its response.
    assert_eq!(service.get("/health/live").0, 200);
    stream
}

#[tokio::test]
async fn a_shutdown_waits_until_its_deadline() {
    let redis = RedisServer::start();
    let url = redis.url();
    let limits = [
        ("REDIS_URL", url.as_str()),
        ("GTX__HTTP__SHUTDOWN_DEADLINE", "700ms"),
        ("GTX__PUBSUB__DRAIN_SPREAD", "0s"),
        ("GTX__HTTP__HEADER_TIMEOUT", "60s"),
    ];
    let mut service = ServiceProcess::start(&limits);
    let _stuck = stuck_client(&mut service);
    service.signal("TERM");
    let (status, took) = service.ended_within(SOON);
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert_eq!(status.code(), Some(1), "an incomplete drain must change the exit code: {}", service.output());
}

#[tokio::test]
async fn a_second_signal_ends_the_service_immediately() {
    let redis = RedisServer::start();
    let url = redis.url();
    let limits = [("REDIS_URL", url.as_str()), ("GTX__HTTP__HEADER_TIMEOUT", "60s")];
    let mut service = ServiceProcess::start(&limits);
    let _stuck = stuck_client(&mut service);
    service.signal("TERM");
    eventually("the drain has begun", async || service.output().contains("draining")).await;
    let sent = Instant::now();
    let (status, output) = service.terminate();
    let took = sent.elapsed();
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert_eq!(status.code(), Some(1), "{output}");
    let position = |text: &str| output.find(text).unwrap_or_else(|| panic!("no line has {text}: {output}"));
    assert!(position("second signal") < position(r#""message":"stopped","in_time":false"#), "{output}");
}
