//! Centrifugo's server API.

use axum::body::Body;
use axum::http::Method;
use serde_json::{Value, json};

use super::socket::price;
use crate::support::{ADMIN_KEY, Reply, TestApp, in_repository, output_text, run_python_tool};

async fn call(app: &TestApp, path: &str, body: Value) -> Value {
    app.post(path, body).await.expect(200).json()
}

#[tokio::test]
async fn the_library_for_python_works_without_changes() {
    let mut app = TestApp::builder().admin_key().system_clock().spawn().await;
    let script = in_repository("tests/interoperability/cent_client.py").display().to_string();
    let url = format!("http://{}/api", app.serve());
    let output = run_python_tool("python", &[&script, &url, ADMIN_KEY]).await;
    assert!(output.status.success(), "{}", output_text(&output));
    let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let tags = json!({ "side": "buy", "message_type": "Created" });
    let expected = json!({
        "publish": [1, 1, true],
        "broadcast": [1, 1, 102],
        "history": [[1, "1", tags]],
        "after": 0,
        "wrong": 112,
        "batch": [2, 1],
        "removed": 0,
        "channels": {},
        "nodes": ["gridtokenx-redis"],
        "unknown": 102,
        "stranger": "unauthorized",
    });
    assert_eq!(told, expected);
}

#[tokio::test]
async fn each_command_has_a_result_or_an_error() {
    let app = TestApp::builder().system_clock().spawn().await;
    let message = json!({ "channel": "orderbook:E", "data": { "bid": "1" }, "version": 5 });
    let first = call(&app, "/publish", message.clone()).await;
    assert_eq!(first["result"]["offset"], 1, "{first}");
    // A message with an older version is skipped.
    assert_eq!(call(&app, "/publish", message).await["result"], first["result"]);
    let typed = json!({ "message_type": "PriceUpdate", "data": price(7)["data"] });
    let both = json!({ "channels": ["market:events:E", "a::b", "weather"], "data": typed });
    let responses = call(&app, "/broadcast", both).await["result"]["responses"].clone();
    assert_eq!(responses[0]["result"]["offset"], 1, "{responses}");
    assert_eq!((&responses[1]["error"]["code"], &responses[2]["error"]["code"]), (&json!(107), &json!(102)));
    let history = call(&app, "/history", json!({ "channel": "market:events", "limit": -1, "reverse": true })).await;
    assert_eq!(history["result"]["publications"][0]["data"], price(7)["data"]);
    let position = call(&app, "/history", json!({ "channel": "market:events" })).await;
    assert_eq!((&position["result"]["offset"], &position["result"]["publications"]), (&json!(1), &json!([])));
    assert_eq!(call(&app, "/history_remove", json!({ "channel": "market:events" })).await, json!({ "result": {} }));
    let emptied = call(&app, "/history", json!({ "channel": "market:events", "limit": 9 })).await;
    assert_eq!(emptied["result"]["publications"], json!([]));
    assert_eq!(call(&app, "/channels", json!({})).await["result"]["channels"], json!({}));
    assert_eq!(call(&app, "/channels", json!({ "pattern": "*a*" })).await["error"]["code"], 107);
    let node = &call(&app, "/info", json!({})).await["result"]["nodes"][0];
    assert_eq!((&node["num_clients"], &node["num_channels"]), (&json!(0), &json!(0)), "{node}");
    let commands = json!([
        { "publish": { "channel": "orderbook:E", "data": 2 } },
        { "history": { "channel": "weather" } },
        { "presence": { "channel": "orderbook:E" } },
    ]);
    let replies = call(&app, "/batch", json!({ "commands": commands, "parallel": true })).await["replies"].clone();
    assert_eq!(replies[0]["publish"]["offset"], 2, "{replies}");
    assert_eq!((&replies[1]["error"]["code"], &replies[2]["error"]["code"]), (&json!(102), &json!(108)));
}

#[tokio::test]
async fn invalid_parameters_are_named_and_nothing_is_published() {
    let app = TestApp::builder().system_clock().spawn().await;
    let too_many: Vec<Value> = (0..1_001).map(|at| json!(format!("orderbook:{at}"))).collect();
    let many: Vec<Value> = too_many.iter().take(1_000).cloned().collect();
    for (path, body, field) in [
        ("/publish", json!({ "channel": "orderbook:E" }), "data"),
        ("/publish", json!({ "channel": "orderbook:E", "data": 1, "skip_history": true }), "skip_history"),
        ("/publish", json!({ "channel": "orderbook:E", "data": 1, "idempotency_key": "" }), "id"),
        ("/publish", json!({ "channel": "market:events", "data": price(1)["data"] }), "message_type"),
        ("/publish", json!([]), "object"),
        ("/broadcast", json!({ "channels": [], "data": 1 }), "channels"),
        ("/broadcast", json!({ "channels": too_many, "data": 1 }), "channels"),
        ("/broadcast", json!({ "channels": many, "data": "x".repeat(20_000) }), "16 MiB"),
        ("/history", json!({ "channel": "orderbook:E", "limt": 1 }), "limt"),
        ("/batch", json!({ "commands": [] }), "commands"),
    ] {
        let error = call(&app, path, body).await["error"].clone();
        let message = error["message"].as_str().unwrap_or_default();
        assert!(error["code"] == 107 && message.contains(field), "{path} {field}: {error}");
    }
    assert_eq!(call(&app, "/history", json!({ "channel": "orderbook:E" })).await["result"]["offset"], 0);
}

