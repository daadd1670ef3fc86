//! Views: levels, the platform's form, conditions, and many clients at once.

use axum::http::Method;
use serde_json::json;

use super::{create, level, levels, place, view};
use crate::support::{TestApp, eventually};

#[tokio::test]
async fn a_view_is_cut_to_its_depth_and_its_checksum_is_not() {
    let app = TestApp::spawn().await;
    create(&app, "GRID").await;
    for n in 1..=12 {
        place(&app, &format!("b{n}"), "buy", &format!("{n}"), "1").await;
    }
    let whole = view(&app).await;
    for depth in [1, 9, 10, 11] {
        let cut = app.get(&format!("/orderbooks/GRID?depth={depth}")).await.expect(200).json();
        assert_eq!(levels(&cut, "bids"), levels(&whole, "bids")[..depth], "{depth}");
        assert_eq!(cut["checksum"], whole["checksum"], "{depth}");
    }
    for depth in ["0", "1001", "x", "-1"] {
        let refused = app.get(&format!("/orderbooks/GRID?depth={depth}")).await;
        refused.expect_violation(422, "invalid-query", "/depth");
    }
}

#[tokio::test]
async fn the_best_prices_and_the_pairs_agree_with_the_levels() {
    let app = TestApp::spawn().await;
    create(&app, "GRID").await;
    let empty = app.get("/orderbooks/GRID/best").await.expect(200).json();
    assert_eq!((&empty["bid"], &empty["ask"], &empty["spread"]), (&json!(null), &json!(null), &json!(null)));
    place(&app, "b", "buy", "4", "1").await;
    place(&app, "s", "sell", "3.5", "2").await;
    let best = app.get("/orderbooks/GRID/best").await.expect(200).json();
    assert_eq!((&best["bid"]["price"], &best["ask"]["quantity"]), (&json!("4.00"), &json!("2.000")));
    assert_eq!(best["spread"], "-0.50");
    let book = view(&app).await;
    assert_eq!(book["crossed"], true);
    assert_eq!(levels(&book, "asks"), [level("3.50", "2.000", 1)]);
    let pairs = app.get("/orderbooks/GRID?format=pairs").await.expect(200).json();
    assert_eq!(
        pairs,
        json!({ "last_update_id": book["sequence"], "bids": [["4.00", "1.000"]], "asks": [["3.50", "2.000"]] })
    );
}

#[tokio::test]
async fn a_book_that_crosses_beyond_its_checksum_says_so_at_every_depth() {
    let app = TestApp::spawn().await;
    create(&app, "GRID").await;
    // Twelve bids are above the ask: more levels than a checksum has.
    for n in 0..15 {
        place(&app, &format!("b{n}"), "buy", &format!("{}", 20 - n), "1").await;
    }
    place(&app, "s", "sell", "8.5", "1").await;
    for above in (0..12).rev() {
        for depth in [1, 10, 1_000] {
            let book = app.get(&format!("/orderbooks/GRID?depth={depth}")).await.expect(200).json();
            let price =
                |side: &str| book[side][0]["price"].as_str().expect("a price").parse::<f64>().expect("a number");
            assert_eq!((&book["crossed"], price("bids") >= price("asks")), (&json!(true), true), "{depth} {book}");
        }
        app.delete(&format!("/orderbooks/GRID/orders/b{}", 11 - above)).await.expect(200);
    }
    assert_eq!(view(&app).await["crossed"], false);
}

#[tokio::test]
async fn a_client_that_has_the_state_gets_304() {
    let app = TestApp::spawn().await;
    create(&app, "GRID").await;
    let tag = app.get("/orderbooks/GRID").await.expect(200).header("etag").expect("a tag").to_owned();
    let conditional = async || app.send(Method::GET, "/orderbooks/GRID", &[("if-none-match", &tag)], "").await;
    let same = conditional().await.expect(304);
    assert_eq!((same.header("etag"), same.body.len()), (Some(tag.as_str()), 0));
    place(&app, "b", "buy", "4", "1").await;
    assert_ne!(conditional().await.expect(200).header("etag"), Some(tag.as_str()));
}

#[tokio::test]
async fn a_thousand_clients_at_once_cost_a_few_calls() {
    let app = TestApp::spawn().await;
    create(&app, "GRID").await;
    place(&app, "b", "buy", "4", "1").await;
    app.get("/orderbooks/GRID").await.expect(200);
    let calls = || {
        let stats: String = app.redis().command(&["INFO", "commandstats"]);
        let line = stats.lines().find_map(|line| line.strip_prefix("cmdstat_evalsha:calls=")).expect("calls");
        line.split(',').next().and_then(|count| count.parse::<u64>().ok()).expect("a number")
    };
    // Requests for an operation that the service does not know yet take turns, so the first ones share less.
    eventually("the clients share a few calls", async || {
        let before = calls();
        let replies = futures_util::future::join_all((0..1_000).map(|_| app.get("/orderbooks/GRID?depth=50"))).await;
        // On a busy machine, requests that wait too long for their turn are refused.
        let are_served = replies.iter().all(|reply| reply.is(200));
        // The follower sweeps once a second.
        are_served && calls() - before < 20
    })
    .await;
    // A view includes what was acknowledged before it was requested.
    place(&app, "c", "buy", "5", "1").await;
    assert_eq!(app.get("/orderbooks/GRID?depth=50").await.json()["bids"][0]["price"], "5.00");
}

#[tokio::test]
async fn readers_of_the_platform_find_its_keys() {
    let app = TestApp::spawn().await;
    create(&app, "GRID").await;
    place(&app, "b", "buy", "4.2", "1").await;
    place(&app, "s", "sell", "4.4", "1").await;
    let buys: Vec<String> = app.redis().command(&["ZRANGE", "orderbook:{GRID}:buy", "0", "-1"]);
    assert_eq!(buys.len(), 1);
    assert!(buys[0].ends_with('b'), "{buys:?}");
    eventually("the metadata is written", async || {
        let fields = ["best_bid", "best_ask", "spread"];
        let parts = [&["HMGET", "orderbook:{GRID}:metadata"], fields.as_slice()].concat();
        app.redis().command::<Vec<Option<String>>>(&parts) == ["4.20", "4.40", "0.20"].map(|text| Some(text.to_owned()))
    })
    .await;
    assert!(app.redis().command::<i64>(&["PTTL", "orderbook:{GRID}:metadata"]) <= 300_000);
}
