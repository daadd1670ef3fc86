//! Every operation under generated requests, valid and broken: the answers must be those that the document promises.

use crate::support::{ADMIN_KEY, TestApp, in_repository, run_python_tool, said};

/// Generated requests per operation and phase: enough to meet each kind of broken input, few enough for every commit.
const EXAMPLES: &str = "20";

#[tokio::test]
async fn every_operation_answers_generated_requests_as_its_document_says() {
    // Requests are made one by one: who waited for a lock would wait for nothing.
    let brief = "[locks]\nmax_wait = \"100ms\"\nnamed = []";
    let mut app = TestApp::builder().config(brief).admin_key().system_clock().spawn().await;
    let document = format!("http://{}/openapi.json", app.serve());
    assert!(include_str!("../browser/schemathesis.toml").contains(ADMIN_KEY), "the key that is let in is the one sent");
    let rules = in_repository("tests/browser/schemathesis.toml").display().to_string();
    let arguments = [
        "--config-file",
        &rules,
        "run",
        &document,
        "--checks=all",
        "--phases=examples,coverage,fuzzing,stateful",
        "--mode=all",
        "--max-examples",
        EXAMPLES,
        // A failure comes back when the test is run again.
        "--generation-deterministic",
        "--continue-on-failure",
        "--request-timeout=10",
        "--no-color",
    ];
    let output = run_python_tool("schemathesis", &arguments).await;
    assert!(output.status.success(), "{}", said(&output));
}
