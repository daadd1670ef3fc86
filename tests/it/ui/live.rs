//! The stream of live numbers.

use axum::body::{Body, BodyDataStream, Bytes};
use axum::http::{Method, Request};
use axum::response::Response;
use futures_util::StreamExt;
use http_body_util::Empty;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::auth::{READER, WRITER, key};
use crate::support::{ADMIN_KEY, Reply, START, TestApp, eventually};

const SCRAPER: &str = "ak_ffeeddccbbaa99887766554433221100";

async fn get_stream(app: &TestApp, key: &str) -> Response {
    let request = Request::get("/ui/events").header("x-api-key", key).body(Body::empty()).expect("a request");
    app.app().answer(request).await
}

async fn open(app: &TestApp, key: &str) -> BodyDataStream {
    let response = get_stream(app, key).await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    response.into_body().into_data_stream()
}

async fn get(app: &TestApp, key: &str, path: &str) -> Reply {
    app.send(Method::GET, path, &[("x-api-key", key)], "").await
}

/// The events of the next chunk, with their names.
async fn next(body: &mut BodyDataStream) -> Vec<(String, Value)> {
    let chunk = body.next().await.expect("the stream goes on").expect("a chunk");
    let text = String::from_utf8(chunk.to_vec()).expect("text");
    let events = text.split_terminator("\n\n").map(|event| {
        let (name, data) = event.split_once('\n').expect("two lines");
        let data = data.strip_prefix("data: ").expect("data");
        (name.trim_start_matches("event: ").to_owned(), serde_json::from_str(data).expect("JSON"))
    });
    events.collect()
}

/// The frames from here until one meets `condition`.
async fn frames_until(body: &mut BodyDataStream, condition: impl Fn(&Value) -> bool) -> Vec<Value> {
    let mut frames = Vec::new();
    loop {
        frames.extend(next(body).await.into_iter().filter(|(name, _)| name == "frame").map(|(_, frame)| frame));
        if frames.last().is_some_and(&condition) {
            return frames;
        }
    }
}

#[tokio::test]
async fn frames_have_the_requests_that_the_metrics_count() {
    let app = TestApp::builder().admin_key().spawn().await;
    let mut body = open(&app, ADMIN_KEY).await;
    let first = next(&mut body).await;
    assert_eq!(first[0], ("caller".to_owned(), json!({ "may": ["cache:write", "json:write"] })));
    let (event, replica) = &first[1];
    assert_eq!((event.as_str(), &replica["version"]), ("replica", &json!(env!("CARGO_PKG_VERSION"))));
    assert_eq!(replica["started"], START);
    let name = replica["name"].as_str().expect("a name");
    let metrics = get(&app, ADMIN_KEY, "/metrics").await.text();
    assert!(metrics.contains(&format!("\nreplica_info{{replica=\"{name}\"}} 1\n")), "{name}");
    assert_eq!(get(&app, ADMIN_KEY, "/ratelimit/stats").await.json()["replica"], name);
    // The stream has begun, so that the requests are counted in later frames.
    frames_until(&mut body, |_| true).await;
    for _ in 0..20 {
        get(&app, ADMIN_KEY, "/cache/none").await.expect_problem(404, "cache-miss");
    }
    let lock = json!({ "ttl_ms": 30_000 }).to_string();
    let headers = [("x-api-key", ADMIN_KEY), ("content-type", "application/json")];
    app.send(Method::POST, "/locks/a", &headers, lock).await.expect(201);
    let frames = frames_until(&mut body, |frame| frame["locks_held"] == 1.0).await;
    let sum = |field: &str| frames.iter().filter_map(|frame| frame[field].as_f64()).sum::<f64>();
    assert!((20.0..=21.0).contains(&sum("requests")), "{frames:?}");
    assert_eq!(frames.iter().find(|frame| !frame["hit_rate"].is_null()).expect("reads")["hit_rate"], 0.0);
    let busy = frames.iter().find(|frame| frame["requests"] != 0.0).expect("a frame");
    assert!(busy["p99_ms"].as_f64() >= busy["p50_ms"].as_f64() && busy["p50_ms"].as_f64() > Some(0.0), "{busy}");
    let metrics = get(&app, ADMIN_KEY, "/metrics").await.text();
    assert!(metrics.contains("\nlock_held 1\n"), "{metrics}");
    assert!(metrics.contains("\nhttp_problems_total{code=\"cache-miss\"} 20\n"), "{metrics}");
    // A later viewer sees the same frames first.
    let kept = next(&mut open(&app, ADMIN_KEY).await).await;
    assert!(frames.iter().all(|frame| kept.iter().any(|(_, kept)| kept == frame)), "{kept:?}");
}

