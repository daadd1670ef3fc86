//! The example agent, and the command `show-chunks`.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use super::{WEB, flush, send};
use crate::support::{RedisServer, START, ServiceProcess, TestApp};

const SERVICE: &str = env!("CARGO_BIN_EXE_gridtokenx-redis");
const TOOLS: &str = env!("CARGO_BIN_EXE_gridtokenx-tools");

fn command(binary: &str, arguments: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(binary)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    child.stdin.take().expect("its input").write_all(input).expect("written");
    child.wait_with_output().expect("it ends")
}

#[test]
fn the_agent_sends_the_metrics_of_this_machine() {
    let redis = RedisServer::start();
    let mut service = ServiceProcess::start_on(&redis, &[]);
    let url = format!("http://{}", service.address());
    let agent = |host: &str| {
        command(TOOLS, &["agent", "--url", &url, "--host", host, "--interval", "200ms", "--count", "2"], b"")
    };
    let output = agent("here");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let (status, body) = service.get("/hosts/here/metrics/recent");
    let recent: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!((status, &recent["count"]), (200, &Value::from(2)), "{body}");
    let sample = &recent["metrics"][0];
    let cores = std::thread::available_parallelism().expect("processors").get();
    assert!(sample["cpu"]["cores"].as_u64().expect("a number") >= cores as u64, "{sample}");
    assert!(sample["memory"]["used"].as_u64().expect("bytes") > 0, "{sample}");

    let refused = agent("no host");
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("422"), "{refused:?}");
}

#[tokio::test]
async fn show_chunks_prints_samples() {
    let app = TestApp::spawn().await;
    send(&app, WEB, [0, 1_000]).await;
    flush(&app).await;
    send(&app, WEB, [2_000]).await;
    flush(&app).await;
    let chunks: Vec<Vec<u8>> = app.redis().command(&["ZRANGE", "metrics:history:web-1", "0", "-1"]);
    // The format of redis-cli.
    let mut text = chunks.join(&b'\n');
    text.push(b'\n');
    let output = command(SERVICE, &["show-chunks"], &text);
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    let times: Vec<i64> = lines
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON")["timestamp"].as_i64().expect("a time") - START)
        .collect();
    assert_eq!(times, [0, 1_000, 2_000]);
    let broken = command(SERVICE, &["show-chunks"], b"hello");
    assert!(!broken.status.success());
    assert!(
        String::from_utf8_lossy(&broken.stderr).contains("at byte 0: the chunk has the unknown version 104"),
        "{broken:?}"
    );
}
