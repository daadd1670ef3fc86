//! Without Redis, after its restart, and on a cluster.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use axum::http::Method;
use serde_json::{Value, json};

use super::load::settled;
use super::{BOOK, create, create_levels, fill, order, place, report, view, without_fence};
use crate::support::{Cluster, NDJSON, RedisServer, SentinelGroup, TestApp, eventually};

#[tokio::test]
async fn every_operation_fails_at_once_while_redis_is_unavailable() {
    let app = TestApp::builder().behind_proxy().config("[orderbook]\nrequire_fence = false").spawn().await;
    create(&app, "GRID").await;
    place(&app, "a", "buy", "4", "1").await;
    app.proxy().cut();
    eventually("the cut is noticed", async || app.get(BOOK).await.is(503)).await;
    for reply in [
        app.get(BOOK).await,
        app.get("/orderbooks").await,
        app.get("/orderbooks/GRID/best").await,
        app.get("/orderbooks/GRID/settings").await,
        app.get("/orderbooks/GRID/orders/a").await,
        app.get("/orderbooks/GRID/orders?side=buy").await,
        app.get("/orderbooks/GRID/deltas?after=1&wait_ms=20000").await,
        app.post("/orderbooks/GRID/orders", order("b", "buy", "4", "1")).await,
        app.post("/orderbooks/GRID/orders/batch", json!({ "cancel": ["a"] })).await,
        app.patch("/orderbooks/GRID/orders/a", json!({ "quantity": "2" })).await,
        app.delete("/orderbooks/GRID/orders/a").await,
        app.delete("/orders?owner=ann").await,
        report(&app, &[fill("t", "a", "b", "4", "1")]).await,
        app.send(Method::PUT, BOOK, &[NDJSON], "").await,
        app.put("/orderbooks/NEW/settings", json!({ "mode": "store", "kind": "orders" })).await,
        app.delete(BOOK).await,
    ] {
        reply.expect_problem(503, "redis-unavailable");
    }
    app.proxy().heal();
    eventually("the book is back", async || app.get(BOOK).await.is(200)).await;
    assert_eq!(view(&app).await["orders"], 1);
}

#[tokio::test]
async fn a_lost_reply_is_unknown_and_the_same_id_makes_the_retry_safe() {
    let app = TestApp::builder().behind_proxy().spawn().await;
    create(&app, "GRID").await;
    place(&app, "a", "buy", "4", "1").await;
    app.proxy().stall();
    let lost = app.post("/orderbooks/GRID/orders", order("b", "buy", "4", "1")).await;
    assert_eq!(lost.expect_problem(504, "redis-timeout")["outcome"], "unknown");
    app.proxy().heal();
    eventually("the service is connected again", async || app.get(BOOK).await.is(200)).await;
    app.post("/orderbooks/GRID/orders", order("b", "buy", "4", "1")).await.expect(201);
    assert_eq!(view(&app).await["orders"], 2);
}

#[tokio::test]
async fn a_restarted_redis_keeps_the_book_and_begins_a_new_generation() {
    let server = RedisServer::with_options(&["--save", "", "--appendonly", "yes", "--appendfsync", "always"]);
    let app = TestApp::builder().on(server).config("[orderbook]\nrequire_fence = false").spawn().await;
    create(&app, "GRID").await;
    place(&app, "a", "buy", "4", "1").await;
    let before = view(&app).await;
    {
        let mut redis = app.redis();
        redis.kill();
        redis.boot();
    }
    eventually("the book is back", async || app.get(BOOK).await.is(200)).await;
    let after = view(&app).await;
    assert_eq!((&after["sequence"], &after["bids"]), (&before["sequence"], &before["bids"]));
    assert!(after["generation"].as_u64() > before["generation"].as_u64(), "{after}");
    let sequence = &before["sequence"];
    assert_eq!(
        app.get(&format!("/orderbooks/GRID/deltas?after={sequence}")).await.expect(200).json()["generation"],
        after["generation"]
    );
    let repeated = app.post("/orderbooks/GRID/orders", order("a", "buy", "4", "1")).await.expect(201).json();
    assert_eq!(repeated["replayed"], true);
    let next = place(&app, "b", "buy", "4", "1").await["sequence"].as_u64();
    assert_eq!(next, sequence.as_u64().map(|sequence| sequence + 1));
    place(&app, "s", "sell", "4", "1").await;
    report(&app, &[fill("t", "a", "s", "4", "1")]).await.expect(200);
    // A service that has just started knows the same book and the same orders.
    let book = view(&app).await;
    let restarted = TestApp::builder().beside(&app).config("[orderbook]\nrequire_fence = false").spawn().await;
    assert_eq!(view(&restarted).await, book);
    for id in ["a", "b"] {
        let side = order(id, "buy", "4", "1");
        let repeated = restarted.post("/orderbooks/GRID/orders", side).await.expect(201).json();
        assert_eq!(repeated["replayed"], true, "{repeated}");
    }
    report(&restarted, &[fill("t", "a", "s", "4", "1")]).await.expect(200);
    assert_eq!(view(&restarted).await, book);
}