#[tokio::test]
async fn frames_show_that_redis_is_unavailable_and_returns() {
    let app = TestApp::builder().admin_key().behind_proxy().spawn().await;
    let mut body = open(&app, ADMIN_KEY).await;
    frames_until(&mut body, |frame| frame["status"] == "ok").await;
    app.proxy().cut();
    let frames = frames_until(&mut body, |frame| frame["status"] == "unavailable").await;
    let last = frames.last().expect("a frame");
    assert!(last["reasons"][0].as_str().is_some_and(|reason| reason.contains("not connected")), "{last}");
    assert!(frames.iter().any(|frame| frame["events"] == json!(["degraded"])), "{frames:?}");
    app.proxy().heal();
    let frames = frames_until(&mut body, |frame| frame["status"] == "ok").await;
    let happened = |event: &str| frames.iter().any(|frame| frame["events"].to_string().contains(event));
    assert!(happened("reconnect") && happened("recovered"), "{frames:?}");
}

#[tokio::test]
async fn the_stream_needs_its_scope_and_has_a_limit_of_viewers() {
    let keys = format!(
        "{}{}{}",
        key("reader", READER, "scopes = [\"ui:read\"]"),
        key("writer", WRITER, "scopes = [\"ui:read\"]"),
        key("scraper", SCRAPER, "scopes = [\"metrics:read\"]"),
    );
    let app = TestApp::builder().config("http.body_idle_timeout = \"1h\"").config(&keys).spawn().await;
    app.get("/ui/events").await.expect_problem(401, "unauthenticated");
    get(&app, SCRAPER, "/ui/events").await.expect_problem(403, "forbidden");
    get(&app, READER, "/ui/events?x=1").await.expect_problem(422, "invalid-query");
    let mut viewers = Vec::new();
    for _ in 0..50 {
        viewers.push(open(&app, READER).await);
    }
    let full = get(&app, READER, "/ui/events").await.expect_problem(503, "overloaded");
    assert_eq!(full["detail"], "this credential has 50 of these streams, half of a replica's", "{full}");
    for _ in 0..50 {
        viewers.push(open(&app, WRITER).await);
    }
    let full = get(&app, WRITER, "/ui/events").await;
    assert!(full.header("retry-after").is_some(), "{:?}", full.headers);
    full.expect_problem(503, "overloaded");
    drop(viewers);
    eventually("the places are free", async || get_stream(&app, READER).await.status() == 200).await;
}

#[tokio::test]
async fn viewers_that_take_nothing_lose_their_places() {
    let config =
        format!("{}{}", key("reader", READER, "scopes = [\"ui:read\"]"), "[http]\nbody_idle_timeout = \"300ms\"");
    let mut app = TestApp::builder().config(&config).spawn().await;
    let connection = TcpStream::connect(app.serve()).await.expect("a connection");
    // These streams receive nothing, on a connection that is well.
    let mut client = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    client.initial_stream_window_size(0);
    let (mut sender, connection) = client.handshake(TokioIo::new(connection)).await.expect("HTTP/2");
    let viewers = async {
        let mut unread = Vec::new();
        for _ in 0..50 {
            let request = hyper::Request::get("http://test/ui/events").header("x-api-key", READER);
            let request = request.body(Empty::<Bytes>::new()).expect("a request");
            unread.push(sender.send_request(request).await.expect("a response"));
        }
        assert!(unread.iter().all(|response| response.status() == 200));
        eventually("the places are free", async || get_stream(&app, READER).await.status() == 200).await;
    };
    tokio::select! {
        () = viewers => {}
        ended = connection => panic!("the connection ended: {ended:?}"),
    }
}

#[tokio::test]
async fn a_stream_of_a_reader_offers_no_changes_and_ends_with_the_credential() {
    let expires = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(3);
    let config = key("reader", READER, &format!("scopes = [\"ui:read\"]\nexpires = \"{expires}\""));
    let app = TestApp::builder().system_clock().config(&config).spawn().await;
    let mut body = open(&app, READER).await;
    assert_eq!(next(&mut body).await[0], ("caller".to_owned(), json!({ "may": [] })));
    while next(&mut body).await[0].0 != "expired" {}
    assert!(body.next().await.is_none(), "the stream goes on");
}
