//! Fills of a matching engine: all or none, each trade once, only by the holder of the lock.

use axum::http::Method;
use serde_json::{Value, json};

use super::{
    BOOK, create, create_levels, digest, fill, level, levels, order, place, report, send, view, without_fence,
};
use crate::support::TestApp;

#[tokio::test]
async fn fills_reduce_both_orders_and_end_what_is_filled() {
    let app = without_fence().await;
    create(&app, "GRID").await;
    place(&app, "b", "buy", "5", "10").await;
    place(&app, "s1", "sell", "4", "4").await;
    place(&app, "s2", "sell", "4.5", "8").await;
    let mut first = fill("t1", "b", "s1", "4.25", "4");
    first["taker_side"] = json!("buy");
    let done = report(&app, &[first, fill("t2", "b", "s2", "5", "5.5")]).await.expect(200).json();
    assert_eq!(
        (&done["fills"][0]["buy_remaining"], &done["fills"][0]["sell_remaining"]),
        (&json!("6.000"), &json!("0.000"))
    );
    assert_eq!(
        (&done["fills"][1]["buy_remaining"], &done["fills"][1]["sell_remaining"]),
        (&json!("0.500"), &json!("2.500"))
    );
    assert_eq!(done["fills"][1]["sequence"], done["sequence"]);
    let book = view(&app).await;
    assert_eq!(levels(&book, "bids"), [level("5.00", "0.500", 1)]);
    assert_eq!(levels(&book, "asks"), [level("4.50", "2.500", 1)]);
    let status = async |id: &str| app.get(&format!("/orderbooks/GRID/orders/{id}")).await.json()["status"].clone();
    assert_eq!((status("b").await, status("s1").await), (json!("partially_filled"), json!("filled")));
    let tape: Vec<(String, Vec<String>)> = app.redis().command(&["XRANGE", "tape:{GRID}", "-", "+"]);
    let trade = tape.first().map(|(_, fields)| fields.clone()).expect("a trade");
    let fields: Vec<_> =
        trade.chunks(2).map(|pair| (pair[0].as_str(), pair[1].as_str())).filter(|(name, _)| *name != "t").collect();
    assert_eq!(
        fields,
        [
            ("id", "t1"),
            ("p", "4.25"),
            ("q", "4.000"),
            ("side", "buy"),
            ("buyer", "owner-buy"),
            ("seller", "owner-sell"),
            ("bo", "b"),
            ("so", "s1")
        ]
    );
}

#[tokio::test]
async fn fills_become_trades_and_candles_of_the_market() {
    let app = without_fence().await;
    create(&app, "GRID").await;
    place(&app, "b", "buy", "5", "10").await;
    place(&app, "s", "sell", "4", "10").await;
    report(&app, &[fill("t1", "b", "s", "4.25", "4")]).await.expect(200);
    let trades = app.get("/market/trades/GRID").await.expect(200).json();
    let trade = &trades["items"][0];
    assert_eq!((&trade["trade_id"], &trade["price"]), (&json!("t1"), &json!("4.25")), "{trades}");
    let candles = app.get("/market/candles/GRID?resolution=1m").await.expect(200).json();
    let candle = &candles["items"][0];
    assert_eq!((&candle["close"], &candle["trades"]), (&json!("4.25"), &json!(1)), "{candles}");
}

#[tokio::test]
async fn a_trade_is_applied_once() {
    let app = without_fence().await;
    create(&app, "GRID").await;
    place(&app, "b", "buy", "5", "10").await;
    place(&app, "s", "sell", "4", "10").await;
    let first = report(&app, &[fill("t1", "b", "s", "4", "4")]).await.expect(200).json();
    let before = digest(&app);
    let again = report(&app, &[fill("t1", "b", "s", "4.0", "4.000")]).await.expect(200).json();
    assert_eq!(again["fills"][0]["replayed"], true);
    for field in ["sequence", "buy_remaining", "sell_remaining"] {
        assert_eq!(again["fills"][0][field], first["fills"][0][field]);
    }
    let other = report(&app, &[fill("t1", "b", "s", "4", "5")]).await;
    other.expect_violation(409, "fill-refused", "/fills/0/trade_id");
    assert!(digest(&app) == before, "a call without effect changed the book");
    // A retry that grew: only the new trade is applied.
    let both = [fill("t1", "b", "s", "4", "4"), fill("t2", "b", "s", "4", "6")];
    let grown = report(&app, &both).await.expect(200).json();
    assert_eq!((&grown["fills"][0]["replayed"], &grown["fills"][1]["replayed"]), (&json!(true), &json!(false)));
    assert_eq!(view(&app).await["orders"], 0);
    report(&app, &both).await.expect(200);
}

