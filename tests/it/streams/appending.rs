//! Versions, repetitions, bounds and bad input of appends.

use std::time::Duration;

use axum::http::Method;
use serde_json::{Value, json};

use super::{append, append_numbers, claim, event, items, put_group, settle, versions};
use crate::support::{TestApp, eventually};

#[tokio::test]
async fn events_get_the_next_versions() {
    let app = TestApp::spawn().await;
    let first = append(&app, "orders", &[event(1), event(2)]).await.expect(201).json();
    assert_eq!((&first["first_version"], &first["version"]), (&json!(1), &json!(2)), "{first}");
    let body = r#"{"events":[{"type":"Paid","data":[1.50],"metadata":{"cause":"x"},"id":"p-1"}]}"#;
    let headers = [("content-type", "application/json")];
    let second = app.send(Method::POST, "/streams/orders/events", &headers, body).await.expect(201).json();
    assert_eq!((&second["first_version"], &second["duplicate"]), (&json!(3), &json!(false)), "{second}");
    let text = app.get("/streams/orders/events?from_version=3").await.expect(200).text();
    assert!(text.contains("\"data\":[1.50]"), "the data is as it was written: {text}");
    let page: Value = serde_json::from_str(&text).expect("JSON");
    let stored = &page["items"][0];
    assert_eq!(
        (&stored["id"], &stored["type"], &stored["metadata"]),
        (&json!("p-1"), &json!("Paid"), &json!({ "cause": "x" }))
    );
    assert_eq!(stored["timestamp"], second["timestamp"]);
}

#[tokio::test]
async fn an_append_that_expects_another_version_is_refused_with_the_current_one() {
    let app = TestApp::spawn().await;
    let attempt = async |expected: Value| {
        let body = json!({ "events": [event(1)], "expected_version": expected });
        app.post("/streams/orders/events", body).await
    };
    let problem = attempt(json!("exists")).await.expect_problem(409, "version-conflict");
    assert_eq!((&problem["current_version"], &problem["outcome"]), (&json!(0), &json!("not_applied")), "{problem}");
    attempt(json!("none")).await.expect(201);
    attempt(json!("exists")).await.expect(201);
    attempt(json!(2)).await.expect(201);
    for wrong in [json!("none"), json!(2), json!(4), json!(0)] {
        let problem = attempt(wrong).await.expect_problem(409, "version-conflict");
        assert_eq!(problem["current_version"], 3, "{problem}");
    }
    assert_eq!(app.get("/streams/orders").await.expect(200).json()["version"], 3);
}

#[tokio::test]
async fn the_same_events_are_appended_once() {
    let app = TestApp::spawn().await;
    let with_id = |id: &str| json!({ "type": "Created", "data": 1, "id": id });
    let both = [with_id("a"), with_id("b")];
    let first = append(&app, "orders", &both).await.expect(201).json();
    append(&app, "orders", &[event(3)]).await.expect(201);
    let body = json!({ "events": both, "expected_version": 0 });
    let again = app.post("/streams/orders/events", body).await.expect(201).json();
    assert_eq!((&again["duplicate"], &again["first_version"], &again["version"]), (&json!(true), &json!(1), &json!(2)));
    assert_eq!(again["timestamp"], first["timestamp"]);
    for changed in [vec![with_id("a"), with_id("c")], vec![with_id("b"), with_id("a")]] {
        append(&app, "orders", &changed).await.expect_problem(409, "event-id-used");
    }
    // The same ids in another stream are other events.
    append(&app, "payments", &both).await.expect(201);
    assert_eq!(app.get("/streams/orders").await.expect(200).json()["version"], 3);
}

#[tokio::test]
async fn a_stream_that_a_group_needs_is_full_at_its_limit() {
    let app = TestApp::builder().config("streams.max_events = 100").spawn().await;
    append_numbers(&app, "orders", 1..=100).await;
    put_group(&app, "billing", json!({})).await;
    append(&app, "orders", &[event(101)]).await.expect_problem(507, "stream-full");
    let claimed = claim(&app, "billing", json!({ "consumer": "c", "count": 10 })).await;
    append(&app, "orders", &[event(101)]).await.expect_problem(507, "stream-full");
    settle(&app, "billing", "ack", &items(&claimed), json!({})).await.expect(200);
    append_numbers(&app, "orders", 101..=110).await;
    append(&app, "orders", &[event(111)]).await.expect_problem(507, "stream-full");
    let stream = app.get("/streams/orders").await.expect(200).json();
    assert_eq!((&stream["version"], &stream["events"]), (&json!(110), &json!(100)), "{stream}");
    app.delete("/streams/orders/groups/billing").await.expect(204);
    append(&app, "orders", &[event(111)]).await.expect(201);
}

