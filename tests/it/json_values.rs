//! Changes of single values: one result per value, all or nothing.

use axum::http::Method;
use serde_json::{Value, json};

use crate::support::TestApp;

async fn start(document: Value) -> TestApp {
    let app = TestApp::spawn().await;
    app.put("/json/a", document).await.expect(201);
    app
}

async fn results(app: &TestApp, operation: &str, body: Value) -> Value {
    app.post(&format!("/json/a/{operation}"), body).await.expect(200).json()["results"].clone()
}

async fn document(app: &TestApp) -> Value {
    app.get("/json/a").await.expect(200).json()
}

#[tokio::test]
async fn arrays_grow_and_shrink() {
    let app = start(json!({ "l": [1, 2], "m": [[3], 4], "s": "x" })).await;
    let body = json!({ "path": "$.l", "values": [3, { "a": 4 }] });
    assert_eq!(app.post("/json/a/array/append", body).await.expect(200).json(), json!({ "results": [4] }));
    assert_eq!(results(&app, "array/append", json!({ "path": "$.m[*]", "values": [0] })).await, json!([2, null]));
    let insert = app.post("/json/a/array/insert", json!({ "path": "$.l", "index": -1, "values": ["i"] })).await;
    assert_eq!(insert.expect(200).json(), json!({ "results": [5] }));
    assert_eq!(document(&app).await["l"], json!([1, 2, 3, "i", { "a": 4 }]));
    let pop = app.post("/json/a/array/pop", json!({ "path": "$.l" })).await.expect(200).json();
    assert_eq!(pop, json!({ "results": [{ "value": { "a": 4 } }] }));
    assert_eq!(results(&app, "array/pop", json!({ "path": "$.l", "index": 99 })).await, json!([{ "value": "i" }]));
    let trim = app.post("/json/a/array/trim", json!({ "path": "$.l", "start": 1, "stop": -1 })).await;
    assert_eq!(trim.expect(200).json(), json!({ "results": [2] }));
    assert_eq!(document(&app).await, json!({ "l": [2, 3], "m": [[3, 0], 4], "s": "x" }));
    results(&app, "array/trim", json!({ "path": "$.l", "start": 1, "stop": 0 })).await;
    assert_eq!(results(&app, "array/pop", json!({ "path": "$.l" })).await, json!([null]), "an empty array has no item");
}

#[tokio::test]
async fn nested_values_are_changed_where_they_were_selected() {
    let app = start(json!([[[1], 2], 3])).await;
    assert_eq!(
        results(&app, "array/insert", json!({ "path": "$..*", "index": 0, "values": ["x"] })).await,
        json!([3, null, 2, null, null])
    );
    assert_eq!(document(&app).await, json!([["x", ["x", 1], 2], 3]));
    app.put("/json/a?path=$..*", json!({})).await.expect(204);
    assert_eq!(document(&app).await, json!([{}, {}]));
}

#[tokio::test]
async fn numbers_strings_and_booleans_change() {
    let app = start(json!({ "i": 5, "f": 0.5, "s": "ab", "b": true, "l": [1, "x"] })).await;
    let grown = app.post("/json/a/number/increment", json!({ "path": "$.i", "by": 2 })).await.expect(200);
    assert_eq!(grown.json(), json!({ "results": [7] }));
    let multiplied = app.post("/json/a/number/multiply", json!({ "path": "$.l[*]", "by": 1.5 })).await.expect(200);
    assert_eq!(multiplied.json(), json!({ "results": [1.5, null] }));
    let appended = app.post("/json/a/string/append", json!({ "path": ".s", "value": "é" })).await.expect(200);
    assert_eq!(appended.json(), json!({ "results": [4] }));
    let toggled = app.post("/json/a/toggle", json!({ "path": "$.b" })).await.expect(200);
    assert_eq!(toggled.json(), json!({ "results": [false] }));
    let cleared = app.post("/json/a/clear", json!({ "path": "$.*" })).await.expect(200);
    assert_eq!(cleared.json(), json!({ "cleared": 3 }));
    assert_eq!(document(&app).await, json!({ "i": 0, "f": 0, "s": "abé", "b": false, "l": [] }));
}

