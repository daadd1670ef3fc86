//! Many channels, many messages, many reconnections, and clients that do not read.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::net::TcpSocket;
use tokio_tungstenite::MaybeTlsStream;

use super::loss::{Observer, Position, Published};
use super::socket::{Socket, number, price};
use crate::support::{RedisServer, ServiceProcess, TestApp, eventually};

/// A message of about `size` bytes.
fn padded(channel: &str, at: u64, size: usize) -> Value {
    json!({ "channel": channel, "message_type": "message", "id": format!("p{at}"),
        "data": { "price": at.to_string(), "padding": "x".repeat(size) } })
}

#[tokio::test]
async fn a_slow_subscription_receives_the_newest_of_two_thousand_messages_a_second() {
    let mut app = TestApp::builder().system_clock().spawn().await;
    let mut socket = Socket::open(&mut app).await;
    let command = json!({ "id": 1, "cmd": "subscribe", "channel": "market:prices", "mode": "latest", "max_rate": 0.5 });
    socket.command(command).await;
    let begun = Instant::now();
    let publisher = async {
        let mut at = 0;
        while begun.elapsed() < Duration::from_secs(5) {
            let messages: Vec<_> = (at + 1..=at + 50)
                .map(|at| {
                    let mut message = price(at);
                    message["channel"] = json!("market:prices");
                    message
                })
                .collect();
            app.post("/pubsub", json!({ "messages": messages })).await.expect(200);
            at += 50;
            let next = Duration::from_micros(500 * at);
            // The pace of the publisher: 50 messages every 25 ms.
            tokio::time::sleep(next.saturating_sub(begun.elapsed())).await;
        }
        at
    };
    let mut received = Vec::new();
    let mut publisher = std::pin::pin!(publisher);
    let last = loop {
        tokio::select! {
            last = &mut publisher => break last,
            message = socket.event() => received.push((number(&message), begun.elapsed())),
        }
    };
    let ended = begun.elapsed();
    assert!(last >= 5_000, "{last} messages are not the load of this test");
    while received.last().is_none_or(|(number, _)| *number != last) {
        received.push((number(&socket.event().await), begun.elapsed()));
    }
    assert!(received.is_sorted() && received.len() <= 5, "{received:?}");
    let (_, arrived) = received.last().expect("the last one");
    assert!(*arrived < ended + Duration::from_millis(2_500), "the last value came at {arrived:?}, not {ended:?}");
}

#[tokio::test]
async fn a_thousand_reconnections_recover_each_message_once() {
    let mut app = TestApp::builder().system_clock().spawn().await;
    let url = format!("ws://{}/pubsub/ws", app.serve());
    let channel = "market:events";
    let begin = app.post("/pubsub/market:events", price(0)).await.expect(201).json();
    let mut published = Published::begin(Position::of(&begin));
    let clients = (0..10).map(|client| {
        let (url, start) = (url.clone(), published.start().clone());
        async move {
            let mut observer = Observer::new(format!("client {client}"), start);
            for _ in 0..100 {
                let mut socket = Socket::connect(&url).await;
                let since = json!({ "epoch": observer.position.epoch, "offset": observer.position.offset });
                let command = json!({ "id": 1, "cmd": "subscribe", "channel": channel, "since": since });
                let reply = socket.command(command).await["ok"].clone();
                assert_eq!(reply["recovered"], true, "{reply}");
                let recovered = reply["messages"].as_array().expect("messages").iter();
                recovered.for_each(|message| observer.message(Position::of(message), number(message)));
                // It leaves in the middle of what follows.
                let message = socket.event().await;
                observer.message(Position::of(&message), number(&message));
            }
            observer
        }
    });
    let clients = futures_util::future::join_all(clients);
    let mut clients = std::pin::pin!(clients);
    let mut at = 0;
    let observers = loop {
        at += 1;
        let publish = async {
            let position = app.post("/pubsub/market:events", price(at)).await.expect(201).json();
            // The clients share the thread with the publisher.
            tokio::time::sleep(Duration::from_millis(1)).await;
            Position::of(&position)
        };
        tokio::select! {
            biased;
            observers = &mut clients => break observers,
            position = publish => published.add(position, at, 1),
        }
    };
    for observer in &observers {
        observer.verify_until(&published, &observer.position).unwrap_or_else(|wrong| panic!("{wrong}"));
        assert!(observer.received() >= 100 && observer.gaps() == 0, "{observer:?}");
    }
}

