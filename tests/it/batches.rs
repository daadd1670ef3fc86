//! Batches of all capabilities: a response with success never hides that nothing happened.

use axum::http::Method;
use serde_json::{Value, json};

use crate::support::TestApp;

const JSON: (&str, &str) = ("content-type", "application/json");

#[tokio::test]
async fn a_batch_whose_changes_all_fail_is_a_problem() {
    let app = TestApp::spawn().await;
    app.put("/orderbooks/GRID/settings", json!({ "mode": "store", "kind": "orders" })).await.expect(201);
    app.send(Method::PUT, "/cache/a", &[("fencing-token", "9"), JSON], "1").await.expect(201);
    app.send(Method::PUT, "/json/a", &[("fencing-token", "9"), JSON], "{}").await.expect(201);
    let good = json!({ "channel": "market:events", "message_type": "PriceUpdate",
                       "data": { "symbol": "ENERGY", "price": "3.42", "change_percent": "0.4" } });
    let unknown = json!({ "channel": "nothing", "message_type": "X", "data": 1 });
    let bad = json!({ "channel": "market:events", "message_type": "X", "data": 1 });
    let set = |key: &str| json!({ "key": key, "value": 1 });
    let doc = |key: &str| json!({ "key": key });
    let order = json!({ "order_id": "a", "owner": "o", "side": "buy", "price": "4", "quantity": "1" });
    // The failing items, whose problems have these codes, and one more with which the batch succeeds in part.
    for (path, failing, first, codes, (list, more)) in [
        (
            "/cache/batch",
            json!({ "get": ["none"], "set": [set("a")], "delete": ["a"] }),
            (409, "stale-fence"),
            [("/set/0", "stale-fence"), ("/delete/0", "stale-fence")],
            ("set", set("b")),
        ),
        (
            "/json/batch",
            json!({ "get": [doc("none")], "set": [set("a")], "delete": [doc("a")] }),
            (409, "stale-fence"),
            [("/set/0", "stale-fence"), ("/delete/0", "stale-fence")],
            ("set", set("b")),
        ),
        (
            "/orderbooks/GRID/orders/batch",
            json!({ "cancel": ["x", "y"] }),
            (404, "order-not-found"),
            [("/cancel/0", ""), ("/cancel/1", "order-not-found")],
            ("place", order),
        ),
        (
            "/pubsub",
            json!({ "messages": [unknown, bad] }),
            (404, "channel-unknown"),
            [("/messages/0", ""), ("/messages/1/message_type", "")],
            ("messages", good),
        ),
    ] {
        let fence = ("fencing-token", "8");
        let headers =
            if path.ends_with("/batch") && !path.starts_with("/orderbooks") { vec![JSON, fence] } else { vec![JSON] };
        let problem = app.send(Method::POST, path, &headers, failing.to_string()).await;
        let problem = problem.expect_problem(first.0, first.1);
        assert_eq!(problem["outcome"], "not_applied", "{path}: {problem}");
        let errors = problem["errors"].as_array().expect("errors");
        assert_eq!(errors.len(), 2, "{path}: {problem}");
        for (pointer, code) in codes {
            let is_listed = |error: &Value| error["pointer"] == pointer && error["detail"].to_string().contains(code);
            assert!(errors.iter().any(is_listed), "{path} {pointer}: {problem}");
        }
        let mut partly = failing;
        match partly[list].as_array_mut() {
            Some(items) => items.push(more),
            None => partly[list] = json!([more]),
        }
        let reply = app.send(Method::POST, path, &headers, partly.to_string()).await.expect(200);
        assert_eq!(reply.header("items-failed"), Some("2"), "{path}: {}", reply.text());
    }
    // Reads that find nothing are an answer.
    for (path, reads) in [("/cache/batch", json!({ "get": ["x", "y"] })), ("/json/batch", json!({ "get": [doc("x")] }))]
    {
        let reply = app.post(path, reads).await.expect(200);
        assert_eq!((&reply.json()["get"][0]["status"], reply.header("items-failed")), (&json!(404), None), "{path}");
    }
    let lines = [("content-type", "application/x-ndjson")];
    app.send(Method::POST, "/pubsub", &lines, "\n").await.expect_violation(422, "invalid-body", "");
}