#[tokio::test]
async fn a_stream_without_groups_or_with_newest_events_only_trims_the_oldest() {
    let app = TestApp::builder().config("streams.max_events = 100\nstreams.retain = \"newest\"").spawn().await;
    append_numbers(&app, "orders", 1..=100).await;
    put_group(&app, "billing", json!({})).await;
    append_numbers(&app, "orders", 101..=150).await;
    let page = app.get("/streams/orders/events?from_version=21&limit=5").await.expect(200).json();
    assert_eq!(versions(&page["items"]), [51, 52, 53, 54, 55]);
    assert_eq!((&page["missing"], &page["first_version"], &page["version"]), (&json!(30), &json!(51), &json!(150)));
    let claimed = claim(&app, "billing", json!({ "consumer": "c", "count": 2 })).await;
    assert_eq!((&claimed["lost"], &claimed["lag"]), (&json!(50), &json!(100)), "{claimed}");
    assert_eq!(versions(&claimed["items"]), [51, 52]);
    // A delivered event that is trimmed is lost, and its receipt stays valid until it is due.
    append_numbers(&app, "orders", 151..=250).await;
    app.clock().advance(Duration::from_mins(1));
    let claimed = claim(&app, "billing", json!({ "consumer": "c", "count": 1 })).await;
    assert_eq!(versions(&claimed["items"]), [151], "{claimed}");
    assert_eq!(claimed["lost"], 100, "{claimed}");
}

#[tokio::test]
async fn old_events_are_trimmed_and_an_unused_stream_ends() {
    let app = TestApp::builder().config("streams.max_age = \"1h\"").spawn().await;
    append_numbers(&app, "orders", 1..=5).await;
    app.clock().advance(Duration::from_secs(3_700));
    append_numbers(&app, "orders", 6..=10).await;
    let page = app.get("/streams/orders/events").await.expect(200).json();
    assert_eq!((versions(&page["items"]), &page["missing"]), ((6..=10).collect(), &json!(5)));
    let keys = app.redis().keys();
    for key in keys.into_iter().filter(|key| key.contains("streams:")) {
        let left: i64 = app.redis().command(&["PTTL", &key]);
        assert!(left > 0, "{key} does not expire");
    }
}

#[tokio::test]
async fn invalid_appends_are_refused_by_name_and_nothing_is_appended() {
    let app = TestApp::builder().config("streams.event_limit = \"1KiB\"").spawn().await;
    for (path, value, pointer) in [
        ("type", json!(""), "/events/0/type"),
        ("type", json!("a b"), "/events/0/type"),
        ("id", json!(""), "/events/0/id"),
        ("id", json!("x".repeat(129)), "/events/0/id"),
        ("metadata", json!([1]), "/events/0/metadata"),
        ("unknown", json!(1), "/events/0/unknown"),
    ] {
        let mut invalid = event(1);
        invalid[path] = value;
        let problem = append(&app, "orders", &[invalid]).await.expect_problem(422, "invalid-body");
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{problem}");
    }
    for (field, value) in [("expected_version", json!(-1)), ("expected_version", json!("all")), ("events", json!([]))] {
        let mut body = json!({ "events": [event(1)] });
        body[field] = value;
        let problem = app.post("/streams/orders/events", body).await.expect_problem(422, "invalid-body");
        assert_eq!(problem["errors"][0]["pointer"], format!("/{field}"), "{problem}");
    }
    let many: Vec<_> = (0..101).map(event).collect();
    append(&app, "orders", &many).await.expect_problem(422, "invalid-body");
    let twice = json!({ "type": "T", "data": 1, "id": "a" });
    append(&app, "orders", &[twice.clone(), twice]).await.expect_violation(422, "invalid-body", "/events/1/id");
    let large = json!({ "type": "T", "data": "x".repeat(1_100) });
    append(&app, "orders", &[large]).await.expect_violation(413, "body-too-large", "/events/0/data");
    for name in ["a::b", "a.b", &"a".repeat(129)] {
        append(&app, name, &[event(1)]).await.expect_problem(422, "invalid-path");
    }
    app.get("/streams/orders").await.expect_problem(404, "stream-not-found");
    assert_eq!(app.get("/streams").await.expect(200).json()["items"], json!([]));
}