/// How often clients that recover make the service call scripts: `missed` messages, with `sockets` clients at once.
async fn scripts_of_recovery(missed: u64, sockets: usize) -> u64 {
    let mut app = TestApp::builder().system_clock().spawn().await;
    let begin = app.post("/pubsub/market:events", price(0)).await.expect(201).json();
    let since = json!({ "epoch": begin["epoch"], "offset": begin["offset"] });
    // The channel stays open at this replica while the others are away.
    let mut witness = Socket::open(&mut app).await;
    witness.subscribe("market:events").await;
    let messages = (1..=missed).map(|at| {
        let mut message = price(at);
        message["channel"] = json!("market:events");
        message
    });
    app.post("/pubsub", json!({ "messages": messages.collect::<Vec<_>>() })).await.expect(200);
    for _ in 0..missed {
        witness.event().await;
    }
    let mut clients = Vec::new();
    for _ in 0..sockets {
        clients.push(Socket::open(&mut app).await);
    }
    let calls = |app: &TestApp| {
        let info: String = app.redis().command(&["INFO", "commandstats"]);
        let line = info.lines().find(|line| line.starts_with("cmdstat_evalsha:")).expect("a line").to_owned();
        let count = line.split(['=', ',']).nth(1).expect("a count");
        count.parse::<u64>().expect("a number")
    };
    let before = calls(&app);
    let command = json!({ "id": 1, "cmd": "subscribe", "channel": "market:events", "since": since });
    for client in &mut clients {
        client.send(&command).await;
    }
    for client in &mut clients {
        let reply = client.event().await["ok"].clone();
        assert_eq!(reply["recovered"], true, "{reply}");
        assert_eq!(reply["messages"].as_array().map(Vec::len), Some(usize::try_from(missed).expect("few")));
    }
    calls(&app) - before
}

#[tokio::test]
async fn clients_that_reconnect_together_share_the_reads_of_the_log() {
    // Tasks of the service call scripts, too: on a slow machine, a few meanwhile.
    let begun = Instant::now();
    let calls = scripts_of_recovery(50, 300).await;
    let seconds = begun.elapsed().as_secs() + 1;
    assert!(calls <= seconds, "the ring has the messages, and {calls} scripts were called in {seconds} s");
    // Two pages of the log are before the ring.
    let begun = Instant::now();
    let calls = scripts_of_recovery(250, 300).await;
    let seconds = begun.elapsed().as_secs() + 1;
    assert!(calls >= 2 && calls <= 3 * seconds, "{calls} scripts in {seconds} s");
}

