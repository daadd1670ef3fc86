//! Server-Sent Events.

use axum::body::{Body, BodyDataStream};
use axum::http::{Method, Request};
use futures_util::StreamExt;
use serde_json::{Value, json};

use super::socket::{number, price};
use crate::support::TestApp;

/// One event of a stream.
#[derive(Debug, Default, PartialEq)]
struct Received {
    id: String,
    name: String,
    data: Value,
}

struct EventSource {
    body: BodyDataStream,
    text: String,
}

impl EventSource {
    async fn open(app: &TestApp, path: &str, last_id: &str) -> Self {
        Self::open_as(app, path, last_id, "text/event-stream").await
    }

    async fn open_as(app: &TestApp, path: &str, last_id: &str, accept: &str) -> Self {
        let request = Request::builder().uri(path).header("last-event-id", last_id).header("accept", accept);
        let request = request.body(Body::empty());
        let response = app.app().answer(request.expect("a request")).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { body: response.into_body().into_data_stream(), text: String::new() }
    }

    /// The next event with data.
    async fn next(&mut self) -> Received {
        loop {
            while let Some((event, rest)) = self.text.split_once("\n\n") {
                let mut received = Received::default();
                for line in event.lines() {
                    match line.split_once(": ") {
                        Some(("id", id)) => id.clone_into(&mut received.id),
                        Some(("event", name)) => name.clone_into(&mut received.name),
                        Some(("data", data)) => received.data = serde_json::from_str(data).expect("JSON"),
                        _ => {}
                    }
                }
                let rest = rest.to_owned();
                self.text = rest;
                if !received.name.is_empty() {
                    return received;
                }
            }
            let chunk = self.body.next().await.expect("more").expect("a chunk");
            self.text.push_str(std::str::from_utf8(&chunk).expect("text"));
        }
    }
}

#[tokio::test]
async fn a_stream_continues_after_the_last_event() {
    let app = TestApp::builder().system_clock().spawn().await;
    let path = "/pubsub/sse?channel=market:events";
    let mut source = EventSource::open(&app, path, "").await;
    for at in 1..=5 {
        app.post("/pubsub/market:events", price(at)).await.expect(201);
    }
    let mut last = String::new();
    for at in 1..=3 {
        let event = source.next().await;
        assert_eq!((event.name.as_str(), number(&event.data)), ("PriceUpdate", at));
        last = event.id;
    }
    drop(source);
    let mut source = EventSource::open(&app, path, &last).await;
    assert_eq!([number(&source.next().await.data), number(&source.next().await.data)], [4, 5]);
}

#[tokio::test]
async fn messages_arrive_as_cloud_events() {
    let app = TestApp::builder().system_clock().spawn().await;
    let paths = ["/pubsub/sse?channel=market:events", "/pubsub/sse?channel=market:events&channel=orders:ann"];
    for (first, path) in [10, 20].into_iter().zip(paths) {
        let accept = "text/event-stream;q=0.5, application/cloudevents+json";
        let mut source = EventSource::open_as(&app, path, "", accept).await;
        let published = app.post("/pubsub/market:events", price(first)).await.expect(201).json();
        let event = source.next().await;
        let name = if path.contains("orders") { "message" } else { "PriceUpdate" };
        assert_eq!((event.name.as_str(), &event.data["type"]), (name, &json!("PriceUpdate")), "{event:?}");
        assert_eq!(
            (&event.data["specversion"], &event.data["data"]),
            (&json!("1.0"), &price(first)["data"]),
            "{event:?}"
        );
        assert_eq!(event.data["offset"], published["offset"].to_string(), "{event:?}");
        app.delete("/pubsub/market:events/history").await.expect(204);
        let gap = source.next().await;
        assert_eq!((gap.name.as_str(), &gap.data["reason"]), ("gap", &json!("epoch")), "{gap:?}");
        drop(source);
        // The id continues, whatever the form of the messages.
        app.post("/pubsub/market:events", price(first + 1)).await.expect(201);
        let mut source = EventSource::open_as(&app, path, &gap.id, accept).await;
        assert_eq!(source.next().await.data["id"], format!("p{}", first + 1));
    }
}

#[tokio::test]
async fn one_id_holds_the_positions_of_several_channels() {
    let app = TestApp::builder().system_clock().spawn().await;
    let path = "/pubsub/sse?channel=market:events&channel=orders:ann";
    let mut source = EventSource::open(&app, path, "").await;
    let order = json!({ "message_type": "Created", "data": { "order_id": "o1", "user_id": "ann", "symbol": "E", "side": "buy",
        "price": "1", "quantity": "1", "filled_quantity": "0", "status": "open", "timestamp": 1 } });
    app.post("/pubsub/orders:ann", order.clone()).await.expect(201);
    let first = source.next().await;
    assert_eq!((first.name.as_str(), &first.data["channel"]), ("message", &json!("orders:ann")));
    drop(source);
    app.post("/pubsub/market:events", price(1)).await.expect(201);
    app.post("/pubsub/orders:ann", order).await.expect(201);
    let mut source = EventSource::open(&app, path, &first.id).await;
    let channels = [source.next().await.data["channel"].clone(), source.next().await.data["channel"].clone()];
    assert_eq!(channels, [json!("market:events"), json!("orders:ann")]);
}

#[tokio::test]
async fn a_lost_position_is_a_gap() {
    let app = TestApp::builder().system_clock().spawn().await;
    let path = "/pubsub/sse?channel=market:events";
    let mut source = EventSource::open(&app, path, "").await;
    app.post("/pubsub/market:events", price(1)).await.expect(201);
    let first = source.next().await;
    drop(source);
    app.send(Method::DELETE, "/pubsub/market:events/history", &[], Body::empty()).await.expect(204);
    let mut source = EventSource::open(&app, path, &first.id).await;
    let gap = source.next().await;
    assert_eq!((gap.name.as_str(), &gap.data["reason"], &gap.data["from"]), ("gap", &json!("epoch"), &json!(2)));
}

#[tokio::test]
async fn invalid_parameters_are_rejected_by_name() {
    let app = TestApp::builder().admin_key().spawn().await;
    let names = (0..17).map(|at| format!("channel=market:events:{at}")).collect::<Vec<_>>().join("&");
    for (query, slug, status) in [
        ("", "invalid-query", 422),
        ("channel=a::b", "invalid-query", 422),
        ("channel=market:events&channel=market:events", "invalid-query", 422),
        ("channel=market:events&max_rate=0", "invalid-query", 422),
        ("channel=market:events&mode=x", "invalid-query", 422),
        ("channel=market:events&x=1", "invalid-query", 422),
        (&names, "invalid-query", 422),
        ("channel=weather", "channel-unknown", 404),
        ("channel=market:events", "unauthenticated", 401),
        ("channel=market:events&token=x", "unauthenticated", 401),
    ] {
        let reply = app.get(&format!("/pubsub/sse?{query}")).await;
        reply.expect_problem(status, slug);
    }
}
