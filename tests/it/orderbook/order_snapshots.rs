//! Snapshots of orders as lines of JSON: they replace everything or nothing.

use axum::http::Method;
use serde_json::{Value, json};

use super::{
    BOOK, commands, create, create_levels, digest, fill, level, levels, order, place, queue, report, view,
    without_fence,
};
use crate::support::{Cluster, NDJSON, Reply, START, TestApp, eventually, ndjson};
use crate::timeseries_bulk::open_body;

async fn put(app: &TestApp, orders: &[Value]) -> Reply {
    app.send(Method::PUT, BOOK, &[NDJSON], ndjson(orders)).await
}

/// Orders of one price whose ids are in no order.
fn many(count: u32) -> Vec<Value> {
    (0..count)
        .map(|n| {
            let mut order = order(&format!("{:08x}", n.wrapping_mul(2_654_435_761)), "sell", "5", "1");
            order["owner"] = json!(format!("o{}", n % 7));
            order
        })
        .collect()
}

fn ids(orders: &[Value]) -> Vec<String> {
    orders.iter().map(|order| order["order_id"].as_str().expect("an id").to_owned()).collect()
}

async fn until_a_part_is_staged(app: &TestApp) {
    eventually("a part is staged", async || {
        app.redis().command::<i64>(&["EXISTS", "orderbook:{GRID}:next:progress"]) == 1
    })
    .await;
}

#[tokio::test]
async fn a_snapshot_replaces_all_orders_and_keeps_the_order_of_its_lines() {
    let app = without_fence().await;
    create(&app, "GRID").await;
    place(&app, "ghost", "buy", "6", "1").await;
    place(&app, "kept", "buy", "4", "1").await;
    let before = view(&app).await;
    let mut snapshot = many(450);
    snapshot.push(order("kept", "buy", "4.5", "3"));
    let replaced = put(&app, &snapshot).await.expect(200).json();
    assert_eq!((&replaced["orders"], &replaced["generation"]), (&json!(451), &before["generation"]));
    let book = view(&app).await;
    assert_eq!((&book["sequence"], &book["orders"]), (&replaced["sequence"], &json!(451)));
    assert!(book["sequence"].as_u64() > before["sequence"].as_u64());
    assert_eq!(levels(&book, "bids"), [level("4.50", "3.000", 1)]);
    assert_eq!(levels(&book, "asks"), [level("5.00", "450.000", 450)]);
    assert_eq!(queue(&app, "sell").await, ids(&snapshot[..450]));
    app.get("/orderbooks/GRID/orders/ghost").await.expect_problem(404, "order-not-found");
    // What is placed later is behind the snapshot, and works like any other order.
    place(&app, "0", "sell", "5", "1").await;
    assert_eq!(queue(&app, "sell").await.last().map(String::as_str), Some("0"));
    let first = ids(&snapshot)[0].clone();
    place(&app, "b", "buy", "5", "2").await;
    report(&app, &[fill("t", "b", &first, "5", "1")]).await.expect(200);
    app.delete(&format!("/orderbooks/GRID/orders/{}", ids(&snapshot)[1])).await.expect(200);
    let own = app.get("/orderbooks/GRID/orders?owner=o3&limit=500").await.expect(200).json();
    assert_eq!(own["items"].as_array().map(Vec::len), Some(64));
    let done = app.delete("/orderbooks/GRID/orders?owner=o3").await.expect(200).json();
    assert_eq!(done["cancelled"], 64);
    // A client that follows the book reads it again.
    let sequence = &before["sequence"];
    let deltas = app.get(&format!("/orderbooks/GRID/deltas?after={sequence}")).await.expect(200).json();
    assert_eq!(deltas["kind"], "snapshot");
    put(&app, &[]).await.expect(200);
    let empty = view(&app).await;
    assert_eq!((&empty["bids"], &empty["asks"], &empty["orders"]), (&json!([]), &json!([]), &json!(0)));
    let left: Vec<_> = app.redis().keys().into_iter().filter(|key| key.contains(":next:")).collect();
    assert_eq!(left, Vec::<String>::new());
}

