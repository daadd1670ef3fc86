//! Pages, replays and lists.

use axum::body::Body;
use axum::http::Method;
use serde_json::{Value, json};

use super::{append, append_numbers, event, versions};
use crate::support::TestApp;

#[tokio::test]
async fn pages_follow_each_other_in_both_orders() {
    let app = TestApp::spawn().await;
    append_numbers(&app, "orders", 1..=25).await;
    for (order, expected) in [("asc", (1..=25).collect::<Vec<_>>()), ("desc", (1..=25).rev().collect())] {
        let (mut found, mut cursor) = (Vec::new(), String::new());
        loop {
            let path = format!("/streams/orders/events?order={order}&limit=10{cursor}");
            let page = app.get(&path).await.expect(200).json();
            found.extend(versions(&page["items"]));
            assert_eq!((&page["version"], &page["missing"]), (&json!(25), &json!(0)), "{page}");
            let Some(next) = page["next_cursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        assert_eq!(found, expected, "{order}");
    }
    let part = app.get("/streams/orders/events?from_version=5&to_version=7").await.expect(200).json();
    assert_eq!((versions(&part["items"]), &part["next_cursor"]), (vec![5, 6, 7], &Value::Null));
    let part = app.get("/streams/orders/events?from_version=7&to_version=5&order=desc").await.expect(200).json();
    assert_eq!((versions(&part["items"]), &part["next_cursor"]), (vec![7, 6, 5], &Value::Null));
    let beyond = app.get("/streams/orders/events?from_version=26").await.expect(200).json();
    assert_eq!((versions(&beyond["items"]), &beyond["missing"]), (vec![], &json!(0)));
}

#[tokio::test]
async fn a_page_ends_at_a_mebibyte_and_a_replay_has_all_lines() {
    let app = TestApp::builder().system_clock().spawn().await;
    let large = json!({ "type": "T", "data": "x".repeat(60_000) });
    for _ in 0..4 {
        append(&app, "orders", &vec![large.clone(); 10]).await.expect(201);
    }
    let page = app.get("/streams/orders/events?limit=1000").await.expect(200).json();
    let count = versions(&page["items"]).len();
    assert!((17..=19).contains(&count), "{count} events");
    assert_eq!(page["next_cursor"], (count + 1).to_string());
    let replay = async |query: &str| {
        let path = format!("/streams/orders/events{query}");
        let reply =
            app.send(Method::GET, &path, &[("accept", "application/x-ndjson")], Body::empty()).await.expect(200);
        assert_eq!(reply.header("content-type"), Some("application/x-ndjson"));
        let line = |line: &str| serde_json::from_str::<Value>(line).expect("JSON")["version"].as_u64().expect("it");
        reply.text().lines().map(line).collect::<Vec<_>>()
    };
    assert_eq!(replay("").await, (1..=40).collect::<Vec<_>>());
    assert_eq!(replay("?from_version=38").await, [38, 39, 40]);
    assert_eq!(replay("?from_version=10&limit=2").await, [10, 11]);
    assert_eq!(replay("?order=desc&to_version=39").await, [40, 39]);
    let path = "/streams/nothing/events";
    let missing = app.send(Method::GET, path, &[("accept", "application/x-ndjson")], Body::empty()).await;
    missing.expect_problem(404, "stream-not-found");
}

#[tokio::test]
async fn streams_are_listed_described_and_deleted() {
    let app = TestApp::spawn().await;
    for stream in ["orders:1", "orders:2", "payments"] {
        append(&app, stream, &[event(1)]).await.expect(201);
    }
    let names = |page: &Value| -> Vec<String> {
        let items = page["items"].as_array().expect("items").iter();
        items.map(|item| item["stream"].as_str().expect("a name").to_owned()).collect()
    };
    let first = app.get("/streams?limit=2").await.expect(200).json();
    assert_eq!(
        (names(&first), &first["next_cursor"]),
        (vec!["orders:1".to_owned(), "orders:2".to_owned()], &json!("orders:2"))
    );
    let rest = app.get("/streams?cursor=orders:2").await.expect(200).json();
    assert_eq!((names(&rest), &rest["next_cursor"]), (vec!["payments".to_owned()], &Value::Null));
    assert_eq!(names(&app.get("/streams?prefix=orders:").await.json()), ["orders:1", "orders:2"]);
    let described = app.get("/streams/orders:1").await.expect(200).json();
    assert_eq!((&described["version"], &described["events"]), (&json!(1), &json!(1)), "{described}");
    app.put("/streams/orders:1/groups/g", json!({})).await.expect(201);
    app.delete("/streams/orders:1").await.expect(204);
    app.delete("/streams/orders:1").await.expect_problem(404, "stream-not-found");
    assert_eq!(names(&app.get("/streams").await.json()), ["orders:2", "payments"]);
    let left: Vec<_> = app.redis().keys().into_iter().filter(|key| key.contains("{orders:1}")).collect();
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(append(&app, "orders:1", &[event(1)]).await.expect(201).json()["version"], 1);
}

#[tokio::test]
async fn invalid_queries_are_refused_by_name() {
    let app = TestApp::spawn().await;
    append(&app, "orders", &[event(1)]).await.expect(201);
    for (query, name) in [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("from_version=0", "from_version"),
        ("to_version=x", "to_version"),
        ("from_version=1&cursor=1", "cursor"),
        ("cursor=", "cursor"),
        ("order=up", "order"),
        ("wait_ms=30001", "wait_ms"),
        ("wait_ms=1&order=desc", "wait_ms"),
        ("since=1", "since"),
    ] {
        let problem = app.get(&format!("/streams/orders/events?{query}")).await.expect_problem(422, "invalid-query");
        assert_eq!(problem["errors"][0]["pointer"], format!("/{name}"), "{query}: {problem}");
    }
    app.get("/streams?limit=0").await.expect_problem(422, "invalid-query");
    app.get("/streams/orders?x=1").await.expect_problem(422, "invalid-query");
}
