//! Prices and quantities: exact, with one spelling.

use serde_json::{Value, json};

use super::{create, digest, level, levels, order, place, view};
use crate::support::TestApp;

async fn create_exact(app: &TestApp) {
    let settings = json!({ "mode": "store", "kind": "orders", "price_decimals": 9, "quantity_decimals": 18,
        "min_price": "-5" });
    app.put("/orderbooks/GRID/settings", settings).await.expect(201);
}

#[tokio::test]
async fn prices_that_differ_in_the_ninth_decimal_are_two_levels() {
    let app = TestApp::spawn().await;
    create_exact(&app).await;
    place(&app, "a", "buy", "17.77", "1").await;
    place(&app, "b", "buy", "17.770000001", "1").await;
    let book = view(&app).await;
    let one = "1.000000000000000000";
    assert_eq!(levels(&book, "bids"), [level("17.770000001", one, 1), level("17.770000000", one, 1)]);
}

#[tokio::test]
async fn tiny_and_huge_quantities_add_up_exactly() {
    let app = TestApp::spawn().await;
    create_exact(&app).await;
    place(&app, "a", "buy", "1.1", "0.000000000000000001").await;
    place(&app, "b", "buy", "1.10", "499999999999.999999999999999999").await;
    place(&app, "c", "buy", "1.100000000", "499999999999").await;
    let book = view(&app).await;
    assert_eq!(levels(&book, "bids"), [level("1.100000000", "999999999999.000000000000000000", 3)]);
}

#[tokio::test]
async fn a_number_has_one_spelling_in_views_deltas_and_orders() {
    let app = TestApp::spawn().await;
    let settings =
        json!({ "mode": "store", "kind": "orders", "price_decimals": 2, "quantity_decimals": 3, "min_price": "-1" });
    app.put("/orderbooks/GRID/settings", settings).await.expect(201);
    let after = view(&app).await["sequence"].clone();
    for (id, price, quantity) in [("a", "1.1", "2"), ("b", "1.10", "0.500"), ("c", "0", "1"), ("d", "0.00", "1.0")] {
        place(&app, id, "sell", price, quantity).await;
    }
    let order = app.get("/orderbooks/GRID/orders/a").await.expect(200).json();
    assert_eq!(
        (&order["price"], &order["quantity"], &order["filled"]),
        (&json!("1.10"), &json!("2.000"), &json!("0.000"))
    );
    let expected = [level("0.00", "2.000", 2), level("1.10", "2.500", 2)];
    assert_eq!(levels(&view(&app).await, "asks"), expected);
    let changes = async |after: &Value| {
        app.get(&format!("/orderbooks/GRID/deltas?after={after}")).await.expect(200).json()["changes"].clone()
    };
    let mut found = changes(&after).await;
    found.as_array_mut().expect("changes").sort_by_key(|change| change["price"].to_string());
    let change = |price: &str, quantity: &str, orders: u64| json!({ "side": "sell", "price": price, "quantity": quantity, "orders": orders });
    assert_eq!(found, json!([change("0.00", "2.000", 2), change("1.10", "2.500", 2)]));
    let after = view(&app).await["sequence"].clone();
    for id in ["c", "d"] {
        app.delete(&format!("/orderbooks/GRID/orders/{id}")).await.expect(200);
    }
    assert_eq!(changes(&after).await, json!([change("0.00", "0.000", 0)]), "the level is named as it was shown");
}

#[tokio::test]
async fn a_total_never_loses_a_digit() {
    let app = TestApp::spawn().await;
    create_exact(&app).await;
    place(&app, "a", "buy", "1", "999999999999.999999999999999999").await;
    let one_more = order("b", "buy", "1", "0.000000000000000001");
    let refused = app.post("/orderbooks/GRID/orders", one_more).await;
    refused.expect_violation(422, "quantity-out-of-range", "/quantity");
    place(&app, "c", "buy", "1.000000001", "0.000000000000000001").await;
    assert_eq!(view(&app).await["orders"], 2);
}

