//! Repeated requests whose responses describe limits and values: they do not state what no longer holds.

use std::time::Duration;

use axum::body::Body;
use axum::http::Method;
use gridtokenx_redis::app::access_table;
use gridtokenx_redis::http::access::Repetition;
use serde_json::{Value, json};

use crate::pubsub::socket::price;
use crate::support::{Reply, START, TestApp, eventually};

const LIMITS: &str = "[[ratelimit.limiters]]\nname = \"one\"\nkey = \"one:{key}\"\nreservations = \"30s\"\n\
                      strategy = { kind = \"fixed_window\", limit = 1, window = \"60s\" }";

async fn post(app: &TestApp, path: &str, key: &str, body: &Value) -> Reply {
    let headers = [("content-type", "application/json"), ("idempotency-key", key)];
    app.send(Method::POST, path, &headers, body.to_string()).await
}

#[tokio::test]
async fn a_refusal_of_a_limit_is_not_repeated() {
    let app = TestApp::builder().config(LIMITS).spawn().await;
    let check = json!({ "limiter": "one", "key": "k" });
    let several = json!({ "checks": [check] });
    for (path, body) in
        [("/ratelimit/check", &check), ("/ratelimit/check-all", &several), ("/ratelimit/reserve", &check)]
    {
        post(&app, "/ratelimit/check", &format!("first {path}").replace(' ', "-"), &check).await.expect(200);
        let key = path.rsplit('/').next().unwrap_or_default();
        assert_eq!(post(&app, path, key, body).await.expect(200).json()["allowed"], false, "{path}");
        app.clock().advance(Duration::from_secs(61));
        let allowed = post(&app, path, key, body).await.expect(200);
        assert_eq!(allowed.json()["allowed"], true, "{path}");
        // What was allowed is repeated and takes nothing.
        let again = post(&app, path, key, body).await.expect(200);
        assert_eq!((&again.json()["allowed"], again.header("idempotency-replayed")), (&json!(true), Some("true")));
        app.clock().advance(Duration::from_secs(61));
    }
}

#[tokio::test]
async fn an_admission_is_repeated_until_the_limit_is_whole_again() {
    let limits = LIMITS.replace("60s", "1s");
    let app = TestApp::builder().system_clock().config(&limits).spawn().await;
    let check = json!({ "limiter": "one", "key": "k" });
    assert_eq!(post(&app, "/ratelimit/check", "k", &check).await.expect(200).json()["allowed"], true);
    let records: Vec<String> = app.redis().command(&["KEYS", "idempotency:*"]);
    let left: u64 = app.redis().command(&["PTTL", &records[0]]);
    assert!(left <= 1_000, "{left}");
}

#[tokio::test]
async fn a_reservation_is_repeated_with_the_time_that_is_left_and_not_beyond() {
    let app = TestApp::builder().system_clock().config(LIMITS).spawn().await;
    let request = json!({ "limiter": "one", "key": "k", "hold_ms": 400 });
    let reserve = || post(&app, "/ratelimit/reserve", "k", &request);
    let first = reserve().await.expect(200).json();
    let id = &first["reservation"];
    eventually("some of the time is over", async || {
        let again = reserve().await.expect(200).json();
        assert!(again["reservation"] != *id || again["hold_ms"].as_u64() <= first["hold_ms"].as_u64(), "{again}");
        again["reservation"] != *id || again["hold_ms"].as_u64() < Some(395)
    })
    .await;
    eventually("the reservation has ended", async || reserve().await.expect(200).json()["reservation"] != *id).await;
}

