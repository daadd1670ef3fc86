//! Every operation under generated requests, valid and broken: the answers must be those that the document promises.

use crate::support::{TestApp, run_python_tool, said};

/// Generated requests per operation and phase: enough to meet each kind of broken input, few enough for every commit.
const EXAMPLES: &str = "20";

const API_KEY: &str = "X-API-Key: ak_00112233445566778899aabbccddeeff";

#[tokio::test]
async fn every_operation_answers_generated_requests_as_its_document_says() {
    let mut app = TestApp::builder().system_clock().spawn().await;
    let document = format!("http://{}/openapi.json", app.serve());
    let arguments = [
        "run",
        &document,
        "--checks=all",
        // The test's service asks for no credential, so a request without one is rightly answered.
        "--exclude-checks=ignored_auth",
        "--phases=examples,coverage,fuzzing,stateful",
        "--mode=all",
        "--max-examples",
        EXAMPLES,
        // A failure comes back when the test is run again.
        "--generation-deterministic",
        "--continue-on-failure",
        "--request-timeout=10",
        "--header",
        API_KEY,
        "--no-color",
    ];
    let output = run_python_tool("schemathesis", &arguments).await;
    assert!(output.status.success(), "{}", said(&output));
}
