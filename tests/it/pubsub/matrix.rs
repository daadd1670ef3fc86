//! Every operation, over every transport, with every kind of credential: all transports decide alike.

use axum::body::Body;
use axum::http::{Method, Request};
use serde_json::{Value, json};

use super::socket::{Socket, price};
use crate::auth::{READER, SECRET, WRITER, key, platform_token};
use crate::support::{ADMIN_KEY, TestApp};

/// Keys that may only publish to orders, and only use the cache.
const ORDERS: &str = "ak_11111111111111111111111111111111";
const CACHE: &str = "ak_22222222222222222222222222222222";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Allowed,
    Unauthenticated,
    Forbidden,
}
use Outcome::{Allowed, Forbidden, Unauthenticated};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Transport {
    Http,
    /// Long polling.
    Polls,
    Latest,
    Events,
    Socket,
    /// `history` over a WebSocket.
    SocketHistory,
    Centrifugo,
    CentrifugoHistory,
}

const READING: [Transport; 8] = [
    Transport::Http,
    Transport::Polls,
    Transport::Latest,
    Transport::Events,
    Transport::Socket,
    Transport::SocketHistory,
    Transport::Centrifugo,
    Transport::CentrifugoHistory,
];
const PUBLISHING: [Transport; 3] = [Transport::Http, Transport::Socket, Transport::Centrifugo];

/// What a caller wants to do with a channel.
struct Case<'a> {
    credential: Option<&'a str>,
    channel: &'a str,
    publishes: bool,
}

impl Case<'_> {
    async fn over(&self, app: &mut TestApp, transport: Transport) -> Outcome {
        match transport {
            Transport::Http | Transport::Polls | Transport::Latest | Transport::Events => {
                self.request(app, transport).await
            }
            Transport::Socket | Transport::SocketHistory => self.command(app, transport).await,
            Transport::Centrifugo | Transport::CentrifugoHistory => self.centrifugo(app, transport).await,
        }
    }

    async fn request(&self, app: &TestApp, transport: Transport) -> Outcome {
        let channel = self.channel;
        let path = match transport {
            Transport::Polls => format!("/pubsub/{channel}/history?wait_ms=1"),
            Transport::Latest => format!("/pubsub/{channel}/latest"),
            // As browsers do, which cannot send headers.
            Transport::Events => {
                let token = self.credential.map(|token| format!("&token={token}")).unwrap_or_default();
                format!("/pubsub/sse?channel={channel}{token}")
            }
            _ if self.publishes => format!("/pubsub/{channel}"),
            _ => format!("/pubsub/{channel}/history"),
        };
        let (method, body) =
            if self.publishes { (Method::POST, message(channel).to_string()) } else { (Method::GET, String::new()) };
        let mut request = Request::builder().method(method).uri(&path).header("content-type", "application/json");
        if let Some(credential) = self.credential.filter(|_| transport != Transport::Events) {
            request = if credential.starts_with("ak_") {
                request.header("x-api-key", credential)
            } else {
                request.header("authorization", format!("Bearer {credential}"))
            };
        }
        // The body of a stream has no end, so only the status is read.
        let response = app.app().answer(request.body(Body::from(body)).expect("a request")).await;
        match response.status().as_u16() {
            200 | 201 => Allowed,
            401 => Unauthenticated,
            403 => Forbidden,
            other => panic!("{path}: {other}"),
        }
    }

    async fn command(&self, app: &mut TestApp, transport: Transport) -> Outcome {
        let mut socket = Socket::open(app).await;
        socket.send(&json!({ "id": 1, "cmd": "connect", "token": self.credential })).await;
        match socket.next().await {
            Ok(connected) => assert!(connected["ok"]["client"].is_string(), "{connected}"),
            Err(4401) => return Unauthenticated,
            Err(other) => panic!("closed with {other}"),
        }
        let mut command = json!({ "id": 2, "cmd": "subscribe", "channel": self.channel });
        if self.publishes {
            command = message(self.channel);
            command["id"] = json!(2);
            command["cmd"] = json!("publish");
            command["channel"] = json!(self.channel);
        } else if transport == Transport::SocketHistory {
            command["cmd"] = json!("history");
        }
        let reply = socket.command(command).await;
        match reply["error"]["code"].as_str() {
            None if reply["ok"].is_object() => Allowed,
            Some("unauthenticated") => Unauthenticated,
            Some("forbidden") => Forbidden,
            _ => panic!("{reply}"),
        }
    }

    async fn centrifugo(&self, app: &mut TestApp, transport: Transport) -> Outcome {
        let mut socket = Socket::connect(&format!("ws://{}/connection/websocket", app.serve())).await;
        let connect = json!({ "id": 1, "connect": { "token": self.credential.unwrap_or_default() } });
        socket.send(&connect).await;
        match socket.next().await {
            Ok(connected) if connected["error"]["code"] == 109 => return Unauthenticated,
            Ok(connected) => assert!(connected["connect"]["client"].is_string(), "{connected}"),
            Err(3500) => return Unauthenticated,
            Err(other) => panic!("closed with {other}"),
        }
        let parameters = json!({ "channel": self.channel });
        let command = if self.publishes {
            let parameters = json!({ "channel": self.channel, "data": message(self.channel) });
            json!({ "id": 2, "publish": parameters })
        } else if transport == Transport::CentrifugoHistory {
            json!({ "id": 2, "history": parameters })
        } else {
            json!({ "id": 2, "subscribe": parameters })
        };
        let reply = socket.command(command).await;
        match reply["error"]["code"].as_u64() {
            None => Allowed,
            Some(101) => Unauthenticated,
            Some(103) => Forbidden,
            Some(_) => panic!("{reply}"),
        }
    }
}

