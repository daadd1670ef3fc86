//! Swagger UI in a real browser: the first steps of a new user must work.

use crate::support::{ADMIN_KEY, TestApp, build_directory, in_repository, output_text, run_python_tool};

/// The operations that run with the examples of the document, in this order: the second reads the value that the first
/// stored, and both need the key.
const OPERATIONS: &[&str] = &["put_cache_value", "get_cache_value"];

#[tokio::test]
async fn a_new_user_authorises_and_executes_operations_in_the_browser() {
    let mut app = TestApp::builder().admin_key().spawn().await;
    let base = format!("http://{}", app.serve());
    let script = in_repository("tests/browser/swagger_ui.py");
    let screenshot = build_directory().join("swagger_ui_failure.png");
    let (script, screenshot) = (script.display().to_string(), screenshot.display().to_string());
    let mut arguments = vec![script.as_str(), &base, "--api-key", ADMIN_KEY, "--screenshot", &screenshot];
    arguments.extend(OPERATIONS);
    let output = run_python_tool("python", &arguments).await;
    assert!(output.status.success(), "{}", output_text(&output));
    let text = String::from_utf8_lossy(&output.stdout);
    for operation in OPERATIONS {
        assert!(text.lines().any(|line| line.starts_with(&format!("{operation}: 2"))), "{operation}: {text}");
    }
}
