//! Messages that are published as `CloudEvents`.

use axum::http::Method;
use serde_json::{Value, json};

use super::socket::price;
use crate::support::{Reply, TestApp};

fn event() -> Value {
    json!({ "specversion": "1.0", "id": "e1", "source": "/matching", "type": "PriceUpdate", "time": "2026-01-01T00:00:00Z",
        "subject": "ENERGY", "partitionkey": "ENERGY", "traceparent": "00-1-2-01", "data": price(7)["data"],
        "datacontenttype": "application/json; charset=utf-8" })
}

async fn publish(app: &TestApp, event: &Value) -> Reply {
    let headers = [("content-type", "application/cloudevents+json; charset=utf-8")];
    app.send(Method::POST, "/pubsub/market:events", &headers, event.to_string()).await
}

#[tokio::test]
async fn a_cloud_event_becomes_a_message() {
    let app = TestApp::builder().system_clock().spawn().await;
    let published = publish(&app, &event()).await.expect(201).json();
    assert_eq!((&published["id"], &published["duplicate"]), (&json!("e1"), &json!(false)), "{published}");
    assert_eq!(publish(&app, &event()).await.expect(201).json()["duplicate"], true);
    let history = app.get("/pubsub/market:events/history").await.expect(200).json();
    let items = history["items"].as_array().expect("items");
    assert_eq!(items.len(), 1, "{history}");
    let message = &items[0];
    assert_eq!((&message["message_type"], &message["key"]), (&json!("PriceUpdate"), &json!("ENERGY")), "{message}");
    assert_eq!(message["data"], price(7)["data"]);
}

#[tokio::test]
async fn an_invalid_cloud_event_is_refused_by_name() {
    let app = TestApp::builder().system_clock().spawn().await;
    for (field, value) in [
        ("specversion", json!("0.3")),
        ("specversion", json!(null)),
        ("id", json!("")),
        ("id", json!(5)),
        ("source", json!("")),
        ("type", json!("a b")),
        ("partitionkey", json!("")),
        ("datacontenttype", json!("text/xml")),
        ("data_base64", json!("AA==")),
    ] {
        let mut invalid = event();
        invalid[field] = value;
        let problem = publish(&app, &invalid).await.expect_problem(422, "invalid-body");
        assert_eq!(problem["errors"][0]["pointer"], format!("/{field}"), "{problem}");
    }
    let mut unknown = event();
    unknown["type"] = json!("Created");
    publish(&app, &unknown).await.expect_problem(422, "event-invalid");
    assert_eq!(app.get("/pubsub/market:events/history").await.expect(200).json()["items"], json!([]));
}