/// A message that the schema of the channel accepts.
fn message(channel: &str) -> Value {
    let mut message = match channel {
        "market:events" => price(1),
        "orders:ann" => json!({ "message_type": "Created", "data": { "order_id": "o1", "user_id": "ann", "symbol": "E",
            "side": "buy", "price": "1", "quantity": "1", "filled_quantity": "0", "status": "open", "timestamp": 1 } }),
        _ => json!({ "message_type": "SecurityEvent", "data": { "severity": "high", "summary": "s", "since": 1,
            "instance": "a" } }),
    };
    message.as_object_mut().expect("an object").retain(|name, _| name == "message_type" || name == "data");
    message
}

#[tokio::test]
async fn all_transports_decide_alike() {
    let keys = key("reader", READER, "scopes = [\"pubsub:read\"]")
        + &key("writer", WRITER, "scopes = [\"pubsub:write\"]")
        + &key("orders", ORDERS, "scopes = [\"pubsub:write:orders:*\"]")
        + &key("cache", CACHE, "scopes = [\"cache:read\"]");
    let auth = format!("[auth]\njwt_secret = \"{SECRET}\"");
    let mut app = TestApp::builder().config(&auth).config(&keys).admin_key().system_clock().spawn().await;
    let now = app.clock().now() / 1_000;
    let token = |subject: &str, ends: i64| platform_token(&json!({ "sub": subject, "role": null, "exp": ends }));
    let revoked = platform_token(&json!({ "sub": "rob", "role": null, "exp": now + 600, "iat": now - 100 }));
    let order = json!({ "subject": "rob", "revoke": true }).to_string();
    let headers = [("x-api-key", ADMIN_KEY), ("content-type", "application/json")];
    app.send(Method::POST, "/pubsub/disconnect", &headers, order).await.expect(204);
    let (ann, bob, expired) = (token("ann", now + 600), token("bob", now + 600), token("ann", now - 100));
    let channels = ["market:events", "orders:ann", "system:alerts"];
    // The outcomes of reading and of publishing, by channel.
    for (name, credential, reading, publishing) in [
        ("none", None, [Unauthenticated; 3], [Unauthenticated; 3]),
        ("expired", Some(expired.as_str()), [Unauthenticated; 3], [Unauthenticated; 3]),
        ("revoked", Some(revoked.as_str()), [Unauthenticated; 3], [Unauthenticated; 3]),
        ("another scope", Some(CACHE), [Allowed, Forbidden, Forbidden], [Forbidden; 3]),
        ("the owner", Some(&ann), [Allowed, Allowed, Forbidden], [Forbidden; 3]),
        ("another user", Some(&bob), [Allowed, Forbidden, Forbidden], [Forbidden; 3]),
        ("a reader", Some(READER), [Allowed; 3], [Forbidden; 3]),
        ("a writer", Some(WRITER), [Allowed, Forbidden, Forbidden], [Allowed; 3]),
        ("a writer of orders", Some(ORDERS), [Allowed, Forbidden, Forbidden], [Forbidden, Allowed, Forbidden]),
        ("an administrator", Some(ADMIN_KEY), [Allowed; 3], [Allowed; 3]),
    ] {
        for (at, channel) in channels.into_iter().enumerate() {
            for (publishes, transports, expected) in
                [(false, &READING[..], reading[at]), (true, &PUBLISHING[..], publishing[at])]
            {
                let case = Case { credential, channel, publishes };
                let mut outcomes = Vec::new();
                for transport in transports {
                    outcomes.push((*transport, case.over(&mut app, *transport).await));
                }
                let is_as_expected = outcomes.iter().all(|(_, outcome)| *outcome == expected);
                assert!(
                    is_as_expected,
                    "{name}, {channel}, publishes: {publishes}: expected {expected:?}, got {outcomes:?}"
                );
            }
        }
    }
}

#[tokio::test]
async fn the_first_reply_of_every_transport_has_a_position() {
    let mut app = TestApp::builder().system_clock().spawn().await;
    let mut epochs = Vec::new();
    for (at, channel) in ["orders:a", "orders:b", "orders:c", "orders:d", "orders:e"].into_iter().enumerate() {
        let mut socket = Socket::open(&mut app).await;
        let mut centrifugo = Socket::connect(&format!("ws://{}/connection/websocket", app.serve())).await;
        centrifugo.command(json!({ "id": 1, "connect": {} })).await;
        // Each channel is used for the first time, each by another operation.
        let reply = match at {
            0 => socket.subscribe(channel).await,
            1 => socket.command(json!({ "id": 2, "cmd": "history", "channel": channel })).await["ok"].clone(),
            2 => centrifugo.command(json!({ "id": 2, "subscribe": { "channel": channel } })).await["subscribe"].clone(),
            3 => centrifugo.command(json!({ "id": 2, "history": { "channel": channel } })).await["history"].clone(),
            _ => app.get(&format!("/pubsub/{channel}/history")).await.expect(200).json(),
        };
        assert_eq!(reply["offset"], 0, "{reply}");
        let order = message("orders:ann");
        let published = app.post(&format!("/pubsub/{channel}"), order).await.expect(201).json();
        assert_eq!((&published["epoch"], &published["offset"]), (&reply["epoch"], &json!(1)), "{reply}");
        epochs.push(reply["epoch"].as_str().expect("an epoch").to_owned());
    }
    assert!(epochs.iter().all(|epoch| epoch.len() == 8), "{epochs:?}");
}
