//! npm's `eventsource`, which behaves as the `EventSource` of browsers, without changes.

use axum::body::Body;
use axum::http::Method;
use serde_json::{Value, json};

use super::centrifugo_client::Link;
use super::socket::{number, price};
use crate::auth::{SECRET, platform_token};
use crate::support::{LineProcess, TestApp, in_repository, node};

struct EventSource(LineProcess);

impl EventSource {
    async fn open(url: &str) -> Self {
        let mut command = node(&in_repository("tests/interoperability/event_source.js"));
        command.arg(url);
        let mut source = Self(LineProcess::start("eventsource", command));
        assert_eq!(source.next().await["event"], "open");
        source
    }

    async fn next(&mut self) -> Value {
        self.0.request(json!({ "do": "event" })).await
    }

    /// The next event of this kind; only errors and connections may come before it.
    async fn until(&mut self, kind: &str) -> Value {
        loop {
            let event = self.next().await;
            if event["event"] == kind {
                return event;
            }
            assert!(event["event"] == "error" || event["event"] == "open", "{event} instead of {kind}");
        }
    }
}

#[tokio::test]
async fn event_source_recovers_after_a_cut_and_learns_of_gaps() {
    let mut app = TestApp::builder().system_clock().spawn().await;
    let link = Link::to(app.serve()).await;
    let mut source = EventSource::open(&format!("http://{}/pubsub/sse?channel=market:events", link.address())).await;
    for at in 1..=3 {
        app.post("/pubsub/market:events", price(at)).await.expect(201);
        assert_eq!(number(&source.until("PriceUpdate").await["data"]), at);
    }
    link.cut();
    source.until("error").await;
    for at in 4..=200 {
        app.post("/pubsub/market:events", price(at)).await.expect(201);
    }
    link.lead_to(app.serve());
    for at in 4..=200 {
        assert_eq!(number(&source.until("PriceUpdate").await["data"]), at);
    }
    link.cut();
    source.until("error").await;
    app.send(Method::DELETE, "/pubsub/market:events/history", &[], Body::empty()).await.expect(204);
    app.post("/pubsub/market:events", price(201)).await.expect(201);
    link.lead_to(app.serve());
    let gap = source.until("gap").await;
    assert_eq!((&gap["data"]["from"], &gap["data"]["reason"]), (&json!(201), &json!("epoch")), "{gap}");
    app.post("/pubsub/market:events", price(202)).await.expect(201);
    let message = source.until("PriceUpdate").await;
    let next = gap["data"]["to"].as_u64().map(|to| to + 1);
    assert_eq!((message["data"]["offset"].as_u64(), &message["data"]["epoch"]), (next, &gap["data"]["epoch"]));
}

#[tokio::test]
async fn event_source_sends_its_token_in_the_address_and_learns_of_its_end() {
    let auth = format!("[auth]\njwt_secret = \"{SECRET}\"");
    let mut app = TestApp::builder().config(&auth).system_clock().spawn().await;
    let token = |subject: &str, seconds: i64| {
        platform_token(&json!({ "sub": subject, "role": null, "exp": app.clock().now() / 1_000 + seconds }))
    };
    let (ann, bob) = (token("ann", 5), token("bob", 60));
    let url = |token: &str| format!("/pubsub/sse?channel=orders:ann&token={token}");
    app.get(&url(&bob)).await.expect_problem(403, "forbidden");
    let mut source = EventSource::open(&format!("http://{}{}", app.serve(), url(&ann))).await;
    source.until("expired").await;
    // It reconnects with the same address, and the refusal is final.
    loop {
        let event = source.until("error").await;
        if event["code"] == 401 {
            break;
        }
    }
}

#[tokio::test]
async fn sixteen_channels_share_one_stream() {
    let mut app = TestApp::builder().system_clock().spawn().await;
    let channels: Vec<_> = (0..16).map(|at| format!("market:events:{at}")).collect();
    let query = channels.iter().map(|channel| format!("channel={channel}")).collect::<Vec<_>>().join("&");
    let link = Link::to(app.serve()).await;
    let mut source = EventSource::open(&format!("http://{}/pubsub/sse?{query}", link.address())).await;
    for round in 0..2 {
        for (at, channel) in (0..).zip(&channels) {
            app.post(&format!("/pubsub/{channel}"), price(100 * round + at)).await.expect(201);
        }
        let mut seen = Vec::new();
        for _ in &channels {
            let message = source.until("message").await["data"].clone();
            seen.push((message["channel"].as_str().expect("a channel").to_owned(), number(&message)));
        }
        seen.sort_by_key(|(_, number)| *number);
        let expected: Vec<_> = channels.iter().cloned().zip((0..).map(|at| 100 * round + at)).collect();
        assert_eq!(seen, expected);
        // The second round begins on a new connection.
        link.cut();
        source.until("error").await;
        link.lead_to(app.serve());
    }
}