#[tokio::test]
async fn the_times_of_a_repeated_admission_count_down() {
    let limits = "[[ratelimit.limiters]]\nname = \"ten\"\nkey = \"ten:{key}\"\nreservations = \"60s\"\n\
                  strategy = { kind = \"sliding_window\", limit = 10, window = \"60s\" }\n\
                  [[ratelimit.envoy]]\ndomain = \"d\"\nentries = [{ key = \"key\" }]\nlimiter = \"ten\"";
    let app = TestApp::builder().system_clock().config(limits).spawn().await;
    let check = |key: &str| json!({ "limiter": "ten", "key": key });
    let requests = [
        ("/ratelimit/check", check("a"), "/reset_ms"),
        ("/ratelimit/check-all", json!({ "checks": [check("b"), check("c")] }), "/results/1/reset_ms"),
        ("/ratelimit/reserve", check("d"), "/reset_ms"),
        ("/ratelimit/enforce", check("e"), ""),
        (
            "/json",
            json!({ "domain": "d", "descriptors": [{ "entries": [{ "key": "key", "value": "f" }] }] }),
            "/statuses/0/duration_until_reset",
        ),
    ];
    for (path, body, pointer) in &requests {
        let answer = async || {
            let reply = post(&app, path, &path.replace('/', "-"), body).await;
            assert!(reply.status.is_success(), "{path}: {}", reply.text());
            let left = if pointer.is_empty() { json!(null) } else { reply.json().pointer(pointer).cloned().into() };
            (left, reply.header("ratelimit").expect("a header").to_owned())
        };
        let first = answer().await;
        assert!(first.1.ends_with("t=60"), "{path}: {first:?}");
        eventually("a second is over", async || {
            let (left, field) = answer().await;
            let is_less = match &left {
                Value::Null => true,
                Value::String(text) => text.as_str() < "59",
                number => number.as_u64().is_some_and(|ms| ms < 59_000),
            };
            is_less && !field.ends_with(";t=60")
        })
        .await;
    }
}

#[tokio::test]
async fn a_read_is_answered_from_the_current_state() {
    let app = TestApp::spawn().await;
    let values = async || post(&app, "/cache/batch", "k", &json!({ "get": ["a"] })).await.expect(200).json();
    let documents =
        async || post(&app, "/json/batch", "k", &json!({ "get": [{ "key": "d" }] })).await.expect(200).json();
    let query = json!({ "filter": ["site=north"], "from": 0, "to": 10 });
    let series = async || post(&app, "/timeseries/query", "k", &query).await.expect(200).text();
    assert_eq!(
        (&values().await["get"][0]["status"], &documents().await["get"][0]["status"]),
        (&json!(404), &json!(404))
    );
    let before = series().await;
    app.put("/cache/a", json!(1)).await.expect(201);
    app.put("/json/d", json!({ "n": 1 })).await.expect(201);
    app.put("/timeseries/s", json!({ "labels": { "site": "north" } })).await.expect(201);
    app.post("/timeseries/s/samples", json!({ "samples": [{ "timestamp": 5, "value": 1 }] })).await.expect(200);
    assert_eq!(
        (&values().await["get"][0]["status"], &documents().await["get"][0]["status"]),
        (&json!(200), &json!(200))
    );
    assert_ne!(series().await, before);
}

#[tokio::test]
async fn an_admission_belongs_to_the_key_in_its_headers() {
    let app = TestApp::builder().config(LIMITS).spawn().await;
    let enforce = async |key: &'static str, cost: Option<&'static str>| {
        let mut headers = vec![("idempotency-key", "k"), ("x-ratelimit-limiter", "one"), ("x-ratelimit-key", key)];
        headers.extend(cost.map(|cost| ("x-ratelimit-cost", cost)));
        app.send(Method::POST, "/ratelimit/enforce", &headers, Body::empty()).await
    };
    enforce("a", None).await.expect(204);
    for other in [enforce("b", None).await, enforce("a", Some("1")).await] {
        assert_eq!(other.expect_problem(422, "idempotency-key-reused")["outcome"], "not_applied");
    }
    assert_eq!(enforce("a", None).await.expect(204).header("idempotency-replayed"), Some("true"));
}

