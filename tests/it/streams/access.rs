//! Who may do what with streams.

use std::time::Duration;

use axum::http::Method;
use serde_json::{Value, json};

use super::event;
use crate::auth::{READER, WRITER, key};
use crate::support::{ADMIN_KEY, Reply, TestApp};

const LIMITED: &str = "ak_33333333333333333333333333333333";

async fn send(app: &TestApp, key: &str, method: Method, path: &str, body: &Value) -> Reply {
    let headers = [("x-api-key", key), ("content-type", "application/json")];
    let body = if method == Method::GET || method == Method::DELETE { String::new() } else { body.to_string() };
    app.send(method, path, &headers, body).await
}

#[tokio::test]
async fn one_credential_creates_at_most_half_of_the_streams() {
    let keys = key("one", READER, "scopes = [\"streams:write\"]") + &key("two", WRITER, "scopes = [\"streams:write\"]");
    let config = format!("streams.max_streams = 4\n{keys}");
    let app = TestApp::builder().config(&config).admin_key().spawn().await;
    let append = async |who: &str, stream: &str| {
        let path = format!("/streams/{stream}/events");
        send(&app, who, Method::POST, &path, &json!({ "events": [event(1)] })).await
    };
    for (who, stream) in [(READER, "a"), (READER, "b"), (READER, "a")] {
        append(who, stream).await.expect(201);
    }
    let refused = append(READER, "c").await.expect_problem(507, "too-many-streams");
    assert!(refused["detail"].as_str().is_some_and(|detail| detail.contains("this credential")), "{refused}");
    for stream in ["c", "d", "a"] {
        append(WRITER, stream).await.expect(201);
    }
    // A stream belongs to who created it, whoever appends to it or deletes it.
    send(&app, ADMIN_KEY, Method::DELETE, "/streams/a", &json!({})).await.expect(204);
    append(WRITER, "a").await.expect_problem(507, "too-many-streams");
    append(READER, "a").await.expect(201);
    append(READER, "e").await.expect_problem(507, "too-many-streams");
    let owners = "streams:owners:{streams:index}";
    assert_eq!(app.redis().command::<u64>(&["ZCARD", owners]), 4);
    // All of them have ended, and leave the list with the next new one.
    app.clock().advance(Duration::from_secs(130 * 86_400));
    append(READER, "e").await.expect(201);
    append(READER, "f").await.expect(201);
    append(READER, "g").await.expect_problem(507, "too-many-streams");
    assert_eq!(app.redis().command::<u64>(&["ZCARD", owners]), 2);
}

#[tokio::test]
async fn scopes_decide_and_can_be_limited_to_prefixes() {
    let keys = key("reader", READER, "scopes = [\"streams:read\"]")
        + &key("writer", WRITER, "scopes = [\"streams:write\"]")
        + &key("limited", LIMITED, "scopes = [\"streams:read:orders:*\", \"streams:write:orders:*\"]");
    let app = TestApp::builder().config(&keys).admin_key().system_clock().spawn().await;
    let events = json!({ "events": [event(1)] });
    for stream in ["orders:1", "payments:1"] {
        send(&app, ADMIN_KEY, Method::POST, &format!("/streams/{stream}/events"), &events).await.expect(201);
    }
    let (group, claim) = (json!({}), json!({ "consumer": "c" }));
    for (who, stream, may_read, may_write) in [
        (READER, "orders:1", true, false),
        (WRITER, "orders:1", false, true),
        (LIMITED, "orders:1", true, true),
        (LIMITED, "payments:1", false, false),
        (ADMIN_KEY, "payments:1", true, true),
    ] {
        let base = format!("/streams/{stream}");
        for (method, path, body, may) in [
            (Method::GET, base.clone(), &group, may_read),
            (Method::GET, format!("{base}/events"), &group, may_read),
            (Method::PUT, format!("{base}/groups/g"), &group, may_read),
            (Method::GET, format!("{base}/groups"), &group, may_read),
            (Method::POST, format!("{base}/groups/g/claim"), &claim, may_read),
            (Method::GET, format!("{base}/groups/g/dead-letters"), &group, may_read),
            (Method::POST, format!("{base}/events"), &events, may_write),
            (Method::POST, format!("{base}/groups/g/replay"), &json!({ "from_version": 1 }), who == ADMIN_KEY),
            (Method::DELETE, format!("{base}/groups/g"), &group, who == ADMIN_KEY),
        ] {
            let reply = send(&app, who, method.clone(), &path, body).await;
            assert_eq!(!reply.is(403), may, "{who} {method} {path}: {}", reply.text());
        }
    }
    let listed = send(&app, LIMITED, Method::GET, "/streams", &group).await.expect(200).json();
    let names: Vec<_> = listed["items"].as_array().expect("items").iter().map(|item| &item["stream"]).collect();
    assert_eq!(names, ["orders:1"]);
    // The channel of a stream follows the scope of the stream.
    for (who, channel, may) in [
        (LIMITED, "streams:orders.1", true),
        (LIMITED, "streams:payments.1", false),
        (READER, "streams:payments.1", true),
        (WRITER, "streams:orders.1", false),
    ] {
        let reply = send(&app, who, Method::GET, &format!("/pubsub/{channel}/latest"), &group).await;
        assert_eq!(reply.is(200), may, "{who} {channel}: {}", reply.text());
    }
    let message = json!({ "message_type": "Appended", "data": 1 });
    let forged = send(&app, WRITER, Method::POST, "/pubsub/streams:orders.1", &message).await;
    forged.expect_problem(403, "forbidden");
    app.get("/streams").await.expect_problem(401, "unauthenticated");
}