#[tokio::test]
async fn a_mistake_in_the_last_line_leaves_the_book_untouched() {
    let app = without_fence().await;
    create(&app, "GRID").await;
    place(&app, "a", "buy", "4", "1").await;
    put(&app, &[order("a", "buy", "4", "1"), order("b", "sell", "7", "1")]).await.expect(200);
    let before = book_keys(&app);
    let snapshot = many(230);
    let with = |field: &str, value: Value| {
        let mut bad = order("last", "buy", "4", "1");
        bad[field] = value;
        bad
    };
    for (bad, slug, field) in [
        (with("order_id", snapshot[3]["order_id"].clone()), "invalid-body", "order_id"),
        (with("order_id", json!("batch")), "invalid-body", "order_id"),
        (with("price", json!(4)), "invalid-body", "price"),
        (with("price", json!("4.001")), "off-tick", "price"),
        (with("price", json!("0")), "price-out-of-band", "price"),
        (with("quantity", json!("0.0001")), "off-lot", "quantity"),
        (with("quantity", json!("0")), "quantity-out-of-range", "quantity"),
        (with("expires_at", json!(START + 8 * 86_400_000)), "invalid-body", "expires_at"),
        (with("owner", json!(null)), "invalid-body", "owner"),
        (with("size", json!("1")), "invalid-body", "size"),
    ] {
        let all = [snapshot.as_slice(), &[bad]].concat();
        put(&app, &all).await.expect_violation(422, slug, &format!("/231/{field}"));
        assert!(book_keys(&app) == before, "{field} changed the book");
    }
    let cut = format!("{}{{\"order_id\":", ndjson(&snapshot));
    app.send(Method::PUT, BOOK, &[NDJSON], cut).await.expect_problem(400, "invalid-json");
    let tagged = format!("{BOOK}?source_sequence=1");
    app.put(&tagged, json!({ "bids": [], "asks": [] })).await.expect_violation(
        422,
        "invalid-query",
        "/source_sequence",
    );
    app.put(BOOK, json!({ "bids": [], "asks": [] })).await.expect_problem(409, "book-mode");
    create_levels(&app, "LEVELS").await;
    let levels = app.send(Method::PUT, "/orderbooks/LEVELS", &[NDJSON], "").await;
    levels.expect_problem(409, "book-is-levels");
    app.send(Method::PUT, "/orderbooks/NONE", &[NDJSON], "").await.expect_problem(404, "book-not-found");
    assert!(book_keys(&app) == before, "a call without effect changed the book");
}

/// The keys of the book without those of a snapshot that was not completed, and the indexes of owners, which may name its orders.
fn book_keys(app: &TestApp) -> Vec<(String, Vec<String>)> {
    digest(app).into_iter().filter(|(key, _)| !key.contains(":next:") && !key.contains(":owner:")).collect()
}

#[tokio::test]
async fn limits_hold_for_snapshots() {
    let limits = "[orderbook]\nrequire_fence = false\nmax_orders = 150\nmax_orders_per_owner = 120";
    let app = TestApp::builder().config(limits).spawn().await;
    create(&app, "GRID").await;
    let mut all = many(151);
    put(&app, &all).await.expect_problem(409, "book-full");
    all.truncate(150);
    all.iter_mut().take(121).for_each(|order| order["owner"] = json!("greedy"));
    put(&app, &all).await.expect_problem(409, "owner-full");
    all[0]["owner"] = json!("other");
    // What was staged before does not count.
    for _ in 0..3 {
        put(&app, &all).await.expect(200);
        put(&app, &all[..149]).await.expect(200);
    }
    let mut one_more = order("more", "buy", "1", "1");
    one_more["owner"] = json!("greedy");
    app.post("/orderbooks/GRID/orders", one_more.clone()).await.expect_problem(409, "owner-full");
    app.delete(&format!("/orderbooks/GRID/orders/{}", ids(&all)[1])).await.expect(200);
    app.post("/orderbooks/GRID/orders", one_more).await.expect(201);
    let own = app.delete("/orderbooks/GRID/orders?owner=greedy").await.expect(200).json();
    assert_eq!((&own["cancelled"], &own["more"]), (&json!(120), &json!(false)));
}

