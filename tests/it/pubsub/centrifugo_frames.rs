//! Centrifugo's protocol, frame by frame.

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::socket::price;
use crate::auth::{SECRET, platform_token};
use crate::support::{ADMIN_KEY, TestApp};

struct Connection(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Connection {
    async fn open(app: &mut TestApp, query: &str) -> Self {
        let url = format!("ws://{}/connection/websocket{query}", app.serve());
        Self(tokio_tungstenite::connect_async(url).await.expect("a handshake").0)
    }

    /// A connection whose client has no token.
    async fn connected(app: &mut TestApp) -> Self {
        let mut connection = Self::open(app, "").await;
        let reply = connection.call(json!({ "id": 1, "connect": {} })).await;
        assert!(reply["connect"]["client"].is_string(), "{reply}");
        connection
    }

    async fn send(&mut self, frame: &str) {
        self.0.send(Message::text(frame)).await.expect("sent");
    }

    /// The next JSON object, or the close code.
    async fn next(&mut self) -> Result<Value, u16> {
        loop {
            match tokio::time::timeout(std::time::Duration::from_secs(20), self.0.next()).await.expect("in time") {
                Some(Ok(Message::Text(text))) => return Ok(serde_json::from_str(&text).expect("JSON")),
                Some(Ok(Message::Close(frame))) => return Err(frame.expect("a code").code.into()),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Err(1006),
            }
        }
    }

    async fn receive(&mut self) -> Value {
        self.next().await.unwrap_or_else(|code| panic!("closed with {code}"))
    }

    /// Sends a command and returns the next object, which is its reply.
    async fn call(&mut self, command: Value) -> Value {
        self.send(&command.to_string()).await;
        let reply = self.receive().await;
        assert_eq!(reply["id"], command["id"], "{reply}");
        reply
    }

    async fn error(&mut self, command: Value) -> Value {
        self.call(command).await["error"].clone()
    }
}

#[tokio::test]
async fn the_commands_of_a_frame_are_answered_in_their_order() {
    let mut app = TestApp::builder().system_clock().spawn().await;
    let mut connection = Connection::open(&mut app, "").await;
    let frame = [
        json!({ "id": 1, "connect": { "name": "js", "flag": 1, "subs": { "a": { "recover": true } } } }),
        json!({ "id": 2, "subscribe": { "channel": "orderbook:E", "flag": 1, "delta": "fossil", "join_leave": true } }),
        json!({ "id": 3, "publish": { "channel": "orderbook:E", "data": { "bid": 1 } } }),
        json!({ "send": { "data": {} } }),
        json!({ "id": 4, "history": { "channel": "orderbook:F" } }),
        json!({ "id": 5, "unsubscribe": { "channel": "orderbook:E" } }),
    ];
    connection.send(&(frame.map(|command| command.to_string()).join("\n") + "\n")).await;
    let connected = connection.receive().await;
    let version = env!("CARGO_PKG_VERSION");
    let client = &connected["connect"]["client"];
    let expected = json!({ "client": client, "version": version, "ping": 25, "pong": true });
    assert_eq!(connected, json!({ "id": 1, "connect": expected }));
    let subscribed = connection.receive().await;
    let epoch = &subscribed["subscribe"]["epoch"];
    let expected = json!({ "recoverable": true, "positioned": true, "epoch": epoch, "offset": 0,
        "was_recovering": false, "recovered": false });
    assert_eq!(subscribed, json!({ "id": 2, "subscribe": expected }));
    assert_eq!(connection.receive().await, json!({ "id": 3, "publish": {} }));
    let history = connection.receive().await;
    assert_eq!((&history["history"]["publications"], &history["history"]["offset"]), (&json!([]), &json!(0)));
    assert_eq!(connection.receive().await, json!({ "id": 5, "unsubscribe": {} }));
}

#[tokio::test]
async fn refused_commands_have_the_codes_of_centrifugo() {
    let config = "[[pubsub.namespaces]]\npattern = \"market:open:{x}\"\nkeep = \"log\"\nsubscribe = [\"public\"]\npublish = [\"scope:pubsub:write\"]\n\
                  [[pubsub.namespaces]]\npattern = \"market:closed\"\nkeep = \"log\"\nsubscribe = [\"authenticated\"]\npublish = [\"public\"]\nschema = \"market\"";
    let mut app = TestApp::builder().config(config).admin_key().system_clock().spawn().await;
    let mut connection = Connection::connected(&mut app).await;
    let subscribe = |channel: &str, member: &str, value: Value| {
        let mut params = json!({ "channel": channel });
        params[member] = value;
        json!({ "id": 2, "subscribe": params })
    };
    let unrecoverable = json!({ "id": 2, "subscribe": { "channel": "market:open:a", "recover": true, "epoch": "_", "offset": 0, "flag": 3 } });
    for (command, code) in [
        (subscribe("market:closed", "token", json!("")), 101),
        (subscribe("weather", "token", json!("")), 102),
        (json!({ "id": 2, "dance": {} }), 104),
        (subscribe("a::b", "token", json!("")), 107),
        (subscribe("market:open:a", "type", json!(1)), 107),
        (subscribe("market:open:a", "tf", json!({ "cmp": "like" })), 107),
        (subscribe("market:open:a", "data", json!({ "max_rate": 0 })), 107),
        (subscribe("market:open:a", "data", json!({ "max_rat": 1 })), 107),
        (json!({ "id": 2, "publish": { "channel": "market:open:a", "data": 1 } }), 101),
        (json!({ "id": 2, "publish": { "channel": "market:closed", "data": 1 } }), 107),
        (
            json!({ "id": 2, "publish": { "channel": "market:closed", "data": { "message_type": "X", "data": 1 } } }),
            107,
        ),
        (json!({ "id": 2, "history": { "channel": "market:closed" } }), 101),
        (json!({ "id": 2, "history": { "channel": "market:open:a", "limt": 1 } }), 107),
        (json!({ "id": 2, "presence": { "channel": "market:open:a" } }), 108),
        (json!({ "id": 2, "sub_refresh": { "channel": "market:open:a", "token": "x" } }), 108),
        (unrecoverable.clone(), 112),
    ] {
        let error = connection.error(command.clone()).await;
        assert_eq!(error["code"], code, "{command}: {error}");
        assert!(error["message"].as_str().is_some_and(|text| !text.is_empty()), "{error}");
    }
    // None of them left a subscription.
    assert!(connection.call(subscribe("market:open:a", "token", json!(""))).await["subscribe"].is_object());
    assert_eq!(connection.error(subscribe("market:open:a", "token", json!(""))).await["code"], 105);
    for at in 0..127 {
        connection.call(subscribe(&format!("market:open:{at}"), "token", json!(""))).await;
    }
    assert_eq!(connection.error(subscribe("market:open:x", "token", json!(""))).await["code"], 106);

    let mut reader = Connection::open(&mut app, "").await;
    assert!(reader.call(json!({ "id": 1, "connect": { "token": ADMIN_KEY } })).await["connect"].is_object());
    assert!(reader.call(subscribe("market:closed", "token", json!(""))).await["subscribe"].is_object());
}

#[tokio::test]
async fn violations_of_the_protocol_close_the_connection_with_a_code() {
    let mut app = TestApp::builder().admin_key().system_clock().spawn().await;
    for (frames, code) in [
        (vec!["hello"], 3501),
        (vec!["{}", r#"{"id":1,"subscribe":{"channel":"a"}}"#], 3501),
        (vec![r#"{"id":1,"connect":{}}"#, r#"{"id":2,"connect":{}}"#], 3501),
        (vec![r#"{"id":1,"connect":{}}"#, r#"{"history":{"channel":"a"}}"#], 3501),
        (vec![r#"{"id":1,"connect":{"token":"wrong"}}"#], 3500),
        (vec![], 3502),
    ] {
        let mut connection = Connection::open(&mut app, "").await;
        for frame in &frames {
            connection.send(frame).await;
        }
        let mut end = connection.next().await;
        if end.as_ref().is_ok_and(|reply| reply["connect"].is_object()) {
            end = connection.next().await;
        }
        assert_eq!(end, Err(code), "{frames:?}");
    }
    let mut busy = Connection::connected(&mut app).await;
    busy.send(&"{}\n".repeat(300)).await;
    assert_eq!(busy.next().await, Err(3013));
    let mut binary = Connection::connected(&mut app).await;
    binary.0.send(Message::binary("{}")).await.expect("sent");
    assert_eq!(binary.next().await, Err(3501));
    app.get("/connection/websocket").await.expect_problem(426, "upgrade-required");
}

#[tokio::test]
async fn a_token_is_refreshed_before_it_ends() {
    let mut app = TestApp::builder().config(&format!("[auth]\njwt_secret = \"{SECRET}\"")).system_clock().spawn().await;
    let token = |subject: &str, seconds: i64| {
        platform_token(&json!({ "sub": subject, "exp": app.clock().now() / 1_000 + seconds }))
    };
    let tokens = [token("ann", 100), token("ann", 3_600), token("ann", -1), token("bob", 100)];
    let protobuf = app.get("/connection/websocket?format=protobuf").await;
    protobuf.expect_violation(422, "invalid-query", "/format");
    let query = "?cf_ws_frame_ping_pong=true&cf_protocol_version=v2&format=json";
    let mut connection = Connection::open(&mut app, query).await;
    let reply = connection.call(json!({ "id": 1, "connect": { "token": tokens[0] } })).await;
    let state = &reply["connect"];
    assert!(state["expires"] == true && state["ttl"].as_u64().is_some_and(|ttl| (85..=90).contains(&ttl)), "{reply}");
    assert!(state.get("ping").is_none() && state.get("pong").is_none(), "{reply}");
    let reply = connection.call(json!({ "id": 2, "refresh": { "token": tokens[1] } })).await;
    let state = &reply["refresh"];
    assert!(state["ttl"].as_u64().is_some_and(|ttl| (3_580..=3_590).contains(&ttl)), "{reply}");
    assert_eq!(connection.error(json!({ "id": 3, "refresh": { "token": tokens[2] } })).await["code"], 109);
    connection.send(&json!({ "id": 4, "refresh": { "token": tokens[3] } }).to_string()).await;
    assert_eq!(connection.next().await, Err(3500));
}

#[tokio::test]
async fn large_messages_are_recovered_and_read_in_parts() {
    let mut app = TestApp::builder().config(super::centrifugo::LOGGED).system_clock().spawn().await;
    let mut connection = Connection::connected(&mut app).await;
    let position = connection.call(json!({ "id": 2, "subscribe": { "channel": "orderbook:E" } })).await;
    let epoch = &position["subscribe"]["epoch"];
    connection.call(json!({ "id": 3, "unsubscribe": { "channel": "orderbook:E" } })).await;
    for number in 1..=20 {
        let message = json!({ "message_type": "message", "data": { "number": number, "text": "x".repeat(60_000) } });
        app.post("/pubsub/orderbook:E", message).await.expect(201);
    }
    let history = connection.call(json!({ "id": 4, "history": { "channel": "orderbook:E", "limit": -1 } })).await;
    let publications = history["history"]["publications"].as_array().expect("publications").clone();
    assert!((1..20).contains(&publications.len()), "{}", publications.len());
    let last = publications.last().expect("one")["offset"].clone();
    let since = json!({ "offset": last, "epoch": epoch });
    let rest = json!({ "id": 5, "history": { "channel": "orderbook:E", "limit": 1, "since": since } });
    let rest = connection.call(rest).await;
    assert_eq!(rest["history"]["publications"][0]["data"]["number"], publications.len() + 1);
    let recover = json!({ "channel": "orderbook:E", "recover": true, "offset": 0, "epoch": epoch });
    let recovered = connection.call(json!({ "id": 6, "subscribe": recover })).await["subscribe"].clone();
    assert_eq!((&recovered["recovered"], &recovered["offset"]), (&json!(true), &json!(0)));
    let mut publications = recovered["publications"].as_array().expect("publications").clone();
    while publications.len() < 20 {
        publications.push(connection.receive().await["push"]["pub"].clone());
    }
    let numbers: Vec<_> = publications.iter().map(|publication| publication["data"]["number"].as_u64()).collect();
    assert_eq!(numbers, (1..=20).map(Some).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_snapshot_begins_with_the_newest_message_of_each_key() {
    let mut app = TestApp::builder().system_clock().spawn().await;
    for number in 1..=3 {
        app.post("/pubsub/market:prices", price(number)).await.expect(201);
    }
    let mut connection = Connection::connected(&mut app).await;
    let subscribe = json!({ "channel": "market:prices", "data": { "snapshot": true } });
    let reply = connection.call(json!({ "id": 2, "subscribe": subscribe })).await;
    let publications = &reply["subscribe"]["publications"];
    assert_eq!(publications.as_array().map(Vec::len), Some(1), "{reply}");
    assert_eq!((&publications[0]["data"]["price"], &publications[0]["offset"]), (&json!("3"), &json!(3)));
}
