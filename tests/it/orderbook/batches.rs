//! Batches, and cancelling the orders of an owner.

use serde_json::json;

use super::{create, create_levels, order, place, queue, view};
use crate::support::TestApp;

#[tokio::test]
async fn items_run_in_order_and_have_their_own_results() {
    let app = TestApp::spawn().await;
    create(&app, "GRID").await;
    place(&app, "old", "buy", "4", "1").await;
    place(&app, "kept", "buy", "4", "2").await;
    let batch = json!({
        "cancel": ["old", "never", 5, "x y"],
        "amend": [{ "order_id": "kept", "quantity": "1" }, { "quantity": "1" }, { "order_id": "never", "price": "4" }],
        "place": [order("n1", "buy", "4", "1"), order("n2", "buy", "4.001", "1"), { "side": "x" }, order("n3", "buy", "4", "1"),
                  order("kept", "buy", "5", "2")],
    });
    let done = app.post("/orderbooks/GRID/orders/batch", batch).await.expect(200).json();
    let statuses = |list: &str| {
        done[list]
            .as_array()
            .expect("results")
            .iter()
            .map(|item| item["status"].as_u64().expect("one"))
            .collect::<Vec<_>>()
    };
    assert_eq!(statuses("cancel"), [200, 404, 422, 422], "{done}");
    assert_eq!(statuses("amend"), [200, 422, 404], "{done}");
    assert_eq!(statuses("place"), [201, 422, 422, 201, 409], "{done}");
    assert_eq!(
        (&done["place"][1]["error"]["code"], &done["place"][4]["error"]["code"]),
        (&json!("off-tick"), &json!("order-id-reused"))
    );
    assert_eq!(queue(&app, "buy").await, ["kept", "n1", "n3"]);
    let ids: Vec<_> = (0..101).map(|n| format!("x{n}")).collect();
    let many = app.post("/orderbooks/GRID/orders/batch", json!({ "cancel": ids })).await;
    many.expect_violation(422, "invalid-body", "");
    app.post("/orderbooks/NONE/orders/batch", json!({ "cancel": ["a"] })).await.expect_problem(404, "book-not-found");
}

#[tokio::test]
async fn the_orders_of_an_owner_are_cancelled_in_one_book_or_in_all() {
    let app = TestApp::spawn().await;
    for symbol in ["GRID", "B", "C"] {
        create(&app, symbol).await;
    }
    create_levels(&app, "L").await;
    for n in 0..150 {
        place(&app, &format!("b{n}"), "buy", "4", "1").await;
    }
    let mut other = order("s", "sell", "5", "1");
    other["owner"] = json!("owner-buy");
    app.post("/orderbooks/GRID/orders", other).await.expect(201);
    place(&app, "x", "sell", "5", "1").await;
    let done = app.delete("/orderbooks/GRID/orders?owner=owner-buy&side=buy").await.expect(200).json();
    assert_eq!(done, json!({ "cancelled": 150, "more": false }));
    assert_eq!(queue(&app, "sell").await, ["s", "x"]);
    let mut b = order("b", "buy", "4", "1");
    app.post("/orderbooks/B/orders", b.clone()).await.expect(201);
    b["owner"] = json!("else");
    app.post("/orderbooks/C/orders", b).await.expect(201);
    let done = app.delete("/orders?owner=owner-buy").await.expect(200).json();
    assert_eq!((&done["cancelled"], &done["more"]), (&json!(2), &json!(false)));
    assert_eq!((&done["books"][0]["symbol"], &done["books"][1]["symbol"]), (&json!("B"), &json!("GRID")), "{done}");
    assert_eq!(done["books"].as_array().map(Vec::len), Some(2));
    assert_eq!(view(&app).await["orders"], 1);
    app.delete("/orders").await.expect_violation(422, "invalid-query", "/owner");
}