#[tokio::test]
async fn one_wrong_fill_refuses_all_by_name() {
    let app = without_fence().await;
    create(&app, "GRID").await;
    place(&app, "b", "buy", "5", "10").await;
    place(&app, "s", "sell", "4", "10").await;
    place(&app, "s2", "sell", "4", "10").await;
    let before = digest(&app);
    let cases: &[(Value, &str)] = &[
        (fill("t2", "x", "s", "4", "1"), "buy_order_id"),
        (fill("t2", "b", "x", "4", "1"), "sell_order_id"),
        (fill("t2", "s", "s", "4", "1"), "buy_order_id"),
        (fill("t2", "b", "b", "4", "1"), "sell_order_id"),
        (fill("t2", "b", "s", "5.01", "1"), "price"),
        (fill("t2", "b", "s", "3.99", "1"), "price"),
        (fill("t2", "b", "s", "4", "9.001"), "quantity"),
    ];
    for (wrong, field) in cases {
        let refused = report(&app, &[fill("t1", "b", "s2", "4", "1"), wrong.clone()]).await;
        refused.expect_violation(409, "fill-refused", &format!("/fills/1/{field}"));
    }
    for (wrong, slug, field) in [
        (fill("t1", "b", "s", "4", "1"), "invalid-body", "trade_id"),
        (fill("t2", "b", "s", "4", "0"), "quantity-out-of-range", "quantity"),
        (fill("t2", "b", "s", "4.001", "1"), "off-tick", "price"),
        (fill("t2", "b", "s", "4", "0.0001"), "off-lot", "quantity"),
    ] {
        let refused = report(&app, &[fill("t1", "b", "s2", "4", "1"), wrong]).await;
        refused.expect_violation(422, slug, &format!("/fills/1/{field}"));
    }
    report(&app, &[]).await.expect_violation(422, "invalid-body", "/fills");
    assert!(digest(&app) == before, "a call without effect changed the book");
}

#[tokio::test]
async fn a_paused_matching_engine_changes_nothing() {
    let app = TestApp::spawn().await;
    create(&app, "GRID").await;
    place(&app, "b", "buy", "5", "10").await;
    place(&app, "s", "sell", "4", "10").await;
    report(&app, &[fill("t1", "b", "s", "4", "1")]).await.expect_violation(428, "fence-required", "/Fencing-Token");
    let lock = async || {
        let grant = app.post("/locks/order_matching:GRID", json!({ "ttl_ms": 10_000 })).await.expect(201).json();
        app.send(
            Method::DELETE,
            "/locks/order_matching:GRID",
            &[("lock-token", grant["token"].as_str().expect("one"))],
            "",
        )
        .await
        .expect(204);
        grant["fencing_token"].to_string()
    };
    let (paused, current) = (lock().await, lock().await);
    let body = |trade: &str| json!({ "fills": [fill(trade, "b", "s", "4", "1")] });
    let path = "/orderbooks/GRID/fills";
    send(&app, Method::POST, path, &[("fencing-token", &current)], body("t1")).await.expect(200);
    let before = digest(&app);
    let late = send(&app, Method::POST, path, &[("fencing-token", &paused)], body("t2")).await;
    late.expect_problem(409, "stale-fence");
    let settings = app.get("/orderbooks/GRID/settings").await.expect(200).json();
    let late = send(&app, Method::PUT, "/orderbooks/GRID/settings", &[("fencing-token", &paused)], settings).await;
    late.expect_problem(409, "stale-fence");
    let late = send(&app, Method::DELETE, BOOK, &[("fencing-token", &paused)], json!(null)).await;
    late.expect_problem(409, "stale-fence");
    assert!(digest(&app) == before, "a call without effect changed the book");
    // Orders of users carry no token.
    app.post("/orderbooks/GRID/orders", order("b2", "buy", "5", "1")).await.expect(201);
    send(&app, Method::POST, path, &[("fencing-token", &current)], body("t3")).await.expect(200);
}

#[tokio::test]
async fn a_filled_order_leaves_every_key_and_its_id_lives_to_its_own_end() {
    let app = without_fence().await;
    create(&app, "GRID").await;
    place(&app, "b", "buy", "5", "1").await;
    place(&app, "s", "sell", "4", "1").await;
    report(&app, &[fill("t1", "b", "s", "4", "1")]).await.expect(200);
    let count = |kind: &str, key: &str| app.redis().command::<i64>(&[kind, &format!("orderbook:{{GRID}}:{key}")]);
    for (kind, key) in
        [("ZCARD", "expiry"), ("ZCARD", "buy"), ("ZCARD", "sell"), ("HLEN", "orders"), ("HLEN", "levels")]
    {
        assert_eq!(count(kind, key), 0, "{key}");
    }
    app.clock().advance(std::time::Duration::from_secs(4 * 3_600));
    let placed = place(&app, "b", "buy", "5", "2").await;
    assert_eq!(placed["quantity"], "2.000", "the id is free again after two hours");
    app.clock().advance(std::time::Duration::from_secs(14 * 60));
    assert_eq!(view(&app).await["orders"], 1);
}

#[tokio::test]
async fn a_book_of_levels_takes_no_orders_and_no_fills() {
    let app = without_fence().await;
    create_levels(&app, "GRID").await;
    for reply in [
        app.post("/orderbooks/GRID/orders", order("a", "buy", "4", "1")).await,
        app.get("/orderbooks/GRID/orders/a").await,
        app.delete("/orderbooks/GRID/orders/a").await,
        app.get("/orderbooks/GRID/orders?side=buy").await,
        report(&app, &[fill("t", "a", "b", "4", "1")]).await,
    ] {
        reply.expect_problem(409, "book-is-levels");
    }
}