#[tokio::test]
async fn a_snapshot_does_not_count_the_orders_of_an_owner_for_each_part() {
    let app = without_fence().await;
    create(&app, "GRID").await;
    let all: Vec<_> = (0..1_000).map(|n| order(&format!("o{n}"), "buy", "4", "1")).collect();
    put(&app, &all).await.expect(200);
    // The index has the ids of the first snapshot, then those of both.
    for prefix in ["o", "p"] {
        let next: Vec<_> = (0..1_000).map(|n| order(&format!("{prefix}{n}"), "buy", "4", "1")).collect();
        let before = commands(&app, "hmget");
        put(&app, &next).await.expect(200);
        // Two for the state of the book in each of eleven parts.
        let taken = commands(&app, "hmget") - before;
        assert!(taken < 35, "a snapshot took {taken} HMGET");
    }
    let too_many: Vec<_> = (0..1_001).map(|n| order(&format!("q{n}"), "buy", "4", "1")).collect();
    put(&app, &too_many).await.expect_problem(409, "owner-full");
    put(&app, &all).await.expect(200);
}

#[tokio::test]
async fn orders_that_end_while_a_snapshot_has_them_too_stay_those_of_their_owner() {
    let app = without_fence().await;
    create(&app, "GRID").await;
    let all: Vec<_> = (0..150).map(|n| order(&format!("o{n}"), "buy", "4", "1")).collect();
    put(&app, &all[..50]).await.expect(200);
    let (pieces, body) = open_body();
    let slow = app.send(Method::PUT, BOOK, &[NDJSON], body);
    let meanwhile = async {
        pieces.send(Ok(ndjson(&all).into())).expect("the request runs");
        until_a_part_is_staged(&app).await;
        let own = app.delete("/orderbooks/GRID/orders?owner=owner-buy").await.expect(200).json();
        assert_eq!(own["cancelled"], 50, "{own}");
        drop(pieces);
    };
    let (slow, ()) = tokio::join!(slow, meanwhile);
    assert_eq!(slow.expect(200).json()["orders"], 150);
    let listed = app.get("/orderbooks/GRID/orders?owner=owner-buy&limit=500").await.expect(200).json();
    assert_eq!(listed["items"].as_array().map(Vec::len), Some(150));
}

#[tokio::test]
async fn expired_orders_of_a_snapshot_are_left_out_and_others_expire_later() {
    let app = without_fence().await;
    create(&app, "GRID").await;
    let until = |id: &str, at: i64| {
        let mut order = order(id, "buy", "4", "1");
        order["expires_at"] = json!(at);
        order
    };
    let replaced =
        put(&app, &[until("gone", START), until("soon", START + 1_000), order("later", "buy", "4", "1")]).await;
    assert_eq!(replaced.expect(200).json()["orders"], 2);
    assert_eq!(queue(&app, "buy").await, ["soon", "later"]);
    app.clock().advance(std::time::Duration::from_secs(1));
    assert_eq!(queue(&app, "buy").await, ["later"]);
    assert_eq!(levels(&view(&app).await, "bids"), [level("4.00", "1.000", 1)]);
}

#[tokio::test]
async fn an_older_snapshot_is_refused_and_a_later_one_interrupts() {
    let app = without_fence().await;
    create(&app, "GRID").await;
    let numbered = async |source: u64, orders: &[Value]| {
        app.send(Method::PUT, &format!("{BOOK}?source_sequence={source}"), &[NDJSON], ndjson(orders)).await
    };
    numbered(7, &many(3)).await.expect(200);
    let before = digest(&app);
    for older in [7, 6] {
        numbered(older, &[]).await.expect_problem(409, "stale-snapshot");
    }
    assert!(digest(&app) == before, "a call without effect changed the book");
    // One snapshot waits for its rest while another one is completed.
    let (pieces, body) = open_body();
    let slow = app.send(Method::PUT, BOOK, &[NDJSON], body);
    let fast = async {
        pieces.send(Ok(ndjson(&many(150)).into())).expect("the request runs");
        until_a_part_is_staged(&app).await;
        // Orders are placed and cancelled meanwhile; the orders of the other snapshot are no owner's yet.
        place(&app, "meanwhile", "buy", "3", "1").await;
        let own = app.get("/orderbooks/GRID/orders?owner=o5").await.expect(200).json();
        assert_eq!(own["items"], json!([]));
        numbered(8, &[order("winner", "sell", "5", "1")]).await.expect(200);
        drop(pieces);
    };
    let (slow, ()) = tokio::join!(slow, fast);
    slow.expect_problem(409, "stale-snapshot");
    assert_eq!(queue(&app, "sell").await, ["winner"]);
    assert_eq!(queue(&app, "buy").await, Vec::<String>::new());
}

