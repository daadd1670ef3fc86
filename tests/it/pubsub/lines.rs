//! Messages that are published as a stream of lines, and a history that is read as `CloudEvents`.

use std::fmt::Write as _;

use axum::http::Method;
use serde_json::{Value, json};

use super::socket::price;
use crate::support::{Reply, TestApp, eventually};

async fn publish(app: &TestApp, lines: impl Into<axum::body::Body>) -> Reply {
    app.send(Method::POST, "/pubsub", &[("content-type", "application/x-ndjson")], lines).await
}

fn line(number: u64) -> String {
    let mut message = price(number);
    message["channel"] = json!("market:events");
    message.to_string()
}

#[tokio::test]
async fn a_stream_of_messages_is_published_in_order_and_refused_ones_are_named() {
    let app = TestApp::builder().system_clock().spawn().await;
    let mut lines = String::new();
    for number in 1..=250 {
        writeln!(lines, "{}", line(number)).expect("text");
        match number {
            100 => lines.push_str("{\"channel\":\"market:events\",\"message_type\":\"Nothing\",\"data\":1}\n"),
            200 => lines.push_str("{\n"),
            _ => {}
        }
    }
    let reply = publish(&app, lines.clone()).await.expect(200).json();
    assert_eq!((&reply["published"], &reply["duplicates"]), (&json!(250), &json!(0)), "{reply}");
    let refused: Vec<_> = reply["results"].as_array().expect("results").iter().map(|item| &item["line"]).collect();
    assert_eq!(refused, [101, 202], "{reply}");
    assert_eq!(reply["results"][0]["error"]["code"], "event-invalid", "{reply}");
    let again = publish(&app, lines).await.expect(200).json();
    assert_eq!((&again["published"], &again["duplicates"]), (&json!(0), &json!(250)), "{again}");
    let page = app.get("/pubsub/market:events/history?limit=300").await.expect(200).json();
    let numbers: Vec<_> = page["items"].as_array().expect("items").iter().map(super::socket::number).collect();
    assert_eq!(numbers, (1..=250).collect::<Vec<u64>>());
}

#[tokio::test]
async fn a_stream_ends_after_a_thousand_refused_messages() {
    let app = TestApp::builder().system_clock().spawn().await;
    let lines = format!("{}\n{}", line(1), "{}\n".repeat(5_000));
    let problem = publish(&app, lines).await.expect_problem(422, "messages-refused");
    assert!(problem["detail"].as_str().is_some_and(|text| text.contains("line 2")), "{problem}");
    let too_long = format!("{}\n", "x".repeat(200_000));
    let problem = publish(&app, too_long).await.expect_problem(422, "messages-refused");
    assert_eq!(problem["outcome"], "not_applied", "{problem}");
}

#[tokio::test]
async fn a_stream_says_how_far_it_came_when_redis_becomes_unavailable() {
    let app = TestApp::builder().behind_proxy().system_clock().spawn().await;
    app.proxy().cut();
    let history = async || app.get("/pubsub/market:events/history").await;
    eventually("the cut is noticed", async || history().await.json()["outcome"] == "not_applied").await;
    let problem = publish(&app, line(1)).await.expect_problem(503, "redis-unavailable");
    assert_eq!(problem["outcome"], "not_applied", "{problem}");
}

#[tokio::test]
async fn the_history_is_read_as_cloud_events() {
    let app = TestApp::builder().system_clock().spawn().await;
    for number in 1..=3 {
        app.post("/pubsub/market:events", price(number)).await.expect(201);
    }
    let accept = [("accept", "application/cloudevents-batch+json")];
    let path = "/pubsub/market:events/history?limit=2";
    let reply = app.send(Method::GET, path, &accept, axum::body::Body::empty()).await.expect(200);
    assert_eq!(reply.header("content-type"), Some("application/cloudevents-batch+json"));
    let cursor = reply.header("next-cursor").expect("a cursor").to_owned();
    let events = reply.json();
    let first = &events[0];
    for (attribute, value) in [
        ("specversion", "1.0"),
        ("id", "p1"),
        ("source", "/pubsub/market:events"),
        ("type", "PriceUpdate"),
        ("subject", "market:events"),
        ("partitionkey", "ENERGY"),
        ("offset", "1"),
        ("version", "1.0"),
    ] {
        assert_eq!(first[attribute], value, "{first}");
    }
    assert_eq!(first["data"], price(1)["data"]);
    let time = first["time"].as_str().expect("a time");
    assert!(time.starts_with("20") && time.ends_with('Z'), "{time}");
    let path = format!("/pubsub/market:events/history?cursor={cursor}");
    let rest = app.send(Method::GET, &path, &accept, axum::body::Body::empty()).await.expect(200);
    assert_eq!((rest.header("channel-recovered"), rest.header("next-cursor")), (Some("true"), None));
    let epoch = first["epoch"].as_str().expect("an epoch");
    assert_eq!(rest.header("channel-position"), Some(format!("{epoch}.3").as_str()));
    assert_eq!(rest.json().as_array().map(Vec::len), Some(1));
    // Without the header the page is JSON.
    let page: Value = app.get("/pubsub/market:events/history").await.expect(200).json();
    assert_eq!(page["items"].as_array().map(Vec::len), Some(3));
}