#[tokio::test]
async fn a_conditional_change_belongs_to_its_condition() {
    let app = TestApp::spawn().await;
    let stored = app.put("/json/d", json!({ "n": 1 })).await.expect(201);
    let patch = async |etag: &str| {
        let headers = [("content-type", "application/merge-patch+json"), ("idempotency-key", "k"), ("if-match", etag)];
        app.send(Method::PATCH, "/json/d", &headers, "{\"n\":2}").await
    };
    let etag = stored.header("etag").expect("an entity tag");
    assert!(patch(etag).await.status.is_success());
    patch("*").await.expect_problem(422, "idempotency-key-reused");
    assert_eq!(patch(etag).await.header("idempotency-replayed"), Some("true"));
}

/// Claims an event of the stream `orders` for the group `g`.
async fn claim(app: &TestApp, consumer: &str, key: &str) -> Reply {
    post(app, "/streams/orders/groups/g/claim", key, &json!({ "consumer": consumer })).await.expect(200)
}

async fn app_with_events(count: u64) -> TestApp {
    let app = TestApp::spawn().await;
    let events: Vec<_> = (0..count.max(1)).map(|number| json!({ "type": "Counted", "data": number })).collect();
    app.post("/streams/orders/events", json!({ "events": events })).await.expect(201);
    let start = if count == 0 { "now" } else { "first" };
    app.put("/streams/orders/groups/g", json!({ "start": start, "ack_timeout_ms": 1_000 })).await.expect(201);
    app
}

#[tokio::test]
async fn a_claim_is_repeated_while_its_consumer_holds_the_events() {
    let app = app_with_events(2).await;
    let first = claim(&app, "a", "k").await;
    assert_eq!(
        (first.json()["items"][0]["receipt"].clone(), first.header("idempotency-replayed")),
        (json!("1-1"), None)
    );
    app.clock().advance(Duration::from_millis(999));
    let again = claim(&app, "a", "k").await;
    assert_eq!((&again.json()["items"], again.header("idempotency-replayed")), (&first.json()["items"], Some("true")));

    // Another consumer gets the event after the timeout, so the repetition gets the next one.
    app.clock().advance(Duration::from_millis(1));
    assert_eq!(claim(&app, "b", "other").await.json()["items"][0]["receipt"], "1-2");
    let anew = claim(&app, "a", "k").await;
    assert_eq!((anew.json()["items"][0]["receipt"].clone(), anew.header("idempotency-replayed")), (json!("2-3"), None));
    assert_eq!(claim(&app, "a", "k").await.json()["items"][0]["receipt"], "2-3");

    // It was acknowledged, and there is nothing left.
    app.post("/streams/orders/groups/g/ack", json!({ "receipts": ["2-3"] })).await.expect(200);
    assert_eq!(claim(&app, "a", "k").await.json()["items"], json!([]));
}

#[tokio::test]
async fn a_claim_of_nothing_is_not_repeated() {
    let app = app_with_events(0).await;
    assert_eq!(claim(&app, "a", "k").await.json()["items"], json!([]));
    app.post("/streams/orders/events", json!({ "events": [{ "type": "Counted", "data": 1 }] })).await.expect(201);
    assert_eq!(claim(&app, "a", "k").await.json()["items"][0]["event"]["version"], 2);
}

#[tokio::test]
async fn a_repeated_extension_of_a_delivery_extends_again_or_is_stale() {
    let app = app_with_events(1).await;
    let receipt = claim(&app, "a", "k").await.json()["items"][0]["receipt"].clone();
    let body = json!({ "receipts": [receipt] });
    let extend = || post(&app, "/streams/orders/groups/g/extend", "e", &body);
    for _ in 0..3 {
        assert_eq!(extend().await.expect(200).json()["settled"], 1);
        app.clock().advance(Duration::from_millis(700));
    }
    app.clock().advance(Duration::from_millis(300));
    assert_eq!(claim(&app, "b", "b").await.json()["items"][0]["receipt"], "1-2");
    extend().await.expect_problem(409, "receipt-stale");
}