#[tokio::test]
async fn there_are_at_most_max_streams() {
    let app = TestApp::builder().config("streams.max_streams = 2").spawn().await;
    for stream in ["a", "b"] {
        append(&app, stream, &[event(1)]).await.expect(201);
    }
    append(&app, "c", &[event(1)]).await.expect_problem(507, "too-many-streams");
    app.delete("/streams/a").await.expect(204);
    append(&app, "c", &[event(1)]).await.expect(201);
    append(&app, "b", &[event(2)]).await.expect(201);
}

#[tokio::test]
async fn an_append_that_creates_no_stream_lists_none() {
    let config = "streams.max_streams = 1";
    let app = TestApp::builder().redis_options(&["--save", ""]).config(config).spawn().await;
    let listed = || app.redis().command::<Vec<String>>(&["ZRANGE", "streams:index", "0", "-1"]);
    let expecting = json!({ "events": [event(1)], "expected_version": 5 });
    // The list is on a server that works, and the stream on one that refuses.
    let only_lists = ["ACL", "SETUSER", "default", "resetkeys", "~streams:index", "~streams:owners:*"];
    let _: String = app.redis().command(&only_lists);
    let problem = append(&app, "a", &[event(1)]).await.expect_problem(503, "redis-denied");
    assert_eq!(problem["outcome"], "not_applied", "{problem}");
    assert_eq!(listed(), Vec::<String>::new());
    let _: String = app.redis().command(&["ACL", "SETUSER", "default", "allkeys"]);
    app.post("/streams/a/events", expecting.clone()).await.expect_problem(409, "version-conflict");
    assert_eq!(listed(), Vec::<String>::new());
    append(&app, "b", &[event(1)]).await.expect(201);
    app.post("/streams/b/events", expecting).await.expect_problem(409, "version-conflict");
    assert_eq!(listed(), ["b"]);
}

#[tokio::test]
async fn an_older_fencing_token_appends_nothing() {
    let app = TestApp::spawn().await;
    let attempt = async |token: &str| {
        let headers = [("content-type", "application/json"), ("fencing-token", token)];
        let body = json!({ "events": [event(1)] }).to_string();
        app.send(Method::POST, "/streams/orders/events", &headers, body).await
    };
    attempt("7").await.expect(201);
    attempt("6").await.expect_problem(409, "stale-fence");
    attempt("7").await.expect(201);
    assert_eq!(app.get("/streams/orders").await.expect(200).json()["version"], 2);
}

#[tokio::test]
async fn an_idempotency_key_repeats_the_first_response() {
    let app = TestApp::spawn().await;
    let attempt = async || {
        let headers = [("content-type", "application/json"), ("idempotency-key", "k-1")];
        app.send(Method::POST, "/streams/orders/events", &headers, json!({ "events": [event(1)] }).to_string()).await
    };
    let first = attempt().await.expect(201).json();
    assert_eq!(attempt().await.expect(201).json(), first);
    assert_eq!(app.get("/streams/orders").await.expect(200).json()["version"], 1);
}

#[tokio::test]
async fn the_channel_of_a_stream_tells_its_version() {
    let app = TestApp::builder().system_clock().spawn().await;
    append(&app, "orders:42", &[event(1)]).await.expect(201);
    append(&app, "orders:42", &[event(2), event(3)]).await.expect(201);
    let stream = app.get("/streams/orders:42").await.expect(200).json();
    assert_eq!(stream["channel"], "streams:orders.42");
    eventually("the channel has the newest version", async || {
        let latest = app.get("/pubsub/streams:orders.42/latest").await.expect(200).json();
        latest["items"][0]["data"] == json!({ "stream": "orders:42", "version": 3 })
    })
    .await;
}