#[tokio::test]
async fn thousands_of_channels_are_subscribed_once_and_again_after_a_cut() {
    const SOCKETS: usize = 100;
    const CHANNELS: usize = 100;
    let namespace = "[[pubsub.namespaces]]\npattern = \"market:many:{number}\"\nkeep = \"none\"\n\
        subscribe = [\"public\"]\npublish = [\"public\"]\n";
    let mut app = TestApp::builder().config(namespace).system_clock().spawn().await;
    let subscribed = |app: &TestApp| {
        let names: Vec<String> = app.redis().command(&["PUBSUB", "CHANNELS", "*market:many:*"]);
        names.len()
    };
    let mut sockets = Vec::new();
    // Every channel has two subscribers.
    for at in 0..2 * SOCKETS {
        let mut socket = Socket::open(&mut app).await;
        let name = |channel: usize| format!("market:many:{}", (at % SOCKETS) * CHANNELS + channel);
        for channel in 0..CHANNELS {
            socket.send(&json!({ "id": channel, "cmd": "subscribe", "channel": name(channel) })).await;
        }
        for channel in 0..CHANNELS {
            let reply = socket.event().await;
            assert_eq!((&reply["id"], reply["ok"]["epoch"].is_string()), (&json!(channel), true), "{reply}");
        }
        sockets.push(socket);
    }
    assert_eq!(subscribed(&app), SOCKETS * CHANNELS);
    let sample = format!("market:many:{}", SOCKETS * CHANNELS / 2);
    let subscribers: (String, i64) = app.redis().command(&["PUBSUB", "NUMSUB", &sample]);
    assert_eq!(subscribers.1, 1, "the replica subscribes once for all of its clients");
    let _: i64 = app.redis().command(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    let cut = Instant::now();
    eventually("every channel is subscribed again", async || subscribed(&app) == SOCKETS * CHANNELS).await;
    assert!(cut.elapsed() < Duration::from_secs(5), "{:?}", cut.elapsed());
    let last = format!("market:many:{}", SOCKETS * CHANNELS - 1);
    app.post(&format!("/pubsub/{last}"), json!({ "message_type": "X", "data": 1 })).await.expect(201);
    for socket in [SOCKETS - 1, 2 * SOCKETS - 1] {
        let event = sockets[socket].event().await;
        // What is not kept may be announced as a gap instead.
        assert!(event["channel"] == last.as_str(), "{event}");
    }
}

/// A ready service with this configuration on the Redis of `app`.
fn with_config(app: &TestApp, config: &str) -> ServiceProcess {
    let file = app.redis().directory().join("service.toml");
    let url = app.redis().url();
    std::fs::write(&file, config).expect("a file");
    let mut service = ServiceProcess::start_with(&file, &[("REDIS_URL", &url)]);
    service.ready();
    service
}

/// A client whose kernel accepts only a few bytes that it does not read.
pub(super) async fn with_small_buffer(service: &mut ServiceProcess) -> Socket {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4 << 10).expect("a size");
    let address = service.address();
    let stream = MaybeTlsStream::Plain(socket.connect(address).await.expect("a connection"));
    let url = format!("ws://{address}/pubsub/ws");
    Socket::over(tokio_tungstenite::client_async(url, stream).await.expect("a handshake").0)
}

fn take(observer: &mut Observer, event: &Value) {
    match event["event"].as_str() {
        Some("message") => observer.message(Position::of(event), number(event)),
        Some("gap") => {
            let to = Position::new(event["epoch"].as_str().expect("an epoch"), event["to"].as_u64().expect("it"));
            observer.gap(event["from"].as_u64().expect("an offset"), to);
        }
        _ => panic!("{event}"),
    }
}

