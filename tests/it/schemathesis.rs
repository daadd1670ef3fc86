//! Every operation with generated valid and invalid requests: responses must match the OpenAPI document.

use crate::support::{ADMIN_KEY, TestApp, in_repository, output_text, run_python_tool};

/// Generated requests per operation and phase: enough to cover each kind of invalid input on every commit.
const EXAMPLES: &str = "20";

#[tokio::test]
async fn responses_to_generated_requests_match_the_openapi_document() {
    // Requests are sent one at a time, so a lock is never released during a wait.
    let short_wait = "[locks]\nmax_wait = \"100ms\"\nnamed = []";
    let mut app = TestApp::builder().config(short_wait).admin_key().system_clock().spawn().await;
    let document = format!("http://{}/openapi.json", app.serve());
    assert!(
        include_str!("../browser/schemathesis.toml").contains(ADMIN_KEY),
        "schemathesis.toml must send the admin key"
    );
    let rules = in_repository("tests/browser/schemathesis.toml").display().to_string();
    let arguments = [
        "--config-file",
        &rules,
        "run",
        &document,
        // These streams of events have no end.
        "--exclude-operation-id=stream_channel_events",
        "--exclude-operation-id=stream_alerts",
        "--exclude-operation-id=stream_live_numbers",
        "--phases=examples,coverage,fuzzing,stateful",
        "--mode=all",
        "--max-examples",
        EXAMPLES,
        // A failure is reproducible.
        "--generation-deterministic",
        "--continue-on-failure",
        "--request-timeout=10",
        "--no-color",
    ];
    let output = run_python_tool("schemathesis", &arguments).await;
    assert!(output.status.success(), "{}", output_text(&output));
}