#[tokio::test]
async fn a_change_without_a_matching_value_names_the_type_that_it_found() {
    let app = start(json!({ "n": 1, "s": "x" })).await;
    let before = app.get("/json/a").await.header("etag").map(str::to_owned);
    for (operation, body) in [
        ("array/append", json!({ "path": "$.n", "values": [1] })),
        ("array/insert", json!({ "path": "$.n", "index": 0, "values": [1] })),
        ("array/pop", json!({ "path": "$.n" })),
        ("array/trim", json!({ "path": ".n", "start": 0, "stop": 0 })),
        ("string/append", json!({ "path": "$.n", "value": "x" })),
        ("toggle", json!({ "path": "$.n" })),
    ] {
        let problem = app.post(&format!("/json/a/{operation}"), body).await.expect_problem(409, "json-wrong-type");
        let detail = problem["detail"].as_str().expect("a detail");
        assert!(detail.contains("n` must be a") && detail.ends_with("got integer"), "{operation}: {detail}");
        assert_eq!(problem["outcome"], "not_applied");
    }
    for (operation, body) in [
        ("number/increment", json!({ "path": "$.nope", "by": 1 })),
        ("number/multiply", json!({ "path": ".nope", "by": 1 })),
        ("array/append", json!({ "path": "$.nope", "values": [1] })),
    ] {
        app.post(&format!("/json/a/{operation}"), body).await.expect_problem(404, "json-path-missing");
    }
    assert_eq!(
        app.post("/json/a/clear", json!({ "path": "$.nope" })).await.expect(200).json(),
        json!({ "cleared": 0 })
    );
    for operation in ["toggle", "clear", "array/pop"] {
        app.post(&format!("/json/b/{operation}"), json!({})).await.expect_problem(404, "json-missing");
    }
    assert_eq!(app.get("/json/a").await.header("etag").map(str::to_owned), before, "nothing was written");
}

#[tokio::test]
async fn no_value_is_changed_if_one_cannot_be_changed() {
    let app = start(json!({ "a": 1, "b": i64::MAX, "l": [1], "e": [] })).await;
    app.post("/json/a/number/increment", json!({ "path": "$.*", "by": 1 })).await.expect_problem(409, "json-no-number");
    app.post("/json/a/number/multiply", json!({ "path": "$.*", "by": 1e308 }))
        .await
        .expect_problem(409, "json-no-number");
    let body = json!({ "path": "$.*", "index": 1, "values": [1] });
    app.post("/json/a/array/insert", body).await.expect_problem(422, "json-out-of-bounds");
    assert_eq!(document(&app).await, json!({ "a": 1, "b": i64::MAX, "l": [1], "e": [] }));
}

#[tokio::test]
async fn an_invalid_body_is_rejected_with_its_field() {
    let app = start(json!({ "l": [1], "n": 1, "s": "x" })).await;
    for (operation, body, pointer) in [
        ("array/append", json!({ "path": "$.l" }), "/values"),
        ("array/append", json!({ "values": [] }), "/values"),
        ("array/append", json!({ "path": "$[", "values": [1] }), "/path"),
        ("array/insert", json!({ "path": "$.l", "index": 1.5, "values": [1] }), "/index"),
        ("array/pop", json!({ "path": "$.l", "index": "x" }), "/index"),
        ("array/trim", json!({ "path": "$.l", "start": 0 }), "/stop"),
        ("number/increment", json!({ "path": "$.n", "by": "1" }), "/by"),
        ("number/increment", json!({ "path": "$.n" }), "/by"),
        ("string/append", json!({ "path": "$.s", "value": 1 }), "/value"),
        ("toggle", json!({ "paths": "$" }), "/paths"),
        ("touch", json!({}), "/ttl_ms"),
        ("touch", json!({ "ttl_ms": 0 }), "/ttl_ms"),
    ] {
        app.post(&format!("/json/a/{operation}"), body).await.expect_violation(422, "invalid-body", pointer);
    }
    let json = ("content-type", "application/json");
    for body in ["{\"by\":NaN}", "{\"by\":01}"] {
        app.send(Method::POST, "/json/a/number/increment", &[json], body).await.expect_problem(400, "invalid-json");
    }
    let twice = "{\"values\":[{\"a\":1,\"a\":2}]}";
    app.send(Method::POST, "/json/a/array/append", &[json], twice).await.expect_violation(
        422,
        "invalid-body",
        "/values/0",
    );
    assert_eq!(document(&app).await, json!({ "l": [1], "n": 1, "s": "x" }));
}