#[tokio::test]
async fn owners_keep_their_orders_if_they_cancel_while_a_snapshot_is_written() {
    let app = without_fence().await;
    create(&app, "GRID").await;
    place(&app, "old", "buy", "3", "1").await;
    let (pieces, body) = open_body();
    let snapshot: Vec<Value> = (0..150).map(|n| order(&format!("n{n}"), "buy", "4", "1")).collect();
    let slow = app.send(Method::PUT, BOOK, &[NDJSON], body);
    let others = async {
        pieces.send(Ok(ndjson(&snapshot).into())).expect("the request runs");
        until_a_part_is_staged(&app).await;
        let done = app.delete("/orderbooks/GRID/orders?owner=owner-buy").await.expect(200).json();
        assert_eq!(done["cancelled"], 1, "only what rests");
        drop(pieces);
    };
    let (slow, ()) = tokio::join!(slow, others);
    assert_eq!(slow.expect(200).json()["orders"], 150);
    let done = app.delete("/orderbooks/GRID/orders?owner=owner-buy").await.expect(200).json();
    assert_eq!(done["cancelled"], 150);
}

#[tokio::test]
async fn a_paused_engine_and_a_user_replace_no_orders() {
    let app = TestApp::spawn().await;
    create(&app, "GRID").await;
    put(&app, &many(1)).await.expect_problem(428, "fence-required");
    let with = async |token: &str, count: u32| {
        app.send(Method::PUT, BOOK, &[NDJSON, ("fencing-token", token)], ndjson(&many(count))).await
    };
    with("20", 2).await.expect(200);
    with("19", 150).await.expect_problem(409, "stale-fence");
    assert_eq!(queue(&app, "sell").await, ids(&many(2)));
}

#[tokio::test]
async fn snapshots_of_orders_work_on_a_cluster() {
    let cluster = Cluster::start().await;
    let config = format!("{}[orderbook]\nrequire_fence = false", cluster.config());
    let app = TestApp::builder().config(&config).spawn().await;
    for symbol in ["zone-1:interval", "zone-2:interval", "zone-3:interval"] {
        create(&app, symbol).await;
        let path = format!("/orderbooks/{symbol}");
        let replaced = app.send(Method::PUT, &path, &[NDJSON], ndjson(&many(250))).await.expect(200).json();
        assert_eq!(replaced["orders"], 250);
    }
    assert_eq!(app.delete("/orders?owner=o2").await.expect(200).json()["cancelled"], 3 * 36);
}

#[tokio::test]
async fn a_snapshot_that_redis_interrupts_leaves_the_book() {
    let app = TestApp::builder().behind_proxy().config("[orderbook]\nrequire_fence = false").spawn().await;
    create(&app, "GRID").await;
    place(&app, "old", "buy", "3", "1").await;
    let (pieces, body) = open_body();
    let slow = app.send(Method::PUT, BOOK, &[NDJSON], body);
    let cut = async {
        pieces.send(Ok(ndjson(&many(150)).into())).expect("the request runs");
        until_a_part_is_staged(&app).await;
        app.proxy().cut();
        pieces.send(Ok("\n".into())).expect("the request runs");
        drop(pieces);
    };
    let (slow, ()) = tokio::join!(slow, cut);
    slow.expect_problem(503, "redis-unavailable");
    app.proxy().heal();
    eventually("the book is back", async || app.get(BOOK).await.is(200)).await;
    assert_eq!(queue(&app, "buy").await, ["old"]);
    assert_eq!(put(&app, &many(3)).await.expect(200).json()["orders"], 3);
}
