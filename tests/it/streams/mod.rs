//! Event streams.

mod access;
mod appending;
mod consuming;
mod faults;
mod groups;
mod many;
mod reading;
mod waiting;

use serde_json::{Value, json};

use crate::support::{Reply, TestApp};

/// An event without an id.
fn event(number: u64) -> Value {
    json!({ "type": "Counted", "data": { "number": number } })
}

async fn append(app: &TestApp, stream: &str, events: &[Value]) -> Reply {
    app.post(&format!("/streams/{stream}/events"), json!({ "events": events })).await
}

/// Appends events with these numbers, 100 at a time.
async fn append_numbers(app: &TestApp, stream: &str, numbers: std::ops::RangeInclusive<u64>) {
    let events: Vec<_> = numbers.map(event).collect();
    for part in events.chunks(100) {
        append(app, stream, part).await.expect(201);
    }
}

async fn put_group(app: &TestApp, group: &str, settings: Value) -> Value {
    app.put(&format!("/streams/orders/groups/{group}"), settings).await.expect(201).json()
}

async fn claim(app: &TestApp, group: &str, request: Value) -> Value {
    app.post(&format!("/streams/orders/groups/{group}/claim"), request).await.expect(200).json()
}

/// Acknowledges, returns or extends with the receipts of claimed items.
async fn settle(app: &TestApp, group: &str, verb: &str, items: &[Value], more: Value) -> Reply {
    let receipts: Vec<_> = items.iter().map(|item| item["receipt"].clone()).collect();
    let mut body = more;
    body["receipts"] = json!(receipts);
    app.post(&format!("/streams/orders/groups/{group}/{verb}"), body).await
}

fn versions(items: &Value) -> Vec<u64> {
    let version = |item: &Value| item.pointer("/event/version").or(item.get("version")).and_then(Value::as_u64);
    items.as_array().expect("a list").iter().map(|item| version(item).expect("a version")).collect()
}

fn items(reply: &Value) -> Vec<Value> {
    reply["items"].as_array().expect("items").clone()
}
