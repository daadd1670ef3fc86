//! What clients observe while connections are cut, replicas die, and Redis stops, restarts and forgets everything: each
//! message once and in order, or an explicit gap.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::socket::{Socket, number, price};
use crate::support::{RedisServer, ServiceProcess, TestApp, eventually};

const CHANNEL: &str = "market:events";
/// Few enough for the pages of a recovery, so that a client that comes back late still recovers.
const MESSAGES: u64 = 1_200;

/// A position in the channel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Position {
    epoch: String,
    offset: u64,
}

impl Position {
    fn of(value: &Value) -> Self {
        let epoch = value["epoch"].as_str().unwrap_or_else(|| panic!("{value}")).to_owned();
        Self { epoch, offset: value["offset"].as_u64().unwrap_or_else(|| panic!("{value}")) }
    }
}

/// Checks what one client observes.
#[derive(Debug)]
struct Observer {
    position: Position,
    /// The numbers of the received messages, by position.
    received: HashMap<(String, u64), u64>,
    gaps: usize,
}

impl Observer {
    fn at(position: Position) -> Self {
        Self { position, received: HashMap::new(), gaps: 0 }
    }

    /// A message must follow the one before without a hole.
    fn message(&mut self, message: &Value) -> Result<(), String> {
        let next = Position::of(message);
        if next.epoch != self.position.epoch || next.offset != self.position.offset + 1 {
            return Err(format!("{next:?} after {:?}", self.position));
        }
        self.received.insert((next.epoch.clone(), next.offset), number(message));
        self.position = next;
        Ok(())
    }

    /// A gap must begin behind the last message.
    fn gap(&mut self, gap: &Value) -> Result<(), String> {
        if gap["from"].as_u64() != Some(self.position.offset + 1) {
            return Err(format!("{gap} after {:?}", self.position));
        }
        self.skip_to(Position {
            offset: gap["to"].as_u64().expect("an offset"),
            ..Position::of(&{
                let mut named = gap.clone();
                named["offset"] = json!(0);
                named
            })
        });
        Ok(())
    }

    fn skip_to(&mut self, position: Position) {
        self.gaps += 1;
        self.position = position;
    }
}

#[test]
fn a_missing_message_is_noticed() {
    let message = |offset: u64| json!({ "epoch": "a", "offset": offset, "data": { "price": offset.to_string() } });
    let mut observer = Observer::at(Position { epoch: "a".to_owned(), offset: 0 });
    observer.message(&message(1)).expect("the first");
    assert!(observer.message(&message(3)).is_err(), "2 is missing");
    assert!(observer.message(&message(1)).is_err(), "1 was received");
    observer.gap(&json!({ "from": 2, "to": 4, "epoch": "a" })).expect("2 to 4 are lost");
    observer.message(&message(5)).expect("the next");
}

