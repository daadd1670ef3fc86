//! `GET /alerts/events`.

use axum::body::{Body, BodyDataStream};
use axum::http::Request;
use axum::response::Response;
use futures_util::StreamExt;
use serde_json::{Value, json};

use super::alerts::{FAST, builder};
use crate::auth::{READER, key};
use crate::support::{Reply, TestApp, eventually};

async fn open(app: &TestApp, key: &str) -> Response {
    let request = Request::get("/alerts/events").header("x-api-key", key).body(Body::empty()).expect("a request");
    app.app().answer(request).await
}

/// The next event of a stream, as its name and data.
async fn next(body: &mut BodyDataStream) -> (String, Value) {
    loop {
        let chunk = body.next().await.expect("an event").expect("a chunk");
        let chunk = String::from_utf8(chunk.to_vec()).expect("text");
        if let Some((name, data)) =
            chunk.trim_end().strip_prefix("event: ").and_then(|rest| rest.split_once("\ndata: "))
        {
            return (name.to_owned(), serde_json::from_str(data).expect("JSON"));
        }
    }
}

#[tokio::test]
async fn a_stream_shows_beginnings_and_ends_without_redis_too() {
    let app = builder().behind_proxy().config(FAST).spawn().await;
    let request = Request::get("/alerts/events").body(Body::empty()).expect("a request");
    let response = app.app().answer(request).await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut body = response.into_body().into_data_stream();
    assert_eq!(next(&mut body).await, ("alerts".to_owned(), json!([])));
    app.proxy().cut();
    let alert = loop {
        let (name, alert) = next(&mut body).await;
        assert_eq!(name, "alert");
        // Tasks fail without Redis too.
        if alert["condition"] == "RedisConnectionLost" {
            break alert;
        }
    };
    assert_eq!(alert["status"], "firing");
    app.proxy().heal();
    loop {
        let (_, change) = next(&mut body).await;
        if change["id"] == alert["id"] && change["status"] == "resolved" {
            break;
        }
    }
}

#[tokio::test]
async fn a_stream_ends_with_its_credential() {
    let expires = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(2);
    let config = key("reader", READER, &format!("scopes = [\"alerts:read\"]\nexpires = \"{expires}\""));
    let app = builder().system_clock().config(&config).spawn().await;
    let mut body = open(&app, READER).await.into_body().into_data_stream();
    assert_eq!(next(&mut body).await.0, "alerts");
    assert_eq!(next(&mut body).await, ("expired".to_owned(), json!({})));
    assert!(body.next().await.is_none(), "the stream goes on");
}

#[tokio::test]
async fn a_replica_with_all_its_streams_says_when_to_try_again() {
    let keys = key("reader", READER, "scopes = [\"alerts:read\"]");
    let app = builder().config("http.body_idle_timeout = \"1h\"").config(&keys).spawn().await;
    let mut streams = Vec::new();
    for _ in 0..50 {
        let stream = open(&app, READER).await;
        assert_eq!(stream.status(), 200);
        streams.push(stream);
    }
    let full = Reply::read("GET /alerts/events".to_owned(), open(&app, READER).await).await;
    assert_eq!(full.header("retry-after"), Some("10"));
    full.expect_problem(503, "overloaded");
    streams.pop();
    eventually("a place is free", async || open(&app, READER).await.status() == 200).await;
}
