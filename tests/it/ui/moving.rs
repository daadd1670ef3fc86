//! The page in a real browser while a client keeps writing.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::{RedisServer, ServiceProcess, build_directory, in_repository, output_text, run_python_tool};

#[tokio::test]
async fn the_views_follow_what_a_client_writes() {
    let redis = RedisServer::start();
    let mut service = ServiceProcess::start_on(&redis, &[]);
    service.ready();
    let base = format!("http://{}", service.address());
    let mut demo = Command::new(env!("CARGO_BIN_EXE_gridtokenx-tools"))
        .args(["demo", "--url", &base, "--meters", "2", "--days", "40", "--live"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the demo runs");
    let mut printed = BufReader::new(demo.stdout.take().expect("standard output")).lines().map_while(Result::ok);
    assert!(printed.any(|line| line.starts_with("writing every")), "the demo writes");

    let script = in_repository("tests/browser/page_live.py").display().to_string();
    let failure = build_directory().join("page_live_failure.png").display().to_string();
    let output = run_python_tool("python", &[&script, &base, "--failure", &failure]).await;
    let is_writing = demo.try_wait().expect("its state").is_none();
    demo.kill().expect("it ends");
    demo.wait().expect("it has ended");
    assert!(output.status.success() && is_writing, "{}", output_text(&output));
    let done: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert!(done["comparisons"].as_u64() >= Some(30), "{done}");
}