#[tokio::test]
async fn a_client_that_hardly_reads_delays_no_other_and_catches_up() {
    const READERS: usize = 20;
    const BATCHES: u64 = 100;
    let redis = RedisServer::start();
    let app = TestApp::builder().on(redis).config(super::centrifugo::LOGGED).system_clock().spawn().await;
    let mut service = with_config(&app, super::centrifugo::LOGGED);
    let channel = "orderbook:E";
    let begin = app.post("/pubsub/orderbook:E", json!({ "message_type": "X", "data": 0 })).await.expect(201).json();
    let mut published = Published::begin(Position::of(&begin));
    let mut stalled = with_small_buffer(&mut service).await;
    stalled.subscribe(channel).await;
    let mut readers = Vec::new();
    for _ in 0..READERS {
        let mut reader = Socket::connect(&format!("ws://{}/pubsub/ws", service.address())).await;
        reader.subscribe(channel).await;
        readers.push(reader);
    }
    let before = service.resident_kib();
    let start = published.start().clone();
    let mut slow = Observer::new("the client that hardly reads".to_owned(), start.clone());
    let reading = readers.iter_mut().map(|reader| {
        let mut observer = Observer::new("a reader".to_owned(), start.clone());
        async move {
            while observer.received() < usize::try_from(20 * BATCHES).expect("few") {
                let message = reader.event().await;
                observer.message(Position::of(&message), number(&message));
            }
            observer
        }
    });
    let publishing = async {
        for batch in 0..BATCHES {
            let numbers = 20 * batch + 1..=20 * (batch + 1);
            let messages: Vec<_> = numbers.clone().map(|at| padded(channel, at, 2_000)).collect();
            let reply = app.post("/pubsub", json!({ "messages": messages })).await.expect(200).json();
            for (number, result) in numbers.zip(reply["results"].as_array().expect("results")) {
                published.add(Position::of(&result["published"]), number, 1);
            }
            // The service closes a socket that takes nothing for ten seconds.
            if batch % 10 == 9 {
                for _ in 0..5 {
                    take(&mut slow, &stalled.event().await);
                }
            }
            // The pace of the publisher.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let (observers, ()) = tokio::join!(futures_util::future::join_all(reading), publishing);
    for observer in observers {
        observer.verify(&published).unwrap_or_else(|wrong| panic!("{wrong}"));
        assert_eq!(observer.gaps(), 0);
    }
    let grown = service.resident_kib().saturating_sub(before);
    // The ring has at most 2 MiB, and messages are shared.
    assert!(grown < 24 << 10, "{grown} KiB for 4 MB of messages");
    while slow.position != *published.end() {
        take(&mut slow, &stalled.event().await);
    }
    slow.verify(&published).unwrap_or_else(|wrong| panic!("{wrong}"));
    assert!(slow.gaps() > 0, "the log has half of the messages");
}

#[tokio::test]
async fn clients_that_recover_and_do_not_read_take_little_memory() {
    const CLIENTS: usize = 40;
    let namespace = format!("{}\nhistory_size = 1000\n", super::centrifugo::LOGGED);
    let app = TestApp::builder().config(&namespace).system_clock().spawn().await;
    let mut service = with_config(&app, &namespace);
    let channel = "orderbook:E";
    for batch in 0..20 {
        let messages: Vec<_> = (1..=15).map(|at| padded(channel, 15 * batch + at, 60_000)).collect();
        app.post("/pubsub", json!({ "messages": messages })).await.expect(200);
    }
    let position = app.get("/pubsub/orderbook:E/history?limit=1").await.expect(200).json();
    let before = service.resident_kib();
    let since = json!({ "epoch": position["epoch"], "offset": 0 });
    let command = json!({ "id": 1, "cmd": "subscribe", "channel": channel, "since": since });
    let (mut clients, mut largest) = (Vec::new(), before);
    for _ in 0..CLIENTS {
        let mut client = with_small_buffer(&mut service).await;
        client.send(&command).await;
        clients.push(client);
        // Each reads the log itself.
        tokio::time::sleep(Duration::from_millis(50)).await;
        largest = largest.max(service.resident_kib());
    }
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(3) {
        largest = largest.max(service.resident_kib());
        // The time in which the service prepares the replies.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // Each client asks for 18 MB.
    assert!(largest - before < 64 << 10, "{} KiB", largest - before);
    let last = clients.last_mut().expect("a client");
    let reply = last.event().await["ok"].clone();
    assert_eq!(reply["recovered"], true);
    let mut next = 1 + reply["messages"].as_array().map_or(0, Vec::len);
    while next <= 300 {
        assert_eq!(last.event().await["offset"], next);
        next += 1;
    }
}

#[tokio::test]
async fn open_channels_are_listed_page_by_page() {
    let mut app = TestApp::spawn().await;
    let mut socket = Socket::open(&mut app).await;
    for (id, channel) in ["market:events", "market:prices", "orderbook:A", "orderbook:B"].into_iter().enumerate() {
        let reply = socket.command(json!({ "id": id + 1, "cmd": "subscribe", "channel": channel })).await;
        assert!(reply["ok"].is_object(), "{reply}");
    }
    let page = async |query: &str| {
        let page = app.get(&format!("/pubsub/channels?{query}")).await.expect(200).json();
        let names: Vec<String> =
            page["items"].as_array().expect("channels").iter().map(|c| c["channel"].to_string()).collect();
        (names.join(" "), page["next_cursor"].clone())
    };
    assert_eq!(
        page("limit=3").await,
        (r#""market:events" "market:prices" "orderbook:A""#.to_owned(), json!("orderbook:A"))
    );
    assert_eq!(page("limit=3&cursor=orderbook:A").await, (r#""orderbook:B""#.to_owned(), Value::Null));
    assert_eq!(page("prefix=orderbook:&limit=1").await, (r#""orderbook:A""#.to_owned(), json!("orderbook:A")));
    assert_eq!(page("prefix=market:&limit=2").await.1, Value::Null);
    for (query, pointer) in [("limit=0", "/limit"), ("limit=1001", "/limit")] {
        app.get(&format!("/pubsub/channels?{query}")).await.expect_violation(422, "invalid-query", pointer);
    }
}
