//! Amendments: what keeps the place of an order, seen in who matches first.

use axum::http::Method;
use serde_json::json;

use super::{create, fill, level, levels, place, queue, report, send, view, without_fence};
use crate::support::TestApp;

#[tokio::test]
async fn a_lower_quantity_keeps_the_place_and_other_changes_lose_it() {
    let app = TestApp::spawn().await;
    create(&app, "GRID").await;
    for id in ["a", "b", "c"] {
        place(&app, id, "buy", "4", "10").await;
    }
    let amend =
        async |id: &str, change| app.patch(&format!("/orderbooks/GRID/orders/{id}"), change).await.expect(200).json();
    let lower = amend("a", json!({ "quantity": "8" })).await;
    assert_eq!(
        (&lower["quantity"], &lower["remaining"], &lower["revision"]),
        (&json!("8.000"), &json!("8.000"), &json!(2))
    );
    assert_eq!(queue(&app, "buy").await, ["a", "b", "c"]);
    amend("a", json!({ "quantity": "9" })).await;
    assert_eq!(queue(&app, "buy").await, ["b", "c", "a"]);
    amend("b", json!({ "price": "3.99" })).await;
    assert_eq!(queue(&app, "buy").await, ["c", "a", "b"]);
    amend("b", json!({ "price": "4", "quantity": "1" })).await;
    assert_eq!(queue(&app, "buy").await, ["c", "a", "b"]);
    let book = view(&app).await;
    assert_eq!(levels(&book, "bids"), [level("4.00", "20.000", 3)]);
    let unchanged = amend("c", json!({ "price": "4.00" })).await;
    assert_eq!(unchanged["revision"], 1);
    assert_eq!(view(&app).await, book, "an amendment without a change is none");
}

#[tokio::test]
async fn an_end_may_change_alone() {
    let app = TestApp::spawn().await;
    create(&app, "GRID").await;
    let placed = place(&app, "a", "buy", "4", "10").await;
    place(&app, "b", "buy", "4", "10").await;
    let later = placed["expires_at"].as_i64().expect("a time") + 60_000;
    let amended = app.patch("/orderbooks/GRID/orders/a", json!({ "expires_at": later })).await.expect(200).json();
    assert_eq!(amended["expires_at"], later);
    assert_eq!(queue(&app, "buy").await, ["a", "b"]);
    // The longest life counts from the placing, not from the last amendment.
    let longest = later - 60_000 - 15 * 60_000 + 7 * 86_400_000;
    app.clock().advance(std::time::Duration::from_secs(60));
    app.patch("/orderbooks/GRID/orders/a", json!({ "expires_at": longest })).await.expect(200);
    for wrong in [1, longest + 1] {
        let refused = app.patch("/orderbooks/GRID/orders/a", json!({ "expires_at": wrong })).await;
        refused.expect_violation(422, "invalid-body", "/expires_at");
    }
}

#[tokio::test]
async fn a_filled_part_is_not_taken_back() {
    let app = without_fence().await;
    create(&app, "GRID").await;
    place(&app, "b", "buy", "4", "10").await;
    place(&app, "s", "sell", "4", "4").await;
    report(&app, &[fill("t", "b", "s", "4", "4")]).await.expect(200);
    for quantity in ["4", "3.999"] {
        let refused = app.patch("/orderbooks/GRID/orders/b", json!({ "quantity": quantity })).await;
        refused.expect_violation(422, "quantity-out-of-range", "/quantity");
    }
    let amended = app.patch("/orderbooks/GRID/orders/b", json!({ "quantity": "4.001" })).await.expect(200).json();
    assert_eq!((&amended["remaining"], &amended["filled"]), (&json!("0.001"), &json!("4.000")));
    app.patch("/orderbooks/GRID/orders/s", json!({ "quantity": "9" })).await.expect_problem(409, "order-filled");
    app.delete("/orderbooks/GRID/orders/s").await.expect_problem(409, "order-filled");
    app.delete("/orderbooks/GRID/orders/b").await.expect(200);
    app.patch("/orderbooks/GRID/orders/b", json!({ "quantity": "9" })).await.expect_problem(409, "order-cancelled");
    app.patch("/orderbooks/GRID/orders/x", json!({ "quantity": "9" })).await.expect_problem(404, "order-not-found");
}

#[tokio::test]
async fn a_condition_protects_from_another_change() {
    let app = TestApp::spawn().await;
    create(&app, "GRID").await;
    place(&app, "a", "buy", "4", "10").await;
    let tag = app.get("/orderbooks/GRID/orders/a").await.expect(200).header("etag").expect("a tag").to_owned();
    let condition = [("if-match", tag.as_str())];
    let path = "/orderbooks/GRID/orders/a";
    send(&app, Method::PATCH, path, &condition, json!({ "quantity": "9" })).await.expect(200);
    let late = send(&app, Method::PATCH, path, &condition, json!({ "quantity": "8" })).await;
    late.expect_problem(412, "precondition-failed");
    assert_eq!(app.get(path).await.json()["quantity"], "9.000");
}