fn order(id: &str) -> Value {
    json!({ "order_id": id, "owner": "ann", "side": "buy", "price": "4", "quantity": "2", "expires_at": START + 60_000 })
}

#[tokio::test]
async fn a_repeated_change_of_an_order_returns_it_as_it_is_now() {
    let app = TestApp::spawn().await;
    app.put(
        "/orderbooks/GRID/settings",
        json!({ "mode": "store", "kind": "orders", "price_decimals": 0, "quantity_decimals": 0 }),
    )
    .await
    .expect(201);
    let place = async || post(&app, "/orderbooks/GRID/orders", "p", &order("a")).await;
    let patch = async || {
        let headers = [("content-type", "application/json"), ("idempotency-key", "a")];
        app.send(Method::PATCH, "/orderbooks/GRID/orders/a", &headers, "{\"quantity\":\"1\"}").await.expect(200)
    };
    let batch =
        json!({ "place": [order("b"), order("c")], "amend": [{ "order_id": "a", "price": "3" }], "cancel": ["x"] });
    let batch = || post(&app, "/orderbooks/GRID/orders/batch", "b", &batch);

    let placed = place().await.expect(201).json();
    assert_eq!((&placed["order"]["status"], &placed["replayed"]), (&json!("active"), &json!(false)));
    assert_eq!(patch().await.json()["remaining"], "1");
    let changed = batch().await.expect(200).json();
    assert_eq!((&changed["place"][0]["replayed"], &changed["cancel"][0]["status"]), (&json!(false), &json!(404)));

    // Later changes are not undone by a repetition.
    app.patch("/orderbooks/GRID/orders/a", json!({ "quantity": "5", "price": "2" })).await.expect(200);
    app.delete("/orderbooks/GRID/orders/b").await.expect(200);
    app.clock().advance(Duration::from_secs(30));
    let now = patch().await;
    assert_eq!(now.json(), app.get("/orderbooks/GRID/orders/a").await.expect(200).json());
    assert_eq!((&now.json()["quantity"], now.header("idempotency-replayed")), (&json!("5"), Some("true")));
    app.clock().advance(Duration::from_secs(30));
    for _ in 0..2 {
        let again = place().await.expect(201);
        assert_eq!(again.header("idempotency-replayed"), Some("true"));
        assert_eq!((&again.json()["order"]["status"], &again.json()["replayed"]), (&json!("expired"), &json!(true)));
        assert_eq!(patch().await.json()["status"], "expired");
        let again = batch().await.expect(200).json();
        let statuses = ["/amend/0", "/place/0", "/place/1"]
            .map(|item| again.pointer(item).expect("an item")["order"]["status"].clone());
        assert_eq!(statuses, ["expired", "cancelled", "expired"], "{again}");
        assert_eq!(again["amend"][0]["order"]["price"], now.json()["price"], "{again}");
        assert_eq!((&again["place"][1]["replayed"], &again["cancel"]), (&json!(true), &changed["cancel"]), "{again}");
    }
    // What is no longer kept stays as it was, and nothing is placed again.
    app.delete("/orderbooks/GRID").await.expect(204);
    assert_eq!(place().await.expect(201).json()["order"], placed["order"]);
    app.get("/orderbooks/GRID/orders/a").await.expect_problem(404, "book-not-found");
}

