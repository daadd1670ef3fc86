//! Swagger UI in a real browser: every operation works for a new user who tries it with the examples of the page.
//!
//! `GTX_TEST_RECORD=1` records the responses in `openapi/examples.json`, from which the API document takes the examples
//! of its responses; `make openapi` then writes the document.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::holdings::keys_without_a_holding;
use crate::support::{ADMIN_KEY, TestApp, build_directory, in_repository, output_text, run_python_tool};

/// The operations that do not succeed in the page, with the media type that is chosen, their status, and why.
const REFUSED: &[(&str, &str, u16, &str)] = &[
    ("hold_lock", "", 426, "Try it out does not open WebSockets"),
    ("open_channel_socket", "", 426, "Try it out does not open WebSockets"),
    ("open_centrifugo_socket", "", 426, "Try it out does not open WebSockets"),
    ("get_channel_presence", "", 409, "no default namespace shows presence"),
    ("count_channel_presence", "", 409, "no default namespace shows presence"),
    ("acknowledge_alert", "", 404, "no alert fires"),
    ("list_audit_entries", "", 409, "the audit log is off"),
    ("verify_audit_log", "", 409, "the audit log is off"),
    ("start_backup", "", 409, "backups are off"),
    ("list_backups", "", 409, "backups are off"),
    ("get_backup", "", 409, "backups are off"),
    ("delete_backup", "", 409, "backups are off"),
    ("verify_backup", "", 409, "backups are off"),
    ("download_backup", "", 409, "backups are off"),
    ("start_drill", "", 409, "backups are off"),
    ("start_restore", "", 409, "backups are off"),
    ("get_snapshot", "", 409, "backups are off"),
    ("erase_subject", "", 409, "the audit log, whose key signs receipts, is off"),
    ("get_erasure", "", 404, "nothing was erased"),
    ("replace_book", "", 404, "The book of the other examples has orders"),
    ("replace_book", "application/x-ndjson", 404, "An earlier example has deleted the book"),
    ("report_trades", "application/x-ndjson", 422, "Swagger UI sends lines of JSON as one JSON string"),
    ("get_archive_status", "", 404, "The service has no directory for files"),
    ("list_archive_files", "", 404, "The service has no directory for files"),
    ("list_archive_gaps", "", 404, "The service has no directory for files"),
    ("verify_archive", "", 404, "The service has no directory for files"),
    ("run_archive", "", 404, "The service has no directory for files"),
    ("delete_stream_group", "", 404, "The group of the other examples is in use"),
    ("delete_warming_task", "", 404, "The task of the other examples is in use"),
    ("publish_messages", "application/x-ndjson", 422, "Swagger UI sends lines of JSON as one JSON string"),
    ("post_many_samples", "application/x-ndjson", 422, "Swagger UI sends lines of JSON as one JSON string"),
];

/// The operations that the page cannot execute, and why.
const SKIPPED: &[(&str, &str)] = &[
    ("stream_alerts", "Try it out waits for the end of a stream that has none"),
    ("stream_live_numbers", "Try it out waits for the end of a stream that has none"),
    ("stream_channel_events", "Try it out waits for the end of a stream that has none"),
];

/// The fields that a user copies from the response of an earlier operation.
const COPIED: &[(&str, &str, &str, &str)] = &[
    ("extend_lock", "body/token", "acquire_lock", "body/token"),
    ("release_lock", "Lock-Token", "acquire_lock", "body/token"),
    ("settle_reservation", "id", "reserve_limit", "body/reservation"),
    ("get_warming_run", "id", "run_warming_task", "body/run/id"),
    ("stop_warming_run", "id", "run_warming_task", "body/run/id"),
];

/// The operations whose responses differ from their examples, and why.
const DIFFERENT: &[(&str, &str)] = &[
    ("get_readiness", "it names the background tasks that have run so far"),
    ("list_alerts", "no alert fires"),
    ("list_alert_history", "no alert has fired"),
    ("list_latency_events", "Redis has not been slow"),
    ("list_slow_commands", "no command of Redis was slow"),
    ("list_keys", "the service has no keys"),
    ("get_persistence", "the server may not have been checked yet"),
    ("get_inventory", "the inventory may still run"),
    ("get_minute", "the minute that runs has no trade if the only one came before it began"),
];

/// Fills need the token of a lock, which no example has. The default configuration assigns no limiter to Envoy's descriptors, and has no secret for channel tokens.
const CONFIG: &str = "orderbook.require_fence = false\n\
    pubsub.token_secret = \"0123456789abcdef0123456789abcdef\"\n\
    ratelimit.envoy = [{ domain = \"gateway\", entries = [{ key = \"remote_address\" }], limiter = \"orders\" }]";

