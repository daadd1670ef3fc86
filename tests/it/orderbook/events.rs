//! Events: every change reaches the channels, in order, even if the replica that made it dies.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{create, fill, order, place, report, without_fence};
use crate::support::{RedisServer, ServiceProcess, TestApp, eventually};

async fn history(app: &TestApp, channel: &str) -> Vec<Value> {
    let page = app.get(&format!("/pubsub/{channel}/history?order=asc&limit=300")).await.expect(200).json();
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

fn of_type(events: &[Value], message_type: &str) -> Vec<Value> {
    events.iter().filter(|event| event["message_type"] == message_type).map(|event| event["data"].clone()).collect()
}

#[tokio::test]
async fn the_market_learns_of_new_best_prices() {
    let app = TestApp::spawn().await;
    create(&app, "GRID").await;
    let best = async || of_type(&history(&app, "market:events:GRID").await, "OrderBookUpdate");
    place(&app, "b", "buy", "4", "10").await;
    place(&app, "s", "sell", "4.50", "3").await;
    eventually("both prices are published", async || best().await.last().is_some_and(|last| last["spread"] == "0.50"))
        .await;
    let last = best().await.last().cloned().expect("an event");
    for (field, value) in [("best_bid", "4.00"), ("best_ask", "4.50"), ("volume", "13.000"), ("symbol", "GRID")] {
        assert_eq!(last[field], value, "{last}");
    }
    // Orders behind the best prices are no news; better prices are, at most ten in a second.
    let (before, began) = (best().await.len(), Instant::now());
    for number in 1..=20 {
        place(&app, &format!("behind-{number}"), "buy", "3", "1").await;
        place(&app, &format!("better-{number}"), "buy", &format!("4.{number:02}"), "1").await;
    }
    eventually("the last price is published", async || {
        best().await.last().is_some_and(|last| last["best_bid"] == "4.20")
    })
    .await;
    let (news, most) = (best().await.len() - before, 2 + began.elapsed().as_millis() / 100);
    assert!(u128::try_from(news).expect("few") <= most, "{news} messages, at most {most}");
    let events = history(&app, "market:events").await;
    assert_eq!(of_type(&events, "OrderBookUpdate"), best().await, "mirrored");
    for number in 1..=20 {
        app.delete(&format!("/orderbooks/GRID/orders/better-{number}")).await.expect(200);
    }
    for id in ["b", "s"] {
        app.delete(&format!("/orderbooks/GRID/orders/{id}")).await.expect(200);
    }
    app.delete("/orderbooks/GRID/orders?owner=owner-buy").await.expect(200);
    eventually("an empty book has no price", async || {
        best().await.last().is_some_and(|last| last["volume"] == "0.000" && last.get("best_bid").is_none())
    })
    .await;
}

#[tokio::test]
async fn a_fill_is_a_trade_of_both_owners_and_of_the_market() {
    let app = without_fence().await;
    create(&app, "GRID").await;
    create(&app, "zone-7:interval").await;
    place(&app, "b", "buy", "4", "10").await;
    place(&app, "s", "sell", "4", "4").await;
    report(&app, &[fill("t1", "b", "s", "4", "1.5"), fill("t2", "b", "s", "4", "1")]).await.expect(200);
    let reported = json!({ "trade_id": "t3", "price": "5", "quantity": "2", "buyer": "x", "seller": "y" });
    app.post("/trades", json!({ "symbol": "zone-7:interval", "trades": [reported] })).await.expect(201);
    let market = async || history(&app, "market:events").await;
    eventually("the trades are published", async || {
        app.clock().advance(Duration::from_secs(1));
        of_type(&market().await, "TradeExecuted").len() == 3
    })
    .await;
    let events = market().await;
    let mut trades = of_type(&events, "TradeExecuted");
    trades.sort_by_key(|trade| trade["trade_id"].to_string());
    for (field, value) in [
        ("trade_id", json!("t1")),
        ("symbol", json!("GRID")),
        ("price", json!("4")),
        ("quantity", json!("1.5")),
        ("buyer", json!("owner-buy")),
        ("seller", json!("owner-sell")),
    ] {
        assert_eq!(trades[0][field], value, "{}", trades[0]);
    }
    assert_eq!((&trades[2]["symbol"], &trades[2]["buyer"]), (&json!("zone-7:interval"), &json!("x")));
    let prices = of_type(&events, "PriceUpdate");
    let price = prices.iter().find(|price| price["symbol"] == "GRID").expect("a price");
    assert_eq!((&price["price"], &price["change_percent"]), (&json!("4"), &json!("0")));
    for (user, id) in [("owner-buy", "b"), ("owner-sell", "s")] {
        let channel = format!("trades:{user}");
        eventually("the owner has both trades", async || history(&app, &channel).await.len() == 2).await;
        let own = history(&app, &channel).await;
        assert_eq!((&own[0]["message_type"], &own[0]["data"]["order_id"]), (&json!("Matched"), &json!(id)));
        assert_eq!((&own[0]["data"]["trade_id"], &own[1]["data"]["trade_id"]), (&json!("t1"), &json!("t2")));
    }
    // The events have the form that the schemas of their channels require.
    for event in &events {
        let repeated = json!({ "message_type": event["message_type"], "data": event["data"] });
        app.post("/pubsub/market:events", repeated).await.expect(201);
    }
}

#[tokio::test]
async fn operators_are_alerted_when_changes_wait_for_five_seconds() {
    let app = TestApp::spawn().await;
    create(&app, "GRID").await;
    place(&app, "a", "buy", "4", "1").await;
    eventually("the first event", async || history(&app, "orders:owner-buy").await.len() == 1).await;
    assert!(history(&app, "system:alerts").await.is_empty());
    app.app().deps.tasks.stop();
    place(&app, "b", "buy", "4", "1").await;
    let other = TestApp::builder().beside(&app).spawn().await;
    other.clock().advance(Duration::from_secs(6));
    eventually("an alert", async || !history(&other, "system:alerts").await.is_empty()).await;
    let alerts = history(&other, "system:alerts").await;
    assert_eq!(alerts[0]["message_type"], "MarketDataDelay");
    let data = &alerts[0]["data"];
    assert_eq!((&data["value"], &data["threshold"]), (&json!("6"), &json!("5")), "{data}");
    assert!(data["summary"].as_str().is_some_and(|summary| summary.contains("GRID")), "{data}");
    other.post("/pubsub/system:alerts", json!({ "message_type": "MarketDataDelay", "data": data })).await.expect(201);
    // The book has caught up, so there is no further alert.
    place(&other, "c", "buy", "4", "1").await;
    eventually("all events", async || history(&other, "orders:owner-buy").await.len() == 3).await;
    assert_eq!(history(&other, "system:alerts").await.len(), 2);
}

#[tokio::test]
async fn a_killed_leader_loses_no_event() {
    const ORDERS: usize = 60;
    let server = RedisServer::start();
    let config = format!("redis.url = \"{}\"\n[orderbook]\nrequire_fence = false", server.url());
    let replica = async || TestApp::builder().config(&config).system_clock().spawn().await;
    let app = replica().await;
    create(&app, "GRID").await;
    app.app().deps.tasks.stop();
    drop(app);
    let turn = || server.command::<Option<i64>>(&["GET", "orderbooks:follower"]);
    let before = turn();
    let mut leader = ServiceProcess::start_on(&server, &[("GTX__ORDERBOOK__REQUIRE_FENCE", "false")]);
    leader.ready();
    eventually("the process leads", async || turn() > before).await;
    let app = replica().await;
    for number in 0..ORDERS {
        app.post("/orderbooks/GRID/orders", order(&format!("b{number}"), "buy", "4", "1")).await.expect(201);
        app.post("/orderbooks/GRID/orders", order(&format!("s{number}"), "sell", "4", "1")).await.expect(201);
        let (buy, sell) = (format!("b{number}"), format!("s{number}"));
        report(&app, &[fill(&format!("t{number}"), &buy, &sell, "4", "1")]).await.expect(200);
        if number == ORDERS / 2 {
            eventually("the leader publishes", async || !history(&app, "trades:owner-buy").await.is_empty()).await;
            leader.signal("KILL");
        }
    }
    let expected: Vec<String> = (0..ORDERS).map(|number| format!("t{number}")).collect();
    let of_channel = async |channel: &str, message_type: &str| -> Vec<String> {
        let trades = of_type(&history(&app, channel).await, message_type);
        trades.iter().map(|trade| trade["trade_id"].as_str().expect("an id").to_owned()).collect()
    };
    eventually("every trade is published", async || {
        of_channel("trades:owner-buy", "Matched").await.len() >= ORDERS
            && of_channel("market:events:GRID", "TradeExecuted").await.len() >= ORDERS
    })
    .await;
    for (channel, message_type) in
        [("trades:owner-buy", "Matched"), ("trades:owner-sell", "Matched"), ("market:events:GRID", "TradeExecuted")]
    {
        assert_eq!(of_channel(channel, message_type).await, expected, "{channel}");
    }
}