/// The generation and the sequence of a book.
fn state(book: &Value) -> (u64, u64) {
    let number = |field: &str| book[field].as_u64().expect("a number");
    (number("generation"), number("sequence"))
}

/// Reads the book until `done`; panics if a state comes back. Returns the last state.
async fn follow_states(app: &TestApp, done: &AtomicBool) -> (u64, u64) {
    let mut last = (0, 0);
    while !done.load(Ordering::SeqCst) {
        let now = state(&settled(async || app.get("/orderbooks/GRID?depth=1").await).await.expect(200).json());
        assert!(now >= last, "{now:?} after {last:?}");
        last = now;
    }
    last
}

#[tokio::test]
async fn a_failover_under_load_restarts_no_sequence_silently() {
    let mut group = SentinelGroup::start().await;
    let app = TestApp::builder().config(&group.config()).spawn().await;
    // A busy machine may look to the Sentinel like a lost master, before the other server has the book.
    let headers = [("content-type", "application/json"), ("durability", "replicated=1")];
    let settings = json!({ "mode": "store", "kind": "orders" }).to_string();
    let create = async || app.send(Method::PUT, "/orderbooks/GRID/settings", &headers, settings.clone()).await;
    eventually("both servers have the book", async || create().await.status.is_success()).await;
    let first = view(&app).await;
    let (placed, done) = (AtomicUsize::new(0), AtomicBool::new(false));
    let load = async {
        for n in 0..200 {
            let request = order(&format!("o{n}"), "buy", "4", "1");
            settled(async || app.post("/orderbooks/GRID/orders", request.clone()).await).await.expect(201);
            placed.fetch_add(1, Ordering::SeqCst);
        }
        done.store(true, Ordering::SeqCst);
    };
    let fail = async {
        eventually("some orders are placed", async || placed.load(Ordering::SeqCst) >= 50).await;
        group.master.kill();
    };
    let ((), (), last) = tokio::join!(load, fail, follow_states(&app, &done));
    let after = settled(async || app.get(BOOK).await).await.expect(200).json();
    assert!(state(&after) >= last, "{after} after {last:?}");
    assert!(state(&after).0 > state(&first).0, "the other server may lack changes: {after}");
    let path = format!("/orderbooks/GRID/deltas?after={}", first["sequence"]);
    let old = settled(async || app.get(&path).await).await;
    assert!(old.is(410) || old.json()["generation"] == after["generation"], "{}", old.text());
}

#[tokio::test]
async fn each_book_of_a_cluster_uses_one_slot() {
    let cluster = Cluster::start().await;
    let app =
        TestApp::builder().config(&format!("{}[orderbook]\nrequire_fence = false", cluster.config())).spawn().await;
    let symbols: Vec<String> = (0..12).map(|n| format!("zone-{n}:interval")).collect();
    for symbol in &symbols {
        create(&app, symbol).await;
        let path = format!("/orderbooks/{symbol}");
        for (id, side) in [("b", "buy"), ("s", "sell"), ("c", "buy")] {
            app.post(&format!("{path}/orders"), order(id, side, "4", "2")).await.expect(201);
        }
        app.post(&format!("{path}/fills"), json!({ "fills": [fill("t", "b", "s", "4", "1")] })).await.expect(200);
        app.patch(&format!("{path}/orders/c"), json!({ "price": "3" })).await.expect(200);
        let batch = json!({ "cancel": ["c"], "place": [order("d", "sell", "9", "1")] });
        app.post(&format!("{path}/orders/batch"), batch).await.expect(200);
    }
    let listed = app.get("/orderbooks").await.expect(200).json();
    assert_eq!(listed["items"].as_array().map(Vec::len), Some(12));
    let done = app.delete("/orders?owner=owner-sell").await.expect(200).json();
    assert_eq!(done["cancelled"], 24, "{done}");
    for symbol in &symbols {
        let keys: Vec<String> = cluster
            .nodes
            .iter()
            .flat_map(RedisServer::keys)
            .filter(|key| key.contains(&format!("{{{symbol}}}")))
            .collect();
        let slots: BTreeSet<i64> =
            keys.iter().map(|key| cluster.nodes[0].command(&["CLUSTER", "KEYSLOT", key])).collect();
        assert!(keys.len() > 8 && slots.len() == 1, "{keys:?}");
    }
    assert!(cluster.nodes.iter().all(|node| node.keys().iter().any(|key| key.starts_with("orderbook:"))), "spread");
}

#[tokio::test]
async fn books_work_with_the_shipped_configuration_of_redis() {
    let app = TestApp::builder().config("[orderbook]\nrequire_fence = false").spawn().await;
    create(&app, "GRID").await;
    place(&app, "b", "buy", "4", "2").await;
    place(&app, "s", "sell", "4", "2").await;
    report(&app, &[fill("t", "b", "s", "4", "1")]).await.expect(200);
    create_levels(&app, "LEVELS").await;
    let levels: Vec<_> = (1..=600).map(|n| json!({ "price": n.to_string(), "quantity": "1" })).collect();
    app.put("/orderbooks/LEVELS", json!({ "bids": levels, "asks": [] })).await.expect(200);
    let moved = app.get("/orderbooks/GRID/deltas?after=1&wait_ms=1000").await.expect(200).json();
    assert_eq!(moved["more"], false);
    eventually("events are published", async || {
        app.get("/pubsub/orderbook:GRID/latest").await.expect(200).json()["items"]
            .as_array()
            .is_some_and(|all| !all.is_empty())
    })
    .await;
}

