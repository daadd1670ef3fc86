//! Books of levels: snapshots that replace everything or nothing.

use std::time::Duration;

use axum::http::Method;
use serde_json::{Value, json};

use super::{BOOK, create, create_levels, digest, level, levels, send, view, without_fence};
use crate::support::{START, TestApp};

fn snapshot(bids: &[(&str, &str)], asks: &[(&str, &str)]) -> Value {
    let side = |levels: &[(&str, &str)]| {
        levels.iter().map(|(price, quantity)| json!({ "price": price, "quantity": quantity })).collect::<Vec<_>>()
    };
    json!({ "bids": side(bids), "asks": side(asks) })
}

#[tokio::test]
async fn a_snapshot_replaces_all_levels_and_leaves_no_ghosts() {
    let app = without_fence().await;
    create_levels(&app, "GRID").await;
    app.put(BOOK, snapshot(&[("4", "1"), ("3", "1")], &[("5", "2")])).await.expect(200);
    let first = view(&app).await;
    assert_eq!(levels(&first, "bids"), [level("4.00", "1.000", 1), level("3.00", "1.000", 1)]);
    let replaced = app.put(BOOK, snapshot(&[("6", "1")], &[])).await.expect(200).json();
    let book = view(&app).await;
    assert_eq!((levels(&book, "bids"), levels(&book, "asks")), (vec![level("6.00", "1.000", 1)], vec![]));
    assert_eq!((&book["crossed"], &book["sequence"]), (&json!(false), &replaced["sequence"]));
    // A client that follows the book learns to read it again.
    let after = first["sequence"].to_string();
    let deltas = app.get(&format!("/orderbooks/GRID/deltas?after={after}")).await.expect(200).json();
    assert_eq!((&deltas["kind"], &deltas["changes"]), (&json!("snapshot"), &json!([])));
    app.put(BOOK, snapshot(&[], &[])).await.expect(200);
    assert_eq!(view(&app).await["checksum"], 0);
}

#[tokio::test]
async fn an_older_snapshot_is_refused_and_loses_nothing() {
    let app = without_fence().await;
    create_levels(&app, "GRID").await;
    let with = |sequence: Option<u64>, as_of: Option<i64>| {
        let mut body = snapshot(&[("4", "1")], &[]);
        body["source_sequence"] = json!(sequence);
        body["as_of"] = json!(as_of);
        body
    };
    app.put(BOOK, with(Some(7), Some(START + 5))).await.expect(200);
    let before = view(&app).await;
    assert_eq!(before["as_of"], START + 5);
    for older in [with(Some(7), None), with(Some(6), Some(START + 9)), with(None, Some(START + 4))] {
        app.put(BOOK, older).await.expect_problem(409, "stale-snapshot");
    }
    assert_eq!(view(&app).await, before);
    app.put(BOOK, with(Some(8), Some(START + 5))).await.expect(200);
    app.put(BOOK, with(None, Some(START + 5))).await.expect(200);
}

#[tokio::test]
async fn a_mistake_in_the_last_row_leaves_the_book_untouched() {
    let app = without_fence().await;
    create_levels(&app, "GRID").await;
    app.put(BOOK, snapshot(&[("4", "1")], &[])).await.expect(200);
    let before = digest(&app);
    for (wrong, slug, field) in [
        (("6", "1"), "invalid-body", "price"),
        (("9", "0"), "quantity-out-of-range", "quantity"),
        (("9.001", "1"), "off-tick", "price"),
        (("9", "1.0001"), "off-lot", "quantity"),
    ] {
        let body = snapshot(&[("4", "2")], &[("6", "1"), wrong]);
        app.put(BOOK, body).await.expect_violation(422, slug, &format!("/asks/1/{field}"));
    }
    let mut counted = snapshot(&[("4", "2")], &[]);
    counted["bids"][0]["orders"] = json!(0);
    app.put(BOOK, counted).await.expect_violation(422, "invalid-body", "/bids/0/orders");
    assert!(digest(&app) == before, "a call without effect changed the book");
}

#[tokio::test]
async fn a_large_snapshot_appears_at_once() {
    let app = without_fence().await;
    create_levels(&app, "GRID").await;
    let prices: Vec<String> = (1..=1_300).map(|n| format!("{n}")).collect();
    let rows: Vec<(&str, &str)> = prices.iter().map(|price| (price.as_str(), "1")).collect();
    app.put(BOOK, snapshot(&rows[..600], &rows[600..])).await.expect(200);
    let book = view(&app).await;
    assert_eq!((levels(&book, "bids").len(), levels(&book, "asks").len()), (600, 700));
    let staged: Vec<_> = app.redis().keys().into_iter().filter(|key| key.contains(":next:")).collect();
    assert_eq!(staged, Vec::<String>::new());
    let many: Vec<String> = (1..=10_001).map(|n| format!("{n}")).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|price| (price.as_str(), "1")).collect();
    app.put(BOOK, snapshot(&many, &[])).await.expect_violation(422, "invalid-body", "/bids");
}

#[tokio::test]
async fn a_paused_engine_replaces_nothing_and_a_silent_one_makes_the_book_stale() {
    let app = TestApp::spawn().await;
    create_levels(&app, "GRID").await;
    app.put(BOOK, snapshot(&[("4", "1")], &[])).await.expect_problem(428, "fence-required");
    let put = async |token: &str, price: &str| {
        send(&app, Method::PUT, BOOK, &[("fencing-token", token)], snapshot(&[(price, "1")], &[])).await
    };
    put("20", "4").await.expect(200);
    put("19", "5").await.expect_problem(409, "stale-fence");
    let book = view(&app).await;
    assert_eq!((&book["bids"][0]["price"], &book["stale"]), (&json!("4.00"), &json!(false)));
    let tag = app.get(BOOK).await.header("etag").expect("a tag").to_owned();
    app.clock().advance(Duration::from_secs(61));
    assert_eq!(app.send(Method::GET, BOOK, &[("if-none-match", &tag)], "").await.expect(200).json()["stale"], true);
    create(&app, "ORDERS").await;
    let orders = send(&app, Method::PUT, "/orderbooks/ORDERS", &[("fencing-token", "1")], snapshot(&[], &[])).await;
    orders.expect_problem(409, "book-mode");
}