#[derive(Deserialize)]
struct Response {
    operation: String,
    /// A media type of the body or of the response; empty for the first ones.
    chosen: String,
    status: u16,
    media_type: String,
    body: String,
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "a setting of the tests")]
async fn a_new_user_executes_every_operation_in_the_browser() {
    let mut app = TestApp::builder().config(CONFIG).admin_key().system_clock().spawn().await;
    let responses = try_all(&format!("http://{}", app.serve())).await;
    let operations: Vec<&str> = responses.iter().map(|response| response.operation.as_str()).collect();
    let all = app.get("/openapi.json").await.json();
    for id in operation_ids(&all) {
        let is_known = operations.contains(&id.as_str()) || SKIPPED.iter().any(|(skipped, _)| *skipped == id);
        assert!(is_known, "{id} is not in the page");
    }
    let file = in_repository("openapi/examples.json");
    let recorded = std::fs::read_to_string(&file).expect("the recorded examples");
    let mut recorded: Map<String, Value> = serde_json::from_str(&recorded).expect("valid examples");
    let is_recording = std::env::var("GTX_TEST_RECORD").is_ok();
    let mut complaints = Vec::new();
    for Response { operation, chosen, status, media_type, body } in &responses {
        let refused = REFUSED.iter().find(|(id, media_type, ..)| id == operation && media_type == chosen);
        let refused = refused.map(|(_, _, status, _)| *status);
        if !(refused == Some(*status) || refused.is_none() && (200..300).contains(status)) {
            complaints.push(format!("{operation} {chosen}: {status} {body}"));
        }
        let Some(example) = example(media_type, body).filter(|_| refused.is_none()) else { continue };
        let place = &mut recorded.entry(operation).or_insert_with(|| json!({}))[status.to_string()];
        let is_different = DIFFERENT.iter().any(|(id, _)| id == operation);
        if is_recording {
            place[media_type] = example;
        } else if !is_different && shape(&place[media_type]) != shape(&example) {
            complaints.push(format!("{operation}: the example is {}, the response {example}", place[media_type]));
        }
    }
    let unknown = keys_without_a_holding(&app.redis(), "");
    complaints.extend(unknown.iter().map(|key| format!("{key} belongs to no holding: add it to src/holdings.rs")));
    assert!(complaints.is_empty(), "\n  {}\n", complaints.join("\n  "));
    if is_recording {
        let lines = recorded.iter().map(|(id, response)| format!("{}: {response}", json!(id)));
        let text = format!("{{\n{}\n}}\n", lines.collect::<Vec<_>>().join(",\n"));
        std::fs::write(file, text).expect("the recorded examples");
    }
}

/// The responses of all operations, from the top of the page to its bottom.
async fn try_all(base: &str) -> Vec<Response> {
    let mut values: BTreeMap<&str, Value> = BTreeMap::new();
    for (operation, field, source, source_field) in COPIED {
        values.entry(operation).or_insert_with(|| json!({}))[field] = json!([source, source_field]);
    }
    let (script, values) =
        (in_repository("tests/browser/swagger_ui.py").display().to_string(), json!(values).to_string());
    let screenshot = build_directory().join("swagger_ui_failure.png").display().to_string();
    let skipped = SKIPPED.iter().map(|(operation, _)| *operation).collect::<Vec<_>>().join(",");
    let arguments =
        [&script, base, "--api-key", ADMIN_KEY, "--screenshot", &screenshot, "--values", &values, "--skip", &skipped];
    let output = run_python_tool("python", &arguments).await;
    assert!(output.status.success(), "{}", output_text(&output));
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().map(|line| serde_json::from_str(line).expect("a response")).collect()
}

fn operation_ids(document: &Value) -> Vec<String> {
    let items = document["paths"].as_object().expect("paths").values().filter_map(Value::as_object);
    let operations = items.flat_map(|item| item.values());
    operations.filter_map(|operation| operation["operationId"].as_str().map(str::to_owned)).collect()
}

/// A body as an example: JSON with short lists, or the first lines of a text. None for a body that the page cannot show.
fn example(media_type: &str, body: &str) -> Option<Value> {
    match media_type {
        _ if media_type == "application/json" || media_type.ends_with("+json") => {
            serde_json::from_str(body).ok().map(shortened)
        }
        _ if body.is_empty() || media_type == "application/octet-stream" => None,
        _ => Some(json!(body.split_inclusive('\n').take(2).collect::<String>())),
    }
}

/// A list shows the first of its objects, a map of many objects two of them.
fn shortened(value: Value) -> Value {
    match value {
        Value::Array(mut items) => {
            if items.iter().any(Value::is_object) {
                items.truncate(1);
            }
            items.into_iter().map(shortened).collect()
        }
        Value::Object(fields) => {
            let is_map = fields.len() > 8 && fields.values().all(Value::is_object);
            let shown = if is_map { 2 } else { fields.len() };
            fields.into_iter().take(shown).map(|(name, field)| (name, shortened(field))).collect()
        }
        other => other,
    }
}

/// What two responses to the same request have in common: the names and types of their fields.
fn shape(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().take(1).map(shape).collect(),
        Value::Object(fields) => fields.iter().map(|(name, field)| (name.clone(), shape(field))).collect(),
        Value::Null => json!("null"),
        Value::Bool(_) => json!("boolean"),
        Value::Number(_) => json!("number"),
        Value::String(_) => json!("text"),
    }
}