/// A WebSocket client that reconnects with its position.
async fn follow_by_socket(
    addresses: Arc<Mutex<Vec<String>>>,
    done: Arc<AtomicBool>,
    ready: Arc<AtomicUsize>,
) -> Observer {
    let mut observer: Option<Observer> = None;
    let mut attempt = 0;
    while !done.load(Ordering::SeqCst) {
        let address = pick(&addresses, attempt);
        attempt += 1;
        let Ok((socket, _)) = tokio_tungstenite::connect_async(format!("ws://{address}/pubsub/ws")).await else {
            // The pause of a client before it connects again.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let mut socket = Socket::over(socket);
        let mut command = json!({ "id": 1, "cmd": "subscribe", "channel": CHANNEL });
        if let Some(observer) = &observer {
            command["since"] = json!({ "epoch": observer.position.epoch, "offset": observer.position.offset });
        }
        if socket.try_send(&command).await.is_err() {
            continue;
        }
        while let Some(text) = socket.try_next(Duration::from_millis(200), &done).await {
            if text["ok"]["epoch"].is_string() {
                let position = Position::of(&text["ok"]);
                match &mut observer {
                    None => {
                        ready.fetch_add(1, Ordering::SeqCst);
                        observer = Some(Observer::at(position));
                    }
                    Some(observer) if text["ok"]["recovered"] == true => {
                        for message in text["ok"]["messages"].as_array().expect("messages") {
                            observer.message(message).unwrap_or_else(|wrong| panic!("recovered {wrong}"));
                        }
                    }
                    Some(observer) => observer.skip_to(position),
                }
                continue;
            }
            let Some(observer) = &mut observer else { break };
            match text["event"].as_str() {
                Some("message") => observer.message(&text).unwrap_or_else(|wrong| panic!("{wrong}")),
                Some("gap") => observer.gap(&text).unwrap_or_else(|wrong| panic!("{wrong}")),
                Some("stale" | "fresh") => {}
                _ => break,
            }
        }
    }
    observer.expect("it connected")
}

/// An SSE client that reconnects with the id of its last event.
async fn follow_by_events(
    addresses: Arc<Mutex<Vec<String>>>,
    done: Arc<AtomicBool>,
    ready: Arc<AtomicUsize>,
) -> Observer {
    let mut observer = Observer::at(Position::default());
    let (mut last_id, mut attempt) = (String::new(), 1);
    while !done.load(Ordering::SeqCst) {
        let address = pick(&addresses, attempt);
        attempt += 1;
        let Ok(mut stream) = TcpStream::connect(&address).await else {
            // The pause of a client before it connects again.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let head = format!("GET /pubsub/sse?channel={CHANNEL} HTTP/1.1\r\nHost: a\r\nLast-Event-ID: {last_id}\r\n\r\n");
        if stream.write_all(head.as_bytes()).await.is_err() {
            continue;
        }
        let mut lines = BufReader::new(stream).lines();
        let (mut name, mut id) = (String::new(), String::new());
        loop {
            let line = tokio::time::timeout(Duration::from_millis(200), lines.next_line()).await;
            if done.load(Ordering::SeqCst) {
                break;
            }
            let line = match line {
                Err(_) => continue,
                Ok(Ok(Some(line))) => line,
                Ok(Ok(None) | Err(_)) => break,
            };
            match line.split_once(": ") {
                Some(("id", text)) => text.clone_into(&mut id),
                Some(("event", text)) => text.clone_into(&mut name),
                Some(("retry", _)) => _ = ready.fetch_add(usize::from(attempt == 2), Ordering::SeqCst),
                Some(("data", text)) => {
                    let data: Value = serde_json::from_str(text).expect("JSON");
                    match name.as_str() {
                        "gap" => observer.gap(&data).unwrap_or_else(|wrong| panic!("{wrong}")),
                        "stale" | "fresh" => continue,
                        _ => {
                            if observer.position == Position::default() {
                                let first = Position::of(&data);
                                observer.position = Position { offset: first.offset - 1, ..first };
                            }
                            observer.message(&data).unwrap_or_else(|wrong| panic!("{wrong}"));
                        }
                    }
                    last_id.clone_from(&id);
                }
                _ => {}
            }
        }
    }
    observer
}

/// A client that polls.
async fn follow_by_polls(app: &TestApp, done: Arc<AtomicBool>) -> Observer {
    let page = app.get(&format!("/pubsub/{CHANNEL}/history?limit=1&order=desc")).await.expect(200).json();
    let mut observer = Observer::at(Position::of(&page));
    while !done.load(Ordering::SeqCst) {
        let Position { epoch, offset } = &observer.position;
        let path = format!("/pubsub/{CHANNEL}/history?since={offset}&epoch={epoch}&wait_ms=300&limit=300");
        let reply = app.get(&path).await;
        if !reply.is(200) {
            // The pause of a client before it polls again.
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        }
        let page = reply.json();
        let items = page["items"].as_array().expect("items");
        if page["recovered"] == false {
            let first = items.first().map(Position::of);
            observer.skip_to(
                first.map_or_else(|| Position::of(&page), |first| Position { offset: first.offset - 1, ..first }),
            );
        }
        for message in items {
            observer.message(message).unwrap_or_else(|wrong| panic!("{wrong}"));
        }
    }
    observer
}

fn pick(addresses: &Mutex<Vec<String>>, attempt: usize) -> String {
    let addresses = addresses.lock().expect("the addresses");
    addresses[attempt % addresses.len()].clone()
}

/// Publishes until the message is accepted.
async fn publish(app: &TestApp, at: u64) -> Value {
    loop {
        let reply = app.post(&format!("/pubsub/{CHANNEL}"), price(at)).await;
        if reply.is(201) {
            return reply.json();
        }
        // The pause of a client before it tries again.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn every_client_receives_each_message_once_or_learns_of_a_gap() {
    let redis = RedisServer::with_options(&["--appendonly", "yes", "--appendfsync", "everysec", "--save", ""]);
    let mut app = TestApp::builder().on(redis).system_clock().spawn().await;
    app.serve();
    let variables = [("GTX__PUBSUB__DRAIN_SPREAD", "0s")];
    let mut replicas: Vec<_> = (0..2).map(|_| ServiceProcess::start_on(&app.redis(), &variables)).collect();
    let listening: Vec<_> = replicas.iter_mut().map(|replica| replica.address().to_string()).collect();
    let addresses = Arc::new(Mutex::new(listening));
    let (done, ready) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    publish(&app, 0).await;
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..3 {
        clients.spawn(follow_by_socket(addresses.clone(), done.clone(), ready.clone()));
        clients.spawn(follow_by_events(addresses.clone(), done.clone(), ready.clone()));
    }
    eventually("every client listens", async || ready.load(Ordering::SeqCst) == 6).await;
    let faults = async {
        let mut published: HashMap<(String, u64), u64> = HashMap::new();
        let mut last = Value::Null;
        for at in 1..=MESSAGES {
            last = publish(&app, at).await;
            let Position { epoch, offset } = Position::of(&last);
            published.insert((epoch, offset), at);
            match at {
                100 | 250 | 400 => drop(app.redis().try_command::<i64>(&["CLIENT", "KILL", "TYPE", "pubsub"])),
                500 => {
                    // The third replica replaces the first.
                    let mut fresh = ServiceProcess::start_on(&app.redis(), &variables);
                    *addresses.lock().expect("the addresses") =
                        vec![fresh.address().to_string(), replicas[1].address().to_string()];
                    replicas[0].signal("KILL");
                    replicas.push(fresh);
                }
                600 => {
                    app.redis().stall();
                    // Longer than every limit of a command.
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    app.redis().resume();
                }
                750 => {
                    app.redis().kill();
                    app.redis().boot();
                }
                900 => drop(app.redis().try_command::<()>(&["FLUSHALL"])),
                _ => {}
            }
        }
        // The time in which every client receives the last message, or a gap.
        tokio::time::sleep(Duration::from_secs(3)).await;
        done.store(true, Ordering::SeqCst);
        (published, Position::of(&last))
    };
    let ((published, end), polled) = tokio::join!(faults, follow_by_polls(&app, done.clone()));
    let mut observers = clients.join_all().await;
    observers.push(polled);
    for observer in observers {
        assert_eq!(observer.position, end, "{} messages, {} gaps", observer.received.len(), observer.gaps);
        assert!(observer.received.len() > 600, "{} messages", observer.received.len());
        for (position, number) in &observer.received {
            let known = published.get(position);
            assert!(known.is_none_or(|known| known == number), "{position:?}: {number}, published {known:?}");
        }
    }
}
