//! Placing, reading, listing and cancelling orders, and the settings of books.

use std::time::Duration;

use serde_json::json;

use super::{BOOK, commands, create, fill, level, levels, order, place, queue, report, view};
use crate::support::TestApp;

#[tokio::test]
async fn an_order_is_placed_read_and_cancelled() {
    let app = TestApp::spawn().await;
    create(&app, "GRID").await;
    let placed = app.post("/orderbooks/GRID/orders", order("a", "buy", "4.35", "10")).await.expect(201).json();
    assert_eq!((&placed["replayed"], &placed["order"]["status"]), (&json!(false), &json!("active")));
    let read = app.get("/orderbooks/GRID/orders/a").await.expect(200).json();
    assert_eq!(read, placed["order"]);
    for (field, value) in [("price", "4.35"), ("quantity", "10.000"), ("remaining", "10.000"), ("filled", "0.000")] {
        assert_eq!(read[field], value, "{read}");
    }
    let cancelled = app.delete("/orderbooks/GRID/orders/a").await.expect(200).json();
    assert_eq!(cancelled["status"], "cancelled");
    assert_eq!(app.delete("/orderbooks/GRID/orders/a").await.expect(200).json(), cancelled);
    assert_eq!(app.get("/orderbooks/GRID/orders/a").await.expect(200).json(), cancelled);
    app.delete("/orderbooks/GRID/orders/never").await.expect_problem(404, "order-not-found");
    let book = view(&app).await;
    assert_eq!((&book["bids"], &book["orders"], &book["checksum"]), (&json!([]), &json!(0), &json!(0)));
}

#[tokio::test]
async fn an_order_is_placed_once_for_its_id() {
    let app = TestApp::spawn().await;
    create(&app, "GRID").await;
    place(&app, "a", "buy", "4.35", "10").await;
    let sequence = view(&app).await["sequence"].clone();
    // The spelling of a number is no difference.
    let again = app.post("/orderbooks/GRID/orders", order("a", "buy", "4.350", "10.0")).await.expect(201).json();
    assert_eq!(again["replayed"], true);
    let other = order("a", "buy", "4.36", "10");
    app.post("/orderbooks/GRID/orders", other).await.expect_problem(409, "order-id-reused");
    app.delete("/orderbooks/GRID/orders/a").await.expect(200);
    let ended = app.post("/orderbooks/GRID/orders", order("a", "buy", "4.35", "10")).await.expect(201).json();
    assert_eq!((&ended["replayed"], &ended["order"]["status"]), (&json!(true), &json!("cancelled")));
    let book = view(&app).await;
    assert_eq!(book["sequence"].as_u64(), sequence.as_u64().map(|sequence| sequence + 1), "only the cancellation");
}

#[tokio::test]
async fn a_client_order_id_identifies_an_order_of_its_owner() {
    let app = TestApp::spawn().await;
    create(&app, "GRID").await;
    let request = |owner: &str| json!({ "client_order_id": "c-1", "owner": owner, "side": "sell", "price": "5", "quantity": "1" });
    let first = app.post("/orderbooks/GRID/orders", request("ann")).await.expect(201).json();
    let again = app.post("/orderbooks/GRID/orders", request("ann")).await.expect(201).json();
    assert_eq!((&again["replayed"], &again["order"]), (&json!(true), &first["order"]));
    let other = app.post("/orderbooks/GRID/orders", request("bob lee%")).await.expect(201).json();
    assert_ne!(other["order"]["order_id"], first["order"]["order_id"]);
    assert_eq!(other["order"]["owner"], "bob lee%");
}