#[tokio::test]
async fn a_repeated_change_is_made_once() {
    let app = start(json!({ "n": 1, "l": [] })).await;
    let headers = [("content-type", "application/json"), ("idempotency-key", "k-1")];
    for replayed in [None, Some("true")] {
        let body = json!({ "path": "$.n", "by": 5 }).to_string();
        let reply = app.send(Method::POST, "/json/a/number/increment", &headers, body).await.expect(200);
        assert_eq!(reply.json(), json!({ "results": [6] }));
        assert_eq!(reply.header("idempotency-replayed"), replayed);
    }
    // The recorded response is lost, as if the process had ended between the change and the record.
    let patch = [("content-type", "application/json-patch+json"), ("idempotency-key", "k-2")];
    let body = json!([{ "op": "test", "path": "/n", "value": 6 }, { "op": "replace", "path": "/n", "value": 7 }]);
    for _ in 0..2 {
        app.send(Method::PATCH, "/json/a", &patch, body.to_string()).await.expect(204);
        let records: Vec<String> = app.redis().command(&["KEYS", "idempotency:*"]);
        for record in records {
            let _: i64 = app.redis().command(&["DEL", &record]);
        }
    }
    for _ in 0..2 {
        let again = [("content-type", "application/json"), ("idempotency-key", "k-3")];
        let body = json!({ "path": "$.l", "values": [1] }).to_string();
        let reply = app.send(Method::POST, "/json/a/array/append", &again, body).await.expect(200);
        assert_eq!(reply.json(), json!({ "results": [1] }));
        let records: Vec<String> = app.redis().command(&["KEYS", "idempotency:*"]);
        for record in records {
            let _: i64 = app.redis().command(&["DEL", &record]);
        }
    }
    assert_eq!(document(&app).await, json!({ "n": 7, "l": [1] }));
}

#[tokio::test]
async fn a_long_answer_is_not_stored_with_the_change() {
    let app = start(json!({ "l": ["kept", "x".repeat(2_000)] })).await;
    let headers = [("content-type", "application/json"), ("idempotency-key", "k-1")];
    let pop = || app.send(Method::POST, "/json/a/array/pop", &headers, json!({ "path": "$.l" }).to_string());
    let first = pop().await.expect(200);
    assert_eq!(pop().await.expect(200).text(), first.text(), "the response is recorded");
    let answers: Vec<String> = app.redis().command(&["KEYS", "json:answer:*"]);
    let size: usize = app.redis().command(&["STRLEN", &answers[0]]);
    assert!(answers.len() == 1 && size < 10, "{answers:?}: {size} bytes");
    // As if the process had ended between the change and the record.
    let records: Vec<String> = app.redis().command(&["KEYS", "idempotency:*"]);
    for record in records {
        let _: i64 = app.redis().command(&["DEL", &record]);
    }
    let problem = pop().await.expect_problem(409, "idempotency-answer-too-large");
    assert_eq!(problem["outcome"], "applied", "{problem}");
    assert_eq!(document(&app).await, json!({ "l": ["kept"] }));
}
