//! Tokens that no lock can have granted, and fences that were raised by mistake.

use axum::body::Body;
use axum::http::Method;
use gridtokenx_redis::app::access_table;
use gridtokenx_redis::http::access::Fencing;
use serde_json::json;

use super::{JSON, append, put, send, token_after};
use crate::support::{ADMIN_KEY, TestApp};

const HOUR: i64 = 3_600_000;
/// 2^53 - 1, the largest number that the header may have.
const LARGEST: u64 = 9_007_199_254_740_991;

#[tokio::test]
async fn a_token_from_the_future_is_rejected_and_locks_nobody_out() {
    let app = TestApp::builder().system_clock().spawn().await;
    let grant = app.post("/locks/a", json!({ "ttl_ms": 60_000 })).await.expect(201).json();
    let holder = grant["fencing_token"].as_u64().expect("a token");
    // The indexes are lists of names, which are updated before or after the write itself.
    let stored = || -> Vec<String> { app.redis().keys().into_iter().filter(|key| !key.contains("index")).collect() };
    let before = stored();
    let soon = token_after(&app.redis(), HOUR + 60_000);
    for forged in [LARGEST, soon] {
        for (method, path, body) in [
            (Method::PUT, "/cache/a", "1"),
            (Method::DELETE, "/cache/a", ""),
            (Method::POST, "/cache/a/increment", "{}"),
            (Method::DELETE, "/cache/tags/t", ""),
            (Method::POST, "/cache/batch", r#"{"set":[{"key":"a","value":1},{"key":"b","value":1}],"delete":["c"]}"#),
            (Method::PUT, "/json/a", "{}"),
            (Method::POST, "/json/batch", r#"{"set":[{"key":"a","value":{}}],"delete":[{"key":"c"}]}"#),
            (Method::POST, "/users/1/activity", "{}"),
            (Method::PUT, "/timeseries/a", "{}"),
            (Method::POST, "/timeseries/energy:generation:m1/samples", r#"{"samples":[{"timestamp":1,"value":1}]}"#),
            (Method::POST, "/timeseries/samples", r#"{"samples":[{"series":"market:price:a","value":1}]}"#),
        ] {
            let refused = send(&app, forged, method.clone(), path, body).await;
            let problem = refused.expect_violation(422, "invalid-header", "/Fencing-Token");
            assert_eq!(problem["outcome"], "not_applied", "{method} {path}: {problem}");
        }
    }
    assert_eq!(stored(), before, "nothing is stored");
    put(&app, holder, "/cache/a", "1").await.expect(201);
    append(&app, holder, "/timeseries/energy:generation:m1", 1).await.expect(200);
}

#[tokio::test]
async fn a_token_within_the_hour_is_accepted() {
    let app = TestApp::spawn().await;
    let soon = token_after(&app.redis(), HOUR - 60_000);
    let late = token_after(&app.redis(), HOUR + 60_000);
    put(&app, soon, "/cache/a", "1").await.expect(201);
    put(&app, late, "/cache/a", "2").await.expect_violation(422, "invalid-header", "/Fencing-Token");
    // It has not raised the fence.
    put(&app, soon, "/cache/a", "3").await.expect(204);
}

#[tokio::test]
async fn an_administrator_resets_a_fence() {
    let channel = "[[pubsub.namespaces]]\npattern = \"market:chat\"\nkeep = \"log\"\nsubscribe = [\"public\"]\npublish = [\"public\"]";
    let app = TestApp::builder().config(channel).admin_key().spawn().await;
    let admin = ("x-api-key", ADMIN_KEY);
    let raised = token_after(&app.redis(), HOUR - 60_000).to_string();
    let now = token_after(&app.redis(), 0).to_string();
    let trade = r#"{"symbol":"E","trades":[{"trade_id":"t","price":"1","quantity":"1"}]}"#;
    for (method, path, body, fence) in [
        (Method::PUT, "/cache/a%2Fb", "1", "/fences/cache/a%2Fb"),
        (Method::DELETE, "/cache/tags/t", "", "/fences/cache-tags/t"),
        (Method::PUT, "/json/d", "{}", "/fences/json/d"),
        (
            Method::POST,
            "/timeseries/energy:generation:m1/samples",
            r#"{"samples":[{"timestamp":1,"value":1}]}"#,
            "/fences/timeseries/energy:generation:m1",
        ),
        (Method::POST, "/market/epoch/advance", "{}", "/fences/market/epoch"),
        (Method::POST, "/trades", trade, "/fences/trades/E"),
        (Method::POST, "/streams/s/events", r#"{"events":[{"type":"A","data":1}]}"#, "/fences/streams/s"),
        (Method::DELETE, "/orderbooks/E", "", "/fences/orderbooks/E"),
        (Method::POST, "/pubsub/market:chat", r#"{"message_type":"A","data":1}"#, "/fences/pubsub/market:chat"),
    ] {
        let write =
            async |token: &str| app.send(method.clone(), path, &[JSON, admin, ("fencing-token", token)], body).await;
        let accepted = write(&raised).await;
        assert!(accepted.status.is_success(), "{path}: {}", accepted.text());
        write(&now).await.expect_problem(409, "stale-fence");
        app.delete(fence).await.expect_problem(401, "unauthenticated");
        for _ in 0..2 {
            app.send(Method::DELETE, fence, &[admin], Body::empty()).await.expect(204);
        }
        let accepted = write(&now).await;
        assert!(accepted.status.is_success(), "{path}: {}", accepted.text());
        write("1").await.expect_problem(409, "stale-fence");
    }
}

/// The beginnings of guarded paths, and the route that resets the fence of their targets.
const RESETS: &[(&str, &str)] = &[
    ("/cache/tags/", "/fences/cache-tags/{tag}"),
    ("/cache", "/fences/cache/{key}"),
    ("/config", "/fences/json/{key}"),
    ("/forms", "/fences/json/{key}"),
    ("/json", "/fences/json/{key}"),
    ("/users", "/fences/json/{key}"),
    ("/market/epoch", "/fences/market/epoch"),
    ("/api/v2/write", "/fences/timeseries/{key}"),
    ("/energy", "/fences/timeseries/{key}"),
    ("/market", "/fences/timeseries/{key}"),
    ("/settlements", "/fences/timeseries/{key}"),
    ("/timeseries", "/fences/timeseries/{key}"),
    ("/write", "/fences/timeseries/{key}"),
    ("/orderbooks", "/fences/orderbooks/{symbol}"),
    ("/pubsub", "/fences/pubsub/{channel}"),
    ("/streams", "/fences/streams/{stream}"),
    ("/trades", "/fences/trades/{symbol}"),
];

#[test]
fn every_fence_can_be_reset() {
    let rows = access_table();
    for row in rows.iter().filter(|row| row.fencing != Fencing::None) {
        let reset = RESETS.iter().find(|(start, _)| row.path.starts_with(start)).map(|(_, reset)| *reset);
        let is_route = rows.iter().any(|row| row.method == "DELETE" && Some(row.path) == reset);
        assert!(is_route, "{} {}: no route resets its fence", row.method, row.path);
    }
}

#[tokio::test]
async fn a_reset_epoch_returns_from_its_clearing_with_a_smaller_token() {
    let app = TestApp::builder().admin_key().spawn().await;
    let admin = ("x-api-key", ADMIN_KEY);
    let put = async |token: u64, status: &str| {
        let body = json!({ "epoch_number": 1, "status": status }).to_string();
        app.send(Method::PUT, "/market/epoch", &[JSON, admin, ("fencing-token", &token.to_string())], body).await
    };
    app.send(Method::DELETE, "/fences/market/epoch", &[admin], Body::empty()).await.expect(204);
    app.send(Method::POST, "/market/epoch/advance", &[JSON, admin], "{}").await.expect(201);
    let raised = token_after(&app.redis(), HOUR - 60_000);
    let now = token_after(&app.redis(), 0);
    put(raised, "clearing").await.expect(200);
    put(now, "active").await.expect_problem(409, "stale-fence");
    app.send(Method::DELETE, "/fences/market/epoch", &[admin], Body::empty()).await.expect(204);
    put(now, "active").await.expect(200);
}
