//! Expired orders: neither visible nor fillable, regardless of any sweeper.

use std::time::Duration;

use serde_json::json;

use super::{create, fill, place, queue, report, view, without_fence};
use crate::support::{START, TestApp, eventually};

#[tokio::test]
async fn expired_orders_are_in_no_view_list_or_fill() {
    let app = without_fence().await;
    create(&app, "GRID").await;
    // More than one script call ends.
    for n in 0..200 {
        place(&app, &format!("b{n}"), "buy", "4", "1").await;
    }
    let long = json!({ "order_id": "long", "owner": "ann", "side": "buy", "price": "3", "quantity": "1",
        "expires_at": START + 86_400_000 });
    app.post("/orderbooks/GRID/orders", long).await.expect(201);
    place(&app, "s", "sell", "4", "1").await;
    app.clock().advance(Duration::from_millis(15 * 60_000 - 1));
    assert_eq!(view(&app).await["orders"], 202);
    app.clock().advance(Duration::from_millis(1));
    let refused = report(&app, &[fill("t", "b0", "s", "4", "1")]).await;
    refused.expect_violation(409, "fill-refused", "/fills/0/buy_order_id");
    let best = app.get("/orderbooks/GRID/best").await.expect(200).json();
    assert_eq!(
        (&best["bid"]["price"], &best["bid"]["orders"], &best["ask"]),
        (&json!("3.00"), &json!(1), &json!(null))
    );
    assert_eq!(queue(&app, "buy").await, ["long"]);
    assert_eq!(app.get("/orderbooks/GRID/orders?owner=owner-buy").await.json()["items"], json!([]));
    let ended = app.get("/orderbooks/GRID/orders/b7").await.expect(200).json();
    assert_eq!(ended["status"], "expired");
    app.delete("/orderbooks/GRID/orders/b7").await.expect_problem(409, "order-expired");
    let late = app.patch("/orderbooks/GRID/orders/b7", json!({ "quantity": "2" })).await;
    late.expect_problem(409, "order-expired");
}

#[tokio::test]
async fn expired_orders_are_gone_without_a_sweeper() {
    let app = without_fence().await;
    create(&app, "GRID").await;
    // The follower sweeps the books of the list only.
    let _: i64 = app.redis().command(&["ZREM", "orderbooks", "GRID"]);
    for n in 0..70 {
        place(&app, &format!("b{n}"), "buy", "4", "1").await;
    }
    place(&app, "s", "sell", "4", "1").await;
    let placed = app.get("/orderbooks/GRID/orders/b0").await.expect(200).json();
    let later = placed["expires_at"].as_i64().expect("a time") + 60_000;
    for id in ["b3", "s"] {
        app.patch(&format!("/orderbooks/GRID/orders/{id}"), json!({ "expires_at": later })).await.expect(200);
    }
    // The earliest end is that of an order which ends otherwise: the next one counts.
    let soon = json!({ "order_id": "soon", "owner": "ann", "side": "buy", "price": "5", "quantity": "1",
        "expires_at": START + 1_000 });
    app.post("/orderbooks/GRID/orders", soon).await.expect(201);
    app.delete("/orderbooks/GRID/orders/soon").await.expect(200);
    app.clock().advance(Duration::from_mins(15));
    let refused = report(&app, &[fill("t", "b0", "s", "4", "1")]).await;
    refused.expect_violation(409, "fill-refused", "/fills/0/buy_order_id");
    let book = view(&app).await;
    assert_eq!((&book["bids"][0]["quantity"], &book["orders"]), (&json!("1.000"), &json!(2)), "{book}");
    app.clock().advance(Duration::from_secs(60));
    let book = view(&app).await;
    assert_eq!((&book["bids"], &book["asks"]), (&json!([]), &json!([])));
}

#[tokio::test]
async fn expired_orders_leave_an_idle_book() {
    let app = TestApp::spawn().await;
    create(&app, "GRID").await;
    place(&app, "a", "buy", "4", "1").await;
    app.clock().advance(Duration::from_secs(15 * 60));
    eventually("the sweeper ends the order", async || {
        app.redis().command::<i64>(&["HLEN", "orderbook:{GRID}:orders"]) == 0
    })
    .await;
}

#[tokio::test]
async fn a_book_that_does_not_change_is_deleted_and_every_key_ends() {
    let app = TestApp::builder().config("[orderbook]\nbook_life = \"8d\"").spawn().await;
    create(&app, "GRID").await;
    place(&app, "a", "buy", "4", "1").await;
    place(&app, "s", "sell", "4", "1").await;
    app.patch("/orderbooks/GRID/orders/s", json!({ "price": "5" })).await.expect(200);
    let redis = app.redis();
    for key in redis.keys().into_iter().filter(|key| key.contains("{GRID}")) {
        let ttl: i64 = redis.command(&["PTTL", &key]);
        assert!(ttl > 0 && ttl <= 8 * 86_400_000, "{key}: {ttl}");
    }
}