#[tokio::test]
async fn negative_and_zero_prices_are_ordered_like_others() {
    let app = TestApp::spawn().await;
    create_exact(&app).await;
    for (id, price) in [("a", "0"), ("b", "-1.5"), ("c", "2"), ("d", "-0.000000001")] {
        place(&app, id, "buy", price, "1").await;
        place(&app, &format!("{id}s"), "sell", price, "1").await;
    }
    let book = view(&app).await;
    let prices = |side| levels(&book, side).into_iter().map(|(price, ..)| price).collect::<Vec<_>>();
    assert_eq!(prices("bids"), ["2.000000000", "0.000000000", "-0.000000001", "-1.500000000"]);
    assert_eq!(prices("asks"), ["-1.500000000", "-0.000000001", "0.000000000", "2.000000000"]);
    assert_eq!(book["crossed"], true);
}

#[tokio::test]
async fn other_spellings_are_refused_by_name_and_change_nothing() {
    let app = TestApp::spawn().await;
    create(&app, "GRID").await;
    let before = digest(&app);
    let cases: &[(&str, Value, &str)] = &[
        ("price", json!(4.35), "invalid-body"),
        ("price", json!("1e3"), "invalid-body"),
        ("price", json!("+4"), "invalid-body"),
        ("price", json!("01.1"), "invalid-body"),
        ("price", json!("-0"), "invalid-body"),
        ("price", json!(""), "invalid-body"),
        ("price", json!("4.355"), "off-tick"),
        ("price", json!("0"), "price-out-of-band"),
        ("price", json!("-1"), "price-out-of-band"),
        ("price", json!("90071992547409.92"), "price-out-of-band"),
        ("quantity", json!(1), "invalid-body"),
        ("quantity", json!("1e-3"), "invalid-body"),
        ("quantity", json!("0"), "quantity-out-of-range"),
        ("quantity", json!("0.000"), "quantity-out-of-range"),
        ("quantity", json!("-1"), "quantity-out-of-range"),
        ("quantity", json!("0.0001"), "off-lot"),
        ("quantity", json!("1000000000000000000000000000"), "quantity-out-of-range"),
        ("side", json!("hold"), "invalid-body"),
        ("tif", json!("ioc"), "invalid-body"),
        ("expires_at", json!(1), "invalid-body"),
        ("expires_at", json!(9_000_000_000_000_000_u64), "invalid-body"),
        ("metadata", json!([1]), "invalid-body"),
        ("metadata", json!({ "a": "x".repeat(512) }), "invalid-body"),
        ("order_id", json!("batch"), "invalid-body"),
        ("order_id", json!("a b"), "invalid-body"),
        ("owner", json!(""), "invalid-body"),
        ("epoch_number", json!(-1), "invalid-body"),
        ("quantty", json!("1"), "invalid-body"),
    ];
    for (field, value, slug) in cases {
        let mut request = order("a", "buy", "4.35", "1");
        request[*field] = value.clone();
        let refused = app.post("/orderbooks/GRID/orders", request).await;
        refused.expect_violation(422, slug, &format!("/{field}"));
    }
    let mut nameless = order("a", "buy", "4.35", "1");
    nameless.as_object_mut().expect("an object").remove("order_id");
    app.post("/orderbooks/GRID/orders", nameless).await.expect_violation(422, "invalid-body", "/order_id");
    assert!(digest(&app) == before, "a call without effect changed the book");
    assert_eq!(view(&app).await["orders"], 0);
}

#[tokio::test]
async fn metadata_and_epoch_are_kept_as_they_are() {
    let app = TestApp::spawn().await;
    create(&app, "GRID").await;
    let mut request = order("a", "buy", "4.35", "1");
    request["metadata"] = json!({ "zone": 7, "note": "two words", "deep": { "list": [1.5, null] } });
    request["epoch_number"] = json!(96);
    let placed = app.post("/orderbooks/GRID/orders", request.clone()).await.expect(201).json();
    assert_eq!((&placed["order"]["metadata"], &placed["order"]["epoch_number"]), (&request["metadata"], &json!(96)));
}
