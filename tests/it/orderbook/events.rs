//! Events: every change reaches the channels, in order, even if the replica that made it dies.

use std::time::Duration;

use serde_json::{Value, json};

use super::{create, fill, place, report, without_fence};
use crate::support::{TestApp, eventually};

async fn history(app: &TestApp, channel: &str) -> Vec<Value> {
    let page = app.get(&format!("/pubsub/{channel}/history?order=asc")).await.expect(200).json();
    page["items"].as_array().expect("items").clone()
}

#[tokio::test]
async fn owners_learn_what_becomes_of_their_orders() {
    let app = without_fence().await;
    create(&app, "GRID").await;
    place(&app, "b", "buy", "4", "10").await;
    place(&app, "s", "sell", "4", "4").await;
    app.patch("/orderbooks/GRID/orders/b", json!({ "quantity": "9" })).await.expect(200);
    report(&app, &[fill("t1", "b", "s", "4", "4")]).await.expect(200);
    app.delete("/orderbooks/GRID/orders/b").await.expect(200);
    eventually("the owner has all events", async || history(&app, "orders:owner-buy").await.len() == 4).await;
    let events = history(&app, "orders:owner-buy").await;
    let types: Vec<_> = events.iter().map(|event| event["message_type"].as_str().expect("a type")).collect();
    assert_eq!(types, ["Created", "Updated", "Matched", "Cancelled"]);
    let matched = &events[2]["data"];
    for (field, value) in [
        ("order_id", "b"),
        ("user_id", "owner-buy"),
        ("symbol", "GRID"),
        ("filled_quantity", "4.000"),
        ("quantity", "9.000"),
        ("status", "partially_filled"),
        ("trade_id", "t1"),
        ("side", "buy"),
        ("price", "4.00"),
    ] {
        assert_eq!(matched[field], value, "{matched}");
    }
    // The events have the form that the channel's schema requires.
    let repeated = json!({ "message_type": "Matched", "data": matched });
    app.post("/pubsub/orders:owner-buy", repeated).await.expect(201);
}

#[tokio::test]
async fn an_expired_order_is_an_event_with_its_reason() {
    let app = TestApp::spawn().await;
    create(&app, "GRID").await;
    place(&app, "b", "buy", "4", "10").await;
    app.clock().advance(std::time::Duration::from_secs(15 * 60));
    eventually("the owner learns of it", async || {
        let events = history(&app, "orders:owner-buy").await;
        events.last().is_some_and(|event| event["data"]["reason"] == "expired")
    })
    .await;
}

#[tokio::test]
async fn the_channel_of_a_book_has_its_deltas() {
    let app = TestApp::spawn().await;
    create(&app, "GRID").await;
    create(&app, "zone-7:interval").await;
    place(&app, "b", "buy", "4", "10").await;
    let last = place(&app, "s", "sell", "5", "4").await["sequence"].clone();
    let latest = async || app.get("/pubsub/orderbook:GRID/latest").await.expect(200).json()["items"][0].clone();
    eventually("the last delta is published", async || latest().await["data"]["last_sequence"] == last).await;
    let book = super::view(&app).await;
    let message = latest().await;
    assert_eq!((&message["message_type"], &message["data"]["checksum"]), (&json!("OrderBookDelta"), &book["checksum"]));
    let other = json!({ "order_id": "z", "owner": "ann", "side": "buy", "price": "1", "quantity": "1" });
    app.post("/orderbooks/zone-7:interval/orders", other).await.expect(201);
    eventually("books of segments have a channel", async || {
        let items = app.get("/pubsub/orderbook:zone-7:interval/latest").await.expect(200).json();
        items["items"][0]["data"]["changes"][0]["price"] == "1.00"
    })
    .await;
}

#[tokio::test]
async fn another_replica_goes_on_where_the_first_one_stopped() {
    let app = TestApp::spawn().await;
    create(&app, "GRID").await;
    place(&app, "a", "buy", "4", "1").await;
    eventually("the first event", async || history(&app, "orders:owner-buy").await.len() == 1).await;
    let other = TestApp::builder().beside(&app).spawn().await;
    place(&other, "b", "buy", "4", "1").await;
    eventually("one of both follows", async || history(&app, "orders:owner-buy").await.len() == 2).await;
    app.app().deps.tasks.stop();
    place(&other, "c", "buy", "4", "1").await;
    // The turn of a replica that has died ends.
    other.clock().advance(Duration::from_secs(3));
    eventually("the other one takes over", async || history(&other, "orders:owner-buy").await.len() == 3).await;
    let ids: Vec<_> =
        history(&other, "orders:owner-buy").await.iter().map(|event| event["data"]["order_id"].clone()).collect();
    assert_eq!(ids, ["a", "b", "c"]);
}