#[tokio::test]
async fn a_full_redis_still_cancels_orders() {
    let app = without_fence().await;
    create(&app, "GRID").await;
    for id in ["a", "b", "c", "d", "e"] {
        place(&app, id, "buy", "4", "1").await;
    }
    place(&app, "s", "sell", "5", "1").await;
    let _: String = app.redis().command(&["CONFIG", "SET", "maxmemory", "1"]);
    app.post("/orderbooks/GRID/orders", order("f", "buy", "4", "1")).await.expect_problem(507, "redis-out-of-memory");
    let first = app.get("/orderbooks/GRID/orders?side=buy&limit=2").await.expect(200).json();
    let cursor = first["next_cursor"].as_str().expect("a cursor");
    let second = app.get(&format!("/orderbooks/GRID/orders?side=buy&limit=2&cursor={cursor}")).await.expect(200).json();
    assert_eq!(second["items"][0]["order_id"], "c", "{second}");
    let reduced = app.patch("/orderbooks/GRID/orders/b", json!({ "quantity": "0.5" })).await.expect(200).json();
    assert_eq!(reduced["remaining"], "0.500");
    app.patch("/orderbooks/GRID/orders/b", json!({ "quantity": "2" })).await.expect_problem(507, "redis-out-of-memory");
    // As after a failover: the book begins a new generation.
    let generation = view(&app).await["generation"].clone();
    let _: i64 = app.redis().command(&["HDEL", "orderbook:{GRID}:state", "server"]);
    assert_ne!(view(&app).await["generation"], generation);
    app.delete("/orderbooks/GRID/orders/a").await.expect(200);
    let batch = app.post("/orderbooks/GRID/orders/batch", json!({ "cancel": ["b"] })).await.expect(200).json();
    assert_eq!(batch["cancel"][0]["status"], 200, "{batch}");
    let all = app.delete("/orderbooks/GRID/orders?owner=owner-buy").await.expect(200).json();
    assert_eq!(all["cancelled"], 3, "{all}");
    assert_eq!(app.delete("/orders?owner=owner-sell").await.expect(200).json()["cancelled"], 1);
    let settings = json!({ "mode": "store", "kind": "orders" });
    let problem = app.put("/orderbooks/NEW/settings", settings).await.expect_problem(507, "redis-out-of-memory");
    assert_eq!(problem["outcome"], "not_applied", "{problem}");
    app.get("/orderbooks/NEW/settings").await.expect_problem(404, "book-not-found");
    let _: String = app.redis().command(&["CONFIG", "SET", "maxmemory", "0"]);
    assert_eq!(view(&app).await["orders"], 0);
}

#[tokio::test]
async fn a_refusal_by_every_book_is_no_success() {
    let app = TestApp::builder().redis_options(&["--save", ""]).spawn().await;
    create(&app, "GRID").await;
    place(&app, "a", "buy", "4", "1").await;
    let _: String = app.redis().command(&["CONFIG", "SET", "min-replicas-to-write", "1"]);
    let problem = app.delete("/orders?owner=owner-buy").await.expect_problem(503, "redis-writes-refused");
    assert_eq!(problem["outcome"], "not_applied", "{problem}");
    let _: String = app.redis().command(&["CONFIG", "SET", "min-replicas-to-write", "0"]);
    let _: String = app.redis().command(&["ACL", "SETUSER", "default", "-zrem"]);
    let problem = app.delete(BOOK).await.expect_problem(503, "redis-denied");
    assert_eq!(problem["outcome"], "applied", "the book is gone, only its listing stays: {problem}");
    app.get(BOOK).await.expect_problem(404, "book-not-found");
    let _: String = app.redis().command(&["ACL", "SETUSER", "default", "+zrem"]);
    app.delete(BOOK).await.expect(204);
}

#[tokio::test]
async fn the_parts_of_a_snapshot_that_redis_refused_are_deleted() {
    let app = without_fence().await;
    create(&app, "GRID").await;
    let full = &["CONFIG", "SET", "maxmemory", "1"];
    let lines: String = (0..250).map(|n| order(&format!("o{n}"), "buy", "4", "1").to_string() + "\n").collect();
    let _: String = app.redis().command(full);
    let problem = app.send(Method::PUT, BOOK, &[NDJSON], lines).await.expect_problem(507, "redis-out-of-memory");
    assert_eq!(problem["outcome"], "not_applied", "{problem}");
    let keys = app.redis().keys();
    assert!(!keys.iter().any(|key| key.contains("next")), "{keys:?}");
}