#[tokio::test]
async fn a_thousand_orders_of_one_price_match_in_the_order_of_arrival() {
    let app = TestApp::builder().config("[orderbook]\nmax_orders_per_owner = 2000").spawn().await;
    create(&app, "GRID").await;
    // Ids in any order: text must not decide.
    let ids: Vec<String> = (0..1_000_u32).map(|n| format!("{:08x}", n.wrapping_mul(2_654_435_761))).collect();
    for id in &ids {
        place(&app, id, "sell", "5", "1").await;
    }
    let mut listed = Vec::new();
    let mut cursor = String::new();
    loop {
        let path = format!("/orderbooks/GRID/orders?side=sell&limit=500{cursor}");
        let page = app.get(&path).await.expect(200).json();
        let items = page["items"].as_array().expect("items").clone();
        listed.extend(items.iter().map(|item| item["order_id"].as_str().expect("an id").to_owned()));
        let Some(next) = page["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(listed, ids);
}

#[tokio::test]
async fn prices_have_priority_over_arrival_on_both_sides() {
    let app = TestApp::spawn().await;
    create(&app, "GRID").await;
    for (id, side, price) in [("b1", "buy", "4"), ("b2", "buy", "5"), ("b3", "buy", "4.99"), ("b4", "buy", "5")] {
        place(&app, id, side, price, "1").await;
    }
    for (id, price) in [("s1", "7"), ("s2", "6"), ("s3", "6.01"), ("s4", "6")] {
        place(&app, id, "sell", price, "2").await;
    }
    assert_eq!(queue(&app, "buy").await, ["b2", "b4", "b3", "b1"]);
    assert_eq!(queue(&app, "sell").await, ["s2", "s4", "s3", "s1"]);
    let book = view(&app).await;
    assert_eq!(
        levels(&book, "bids"),
        [level("5.00", "2.000", 2), level("4.99", "1.000", 1), level("4.00", "1.000", 1)]
    );
    assert_eq!(
        levels(&book, "asks"),
        [level("6.00", "4.000", 2), level("6.01", "2.000", 1), level("7.00", "2.000", 1)]
    );
}

#[tokio::test]
async fn a_page_continues_behind_an_order_that_has_gone() {
    for list in ["side=buy", "owner=owner-buy"] {
        let app = TestApp::spawn().await;
        create(&app, "GRID").await;
        for id in ["a", "b", "c", "d", "e"] {
            place(&app, id, "buy", "4", "1").await;
        }
        let page = app.get(&format!("/orderbooks/GRID/orders?{list}&limit=2")).await.expect(200).json();
        assert_eq!(page["items"][1]["order_id"], "b");
        app.delete("/orderbooks/GRID/orders/b").await.expect(200);
        let cursor = page["next_cursor"].as_str().expect("more").to_owned();
        let next = app.get(&format!("/orderbooks/GRID/orders?{list}&limit=2&cursor={cursor}")).await.expect(200).json();
        let ids: Vec<_> = next["items"].as_array().expect("items").iter().map(|item| &item["order_id"]).collect();
        assert_eq!(ids, ["c", "d"], "{list}");
    }
    let app = TestApp::spawn().await;
    create(&app, "GRID").await;
    for query in ["side=buy&cursor=x", "limit=10", "side=buy&limit=501"] {
        app.get(&format!("/orderbooks/GRID/orders?{query}")).await.expect_problem(422, "invalid-query");
    }
}

#[tokio::test]
async fn an_invalid_cursor_leaves_a_book_with_expired_orders_usable() {
    let app = TestApp::spawn().await;
    create(&app, "GRID").await;
    // The follower sweeps the books of the list only.
    let _: i64 = app.redis().command(&["ZREM", "orderbooks", "GRID"]);
    place(&app, "a", "buy", "4", "1").await;
    app.clock().advance(Duration::from_secs(3_600));
    for cursor in ["x.y", "nan.1", "1.x", ".1", "1.", "1e3.1", "1.-1", "1.1.1"] {
        for list in ["side=buy", "owner=owner-buy"] {
            let path = format!("/orderbooks/GRID/orders?{list}&cursor={cursor}");
            app.get(&path).await.expect_problem(422, "invalid-query");
        }
    }
    place(&app, "b", "buy", "4", "1").await;
    assert_eq!(queue(&app, "buy").await, ["b"]);
}

#[tokio::test]
async fn limits_of_owners_and_books_are_kept() {
    let app =
        TestApp::builder().config("[orderbook]\nmax_orders_per_owner = 2\nmax_orders = 3\nmax_books = 2").spawn().await;
    create(&app, "GRID").await;
    place(&app, "a", "buy", "4", "1").await;
    place(&app, "b", "buy", "4", "1").await;
    app.post("/orderbooks/GRID/orders", order("c", "buy", "4", "1")).await.expect_problem(409, "owner-full");
    app.delete("/orderbooks/GRID/orders/a").await.expect(200);
    place(&app, "c", "buy", "4", "1").await;
    place(&app, "d", "sell", "5", "1").await;
    app.post("/orderbooks/GRID/orders", order("e", "sell", "5", "1")).await.expect_problem(409, "book-full");
    create(&app, "OTHER").await;
    let settings = json!({ "mode": "store", "kind": "orders" });
    app.put("/orderbooks/THIRD/settings", settings).await.expect_problem(409, "book-full");
    app.delete("/orderbooks/OTHER").await.expect(204);
    create(&app, "THIRD").await;
}

#[tokio::test]
async fn an_owner_with_all_its_orders_costs_little_until_one_of_them_ends() {
    let config = "[orderbook]\nmax_orders_per_owner = 2000\nrequire_fence = false";
    let app = TestApp::builder().config(config).spawn().await;
    create(&app, "GRID").await;
    for part in (0..2_000).collect::<Vec<_>>().chunks(100) {
        let orders: Vec<_> = part.iter().map(|n| order(&format!("o{n}"), "buy", "4", "1")).collect();
        app.post("/orderbooks/GRID/orders/batch", json!({ "place": orders })).await.expect(200);
    }
    let full = async |id: &str| {
        app.post("/orderbooks/GRID/orders", order(id, "buy", "4", "1")).await.expect_problem(409, "owner-full")
    };
    full("x").await;
    let before = commands(&app, "hmget");
    for n in 0..30 {
        full(&format!("x{n}")).await;
    }
    // One for the state of the book. To read the orders takes two more.
    let taken = commands(&app, "hmget") - before;
    assert!(taken < 50, "30 refusals took {taken} HMGET");
    // However an order ends, there is room for another one.
    app.delete("/orderbooks/GRID/orders/o0").await.expect(200);
    place(&app, "a", "buy", "4", "1").await;
    full("b").await;
    place(&app, "s", "sell", "4", "1").await;
    report(&app, &[fill("t", "o1", "s", "4", "1")]).await.expect(200);
    place(&app, "b", "buy", "4", "1").await;
    full("c").await;
    app.delete("/orderbooks/GRID/orders?owner=owner-buy").await.expect(200);
    place(&app, "c", "buy", "4", "1").await;
    place(&app, "d", "buy", "4", "1").await;
}

#[tokio::test]
async fn a_book_whose_owners_were_full_can_change_its_settings_when_it_is_empty() {
    let app = TestApp::builder().config("[orderbook]\nmax_orders_per_owner = 1").spawn().await;
    create(&app, "GRID").await;
    place(&app, "a", "buy", "4", "1").await;
    for _ in 0..2 {
        app.post("/orderbooks/GRID/orders", order("b", "buy", "4", "1")).await.expect_problem(409, "owner-full");
    }
    app.clock().advance(std::time::Duration::from_secs(900));
    place(&app, "b", "buy", "4", "1").await;
    app.delete("/orderbooks/GRID/orders/b").await.expect(200);
    let settings = json!({ "mode": "store", "kind": "orders", "price_decimals": 1, "quantity_decimals": 3 });
    app.put("/orderbooks/GRID/settings", settings).await.expect(200);
}

#[tokio::test]
async fn settings_create_a_book_and_change_only_an_empty_one() {
    let app = TestApp::spawn().await;
    app.get(BOOK).await.expect_problem(404, "book-not-found");
    app.get("/orderbooks/GRID/settings").await.expect_problem(404, "book-not-found");
    app.post("/orderbooks/GRID/orders", order("a", "buy", "4", "1")).await.expect_problem(404, "book-not-found");
    create(&app, "GRID").await;
    let settings = app.get("/orderbooks/GRID/settings").await.expect(200).json();
    assert_eq!((&settings["tick_size"], &settings["lot_size"]), (&json!("0.01"), &json!("0.001")));
    app.put("/orderbooks/GRID/settings", settings.clone()).await.expect(200);
    let only_new = [("content-type", "application/json"), ("if-none-match", "*")];
    let again = app.send(axum::http::Method::PUT, "/orderbooks/GRID/settings", &only_new, settings.to_string()).await;
    again.expect_problem(412, "precondition-failed");
    let levels = json!({ "mode": "store", "kind": "levels" });
    app.put("/orderbooks/GRID/settings", levels).await.expect_problem(409, "book-mode");
    place(&app, "a", "buy", "4", "1").await;
    let before = view(&app).await;
    let finer = json!({ "mode": "store", "kind": "orders", "price_decimals": 4, "quantity_decimals": 3 });
    app.put("/orderbooks/GRID/settings", finer.clone()).await.expect_problem(409, "book-in-use");
    let mut narrower = settings;
    narrower["max_price"] = json!("6");
    app.put("/orderbooks/GRID/settings", narrower).await.expect(200);
    assert_eq!(view(&app).await, before, "limits change no number");
    let high = order("b", "buy", "6.01", "1");
    app.post("/orderbooks/GRID/orders", high).await.expect_violation(422, "price-out-of-band", "/price");
    app.delete("/orderbooks/GRID/orders/a").await.expect(200);
    app.put("/orderbooks/GRID/settings", finer).await.expect(200);
    let after = view(&app).await;
    assert!(after["generation"].as_u64() > before["generation"].as_u64(), "{after}");
    assert!(after["sequence"].as_u64() > before["sequence"].as_u64(), "{after}");
    assert_eq!(place(&app, "c", "buy", "4.0001", "1").await["price"], "4.0001");
}

#[tokio::test]
async fn a_replica_learns_the_rules_that_another_one_has_changed() {
    let app = TestApp::spawn().await;
    let other = TestApp::builder().beside(&app).spawn().await;
    create(&app, "GRID").await;
    assert_eq!(place(&other, "a", "buy", "4.35", "1").await["price"], "4.35");
    app.delete(BOOK).await.expect(204);
    let settings = json!({ "mode": "store", "kind": "orders", "price_decimals": 4, "quantity_decimals": 0 });
    app.put("/orderbooks/GRID/settings", settings).await.expect(201);
    // This price was off the tick of the former book.
    assert_eq!(place(&other, "a", "buy", "4.3501", "1").await["price"], "4.3501");
}

#[tokio::test]
async fn books_are_listed_and_deleted() {
    let app = TestApp::spawn().await;
    for symbol in ["GRID", "zone-7:interval", "B"] {
        create(&app, symbol).await;
    }
    place(&app, "a", "buy", "4", "1").await;
    let page = app.get("/orderbooks?limit=2").await.expect(200).json();
    assert_eq!((&page["items"][0]["symbol"], &page["items"][1]["symbol"]), (&json!("B"), &json!("GRID")));
    assert_eq!((&page["items"][1]["orders"], &page["next_cursor"]), (&json!(1), &json!("GRID")));
    let next = app.get("/orderbooks?limit=2&cursor=GRID").await.expect(200).json();
    assert_eq!((&next["items"][0]["symbol"], &next["next_cursor"]), (&json!("zone-7:interval"), &json!(null)));
    app.delete(BOOK).await.expect(204);
    app.delete(BOOK).await.expect(204);
    let left: Vec<String> = app.redis().keys().into_iter().filter(|key| key.contains("{GRID}")).collect();
    assert_eq!(left, ["orderbook:{GRID}:owner:owner-buy"]);
    // An index that outlives its book names no order of the next one.
    create(&app, "GRID").await;
    let listed = app.get("/orderbooks/GRID/orders?owner=owner-buy").await.expect(200).json();
    assert_eq!(listed["items"], json!([]));
}