#[tokio::test]
async fn a_repeated_advance_returns_its_epoch_as_it_is_now() {
    let app = TestApp::spawn().await;
    let advance = async || post(&app, "/market/epoch/advance", "k", &json!({})).await;
    let first = advance().await.expect(201).json();
    app.put("/market/epoch", json!({ "epoch_number": 1, "status": "cancelled" })).await.expect(200);
    app.post("/market/epoch/advance", json!({})).await.expect(201);
    for _ in 0..2 {
        let again = advance().await.expect(201);
        assert_eq!(again.header("idempotency-replayed"), Some("true"));
        let again = again.json();
        assert_eq!((&again["epoch_id"], &again["status"]), (&first["epoch_id"], &json!("cancelled")));
    }
    assert_eq!(app.get("/market/epoch").await.expect(200).json()["epoch_number"], 2);
    let _: i64 = app.redis().command(&["DEL", "market:current_epoch", "market:epoch_log:{market:current_epoch}"]);
    assert_eq!(advance().await.expect(201).json(), first, "as it was");
    app.get("/market/epoch").await.expect_problem(404, "epoch-not-found");
}

#[tokio::test]
async fn the_ttl_of_a_repeated_increment_counts_down() {
    let app = TestApp::spawn().await;
    let increment = async || post(&app, "/cache/n/increment", "k", &json!({ "by": 2, "ttl_ms": 300 })).await;
    assert_eq!(increment().await.expect(200).json()["ttl_ms"], 300);
    eventually("the counter has ended", async || app.get("/cache/n").await.is(404)).await;
    let again = increment().await.expect(200).json();
    assert_eq!((&again["value"], &again["ttl_ms"]), (&json!(2), &json!(0)), "{again}");
    app.get("/cache/n").await.expect_problem(404, "cache-miss");
}

/// A channel for everyone.
const CHAT: &str = "[[pubsub.namespaces]]\npattern = \"market:chat\"\nkeep = \"log\"\nsubscribe = [\"public\"]\n\
                    publish = [\"public\"]";

#[tokio::test]
async fn a_batch_of_reads_for_centrifugo_is_answered_from_the_current_state() {
    let app = TestApp::builder().config(CHAT).spawn().await;
    let read = json!({ "history": { "channel": "market:chat" } });
    let publish = json!({ "publish": { "channel": "market:chat", "data": 1 } });
    let offset = async |commands: &[&Value], key: &str| {
        let replies = post(&app, "/batch", key, &json!({ "commands": commands })).await.expect(200).json();
        replies["replies"][0]["history"]["offset"].clone()
    };
    assert_eq!(offset(&[&read], "k").await, 0);
    for _ in 0..2 {
        assert_eq!(offset(&[&read, &publish], "writes").await, 0);
    }
    assert_eq!(offset(&[&read], "k").await, 1, "it was published once");
}

#[test]
fn verifications_ignore_the_key() {
    let rows = access_table();
    for path in ["/admin/backups/{id}/verify", "/trades/archive/verify"] {
        let row = rows.iter().find(|row| (row.method, row.path) == ("POST", path)).expect("an operation");
        assert_eq!(row.repetition, Repetition::Ignore, "{path}");
    }
}

#[tokio::test]
async fn encodings_of_one_path_share_their_keys() {
    let app = TestApp::builder().system_clock().spawn().await;
    let by_one = json!({ "by": 1 });
    for (at, (raw, encoded)) in [
        ("id:k", "id%3Ak"),
        ("a@!,$", "a%40%21%2c%24"),
        ("{a}|^", "%7Ba%7D%7c%5E"),
        ("[\"]", "%5B%22%5D"),
        ("é", "%C3%a9"),
    ]
    .into_iter()
    .enumerate()
    {
        let key = format!("key-{at}");
        let counted = async |name: &str| post(&app, &format!("/cache/{name}/increment"), &key, &by_one).await;
        counted(raw).await.expect(200);
        let again = counted(encoded).await.expect(200);
        assert_eq!((again.header("idempotency-replayed"), &again.json()["value"]), (Some("true"), &json!(1)), "{raw}");
    }
    let message = price(1);
    let first = post(&app, "/pubsub/market:events", "k", &message).await.expect(201);
    let again = post(&app, "/pubsub/market%3Aevents", "k", &message).await.expect(201);
    assert_eq!((again.header("idempotency-replayed"), again.json()), (Some("true"), first.json()));
}