#[tokio::test]
async fn a_large_broadcast_has_a_result_for_each_channel() {
    let app = TestApp::builder().system_clock().spawn().await;
    let mut channels: Vec<Value> = (0..300).map(|at| json!(format!("orderbook:B{at}"))).collect();
    channels[100] = json!("a::b");
    channels[250] = json!("weather");
    let broadcast = json!({ "channels": channels, "data": "x".repeat(15_000) });
    let responses = call(&app, "/broadcast", broadcast).await["result"]["responses"].clone();
    for (at, response) in responses.as_array().expect("responses").iter().enumerate() {
        let expected = match at {
            100 => (&response["error"]["code"], json!(107)),
            250 => (&response["error"]["code"], json!(102)),
            _ => (&response["result"]["offset"], json!(1)),
        };
        assert_eq!(expected.0, &expected.1, "{at}: {response}");
    }
    assert_eq!(responses.as_array().map(Vec::len), Some(300));
    let history = call(&app, "/history", json!({ "channel": "orderbook:B299" })).await;
    assert_eq!(history["result"]["offset"], 1);
}

#[tokio::test]
async fn each_command_needs_its_scope() {
    let key = |scopes: &[&str], id: u8| {
        let text = format!("ak_{id:032x}");
        let digest = gridtokenx_redis::http::auth::api_key::digest(text.as_bytes());
        let digest = gridtokenx_redis::http::auth::api_key::hex(&digest);
        (format!("[[auth.keys]]\nid = \"k{id}\"\nsha256 = \"{digest}\"\nscopes = {scopes:?}\n"), text)
    };
    let (writer, writing) = key(&["pubsub:write:orderbook:*"], 1);
    let (reader, reading) = key(&["pubsub:read"], 2);
    let app = TestApp::builder().config(&writer).config(&reader).admin_key().system_clock().spawn().await;
    let send = async |path: &str, key: &str, body: Value| -> Reply {
        let headers = [("content-type", "application/json"), ("x-api-key", key)];
        app.send(Method::POST, path, &headers, Body::from(body.to_string())).await
    };
    let publish = |channel: &str| json!({ "channel": channel, "data": { "message_type": "X", "data": 1 } });
    assert_eq!(send("/publish", &writing, publish("orderbook:E")).await.expect(200).json()["result"]["offset"], 1);
    assert_eq!(send("/publish", &writing, publish("market:events")).await.expect(200).json()["error"]["code"], 103);
    send("/publish", &reading, publish("orderbook:E")).await.expect_problem(403, "forbidden");
    send("/history_remove", &reading, json!({ "channel": "orderbook:E" })).await.expect_problem(403, "forbidden");
    send("/history", &writing, json!({ "channel": "orderbook:E" })).await.expect_problem(403, "forbidden");
    assert!(send("/history", &reading, json!({ "channel": "orderbook:E" })).await.json()["result"].is_object());
    app.post("/publish", publish("orderbook:E")).await.expect_problem(401, "unauthenticated");
    // The scheme of older clients, and the content type that curl sends.
    let older = format!("apikey {reading}");
    let headers = [("content-type", "application/x-www-form-urlencoded"), ("authorization", older.as_str())];
    let history = app.send(Method::POST, "/api/history", &headers, r#"{"channel":"orderbook:E"}"#).await;
    assert!(history.expect(200).json()["result"].is_object());
    let commands = json!({ "commands": [
        { "publish": publish("orderbook:E") }, { "history": { "channel": "orderbook:E" } },
        { "history_remove": { "channel": "orderbook:E" } }, { "channels": {} },
    ] });
    for (key, codes) in [(&writing, [0, 103, 103, 103]), (&reading, [103, 0, 103, 0])] {
        let replies = send("/batch", key, commands.clone()).await.expect(200).json()["replies"].clone();
        for (at, code) in codes.into_iter().enumerate() {
            assert_eq!(replies[at]["error"]["code"].as_u64().unwrap_or_default(), code, "{replies}");
        }
    }
    assert_eq!(app.post("/batch", commands).await.expect(200).json()["error"]["code"], 101);
}

#[tokio::test]
async fn an_unavailable_redis_is_a_temporary_error() {
    let app = TestApp::builder().behind_proxy().system_clock().spawn().await;
    app.proxy().cut();
    for (path, body) in [
        ("/publish", json!({ "channel": "orderbook:E", "data": 1 })),
        ("/history", json!({ "channel": "orderbook:E" })),
        ("/broadcast", json!({ "channels": ["orderbook:E"], "data": 1 })),
    ] {
        let reply = call(&app, path, body).await;
        let error = if path == "/broadcast" && reply["error"].is_null() {
            reply["result"]["responses"][0]["error"].clone()
        } else {
            reply["error"].clone()
        };
        assert_eq!((&error["code"], &error["temporary"]), (&json!(100), &json!(true)), "{path}: {reply}");
    }
}
