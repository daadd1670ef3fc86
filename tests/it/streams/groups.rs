//! Groups: where they begin, their settings, and their end.

use std::time::Duration;

use serde_json::{Value, json};

use super::{append_numbers, claim, put_group, versions};
use crate::support::{TestApp, eventually};

#[tokio::test]
async fn a_group_begins_where_it_says() {
    let app = TestApp::spawn().await;
    app.put("/streams/orders/groups/early", json!({})).await.expect_problem(404, "stream-not-found");
    append_numbers(&app, "orders", 1..=5).await;
    for (group, start, lag) in
        [("all", json!("first"), 5), ("new", json!("now"), 0), ("late", json!(4), 2), ("beyond", json!(100), 0)]
    {
        let created = put_group(&app, group, json!({ "start": start })).await;
        assert_eq!((&created["lag"], &created["ack_timeout_ms"]), (&json!(lag), &json!(30_000)), "{created}");
    }
    append_numbers(&app, "orders", 6..=6).await;
    for (group, expected) in
        [("all", (1..=6).collect()), ("new", vec![6]), ("late", vec![4, 5, 6]), ("beyond", vec![6])]
    {
        let claimed = claim(&app, group, json!({ "consumer": "c", "count": 100 })).await;
        assert_eq!(versions(&claimed["items"]), expected, "{group}");
    }
    let listed = app.get("/streams/orders/groups").await.expect(200).json();
    let names: Vec<_> = listed["items"].as_array().expect("items").iter().map(|group| &group["group"]).collect();
    assert_eq!(names, ["all", "beyond", "late", "new"]);
}

#[tokio::test]
async fn a_group_keeps_its_place_when_its_settings_change() {
    let app = TestApp::spawn().await;
    append_numbers(&app, "orders", 1..=5).await;
    put_group(&app, "billing", json!({ "start": 3 })).await;
    claim(&app, "billing", json!({ "consumer": "c" })).await;
    let changed = json!({ "start": "first", "ack_timeout_ms": 500, "max_deliveries": 2 });
    let group = app.put("/streams/orders/groups/billing", changed).await.expect(200).json();
    for (field, number) in [("cursor", 3), ("pending", 1), ("ack_timeout_ms", 500), ("max_deliveries", 2)] {
        assert_eq!(group[field], number, "{field}: {group}");
    }
    app.delete("/streams/orders/groups/billing").await.expect(204);
    app.delete("/streams/orders/groups/billing").await.expect_problem(404, "group-not-found");
    app.get("/streams/orders/groups/billing").await.expect_problem(404, "group-not-found");
    let again = put_group(&app, "billing", json!({})).await;
    assert_eq!((&again["cursor"], &again["pending"]), (&json!(0), &json!(0)), "{again}");
}

#[tokio::test]
async fn a_group_that_is_not_used_is_deleted_and_holds_no_events_back() {
    let app = TestApp::builder().config("streams.max_events = 100\nstreams.group_idle = \"1h\"").spawn().await;
    append_numbers(&app, "orders", 1..=100).await;
    put_group(&app, "gone", json!({})).await;
    claim(&app, "gone", json!({ "consumer": "c" })).await;
    app.clock().advance(Duration::from_millis(3_600_001));
    append_numbers(&app, "orders", 101..=110).await;
    let path = "/streams/orders/groups/gone/claim";
    app.post(path, json!({ "consumer": "c" })).await.expect_problem(404, "group-not-found");
    assert_eq!(app.get("/streams/orders/groups").await.json()["items"], json!([]));
    let again = put_group(&app, "gone", json!({})).await;
    assert_eq!((&again["cursor"], &again["pending"]), (&json!(0), &json!(0)), "{again}");
}

#[tokio::test]
async fn a_stream_has_at_most_64_groups_and_invalid_settings_are_refused_by_name() {
    let app = TestApp::spawn().await;
    append_numbers(&app, "orders", 1..=1).await;
    for number in 0..64 {
        put_group(&app, &format!("g{number}"), json!({})).await;
    }
    app.put("/streams/orders/groups/more", json!({})).await.expect_problem(409, "too-many-groups");
    app.put("/streams/orders/groups/g1", json!({})).await.expect(200);
    for (field, value) in [
        ("start", json!(0)),
        ("start", json!("last")),
        ("ack_timeout_ms", json!(99)),
        ("ack_timeout_ms", json!(86_400_001)),
        ("max_deliveries", json!(0)),
        ("max_deliveries", json!(1_001)),
        ("unknown", json!(1)),
    ] {
        let mut body = json!({});
        body[field] = value;
        let problem: Value = app.put("/streams/orders/groups/g1", body).await.expect_problem(422, "invalid-body");
        assert_eq!(problem["errors"][0]["pointer"], format!("/{field}"), "{problem}");
    }
    app.put("/streams/orders/groups/a:b", json!({})).await.expect_problem(422, "invalid-path");
}

#[tokio::test]
async fn a_group_ends_with_its_stream_however_often_it_is_asked() {
    let app = TestApp::spawn().await;
    append_numbers(&app, "orders", 1..=5).await;
    put_group(&app, "billing", json!({})).await;
    let life = |key: &str| app.redis().command::<i64>(&["PTTL", key]);
    let _: i64 = app.redis().command(&["PEXPIRE", "streams:meta:{orders}", "60000"]);
    claim(&app, "billing", json!({ "consumer": "c", "count": 100 })).await;
    assert!((1..=60_000).contains(&life("streams:groups:{orders}")), "{}", life("streams:groups:{orders}"));
    // The stream is forgotten: the next one of its name has version 1, which the group had passed.
    let _: i64 = app.redis().command(&["PEXPIRE", "streams:meta:{orders}", "1"]);
    let _: i64 = app.redis().command(&["PEXPIRE", "streams:groups:{orders}", "1"]);
    let _: i64 = app.redis().command(&["DEL", "streams:log:{orders}", "streams:ids:{orders}"]);
    eventually("the stream is forgotten", async || app.get("/streams/orders").await.is(404)).await;
    append_numbers(&app, "orders", 1..=2).await;
    let request = json!({ "consumer": "c" });
    app.post("/streams/orders/groups/billing/claim", request).await.expect_problem(404, "group-not-found");
    put_group(&app, "billing", json!({})).await;
    assert_eq!(versions(&claim(&app, "billing", json!({ "consumer": "c", "count": 9 })).await["items"]), [1, 2]);
}
