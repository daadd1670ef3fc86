//! Clients of every transport that cut their link now and then, and continue with their position at another replica.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::super::socket::{Socket, number};
use super::observer::{Observer, PAGE, Position};

/// How often a waiting client looks whether the test is over.
const PAUSE: Duration = Duration::from_millis(200);
/// A client cuts its link after so many messages, and a few more for each further client.
const MESSAGES_PER_LINK: usize = 150;

#[derive(Clone, Copy, Debug)]
pub enum Kind {
    Socket,
    Centrifugo,
    Events,
    Polls,
}

pub const KINDS: [Kind; 4] = [Kind::Socket, Kind::Centrifugo, Kind::Events, Kind::Polls];

pub struct Client {
    pub kind: Kind,
    /// Decides at which replica it begins, and when it cuts its link.
    pub number: u64,
    pub channel: String,
    pub addresses: Arc<Mutex<Vec<String>>>,
    pub done: Arc<AtomicBool>,
    pub observer: Arc<Mutex<Observer>>,
}

/// Why a link ends; the client then uses another one.
struct LinkEnd;

impl Client {
    /// Follows the channel until the test is over.
    pub async fn follow(self) {
        for attempt in usize::try_from(self.number).expect("few").. {
            if self.done.load(Ordering::SeqCst) {
                return;
            }
            let address = {
                let addresses = self.addresses.lock().expect("the addresses");
                addresses[attempt % addresses.len()].clone()
            };
            let _: Result<(), LinkEnd> = match self.kind {
                Kind::Socket => self.follow_by_socket(&address).await,
                Kind::Centrifugo => self.follow_as_centrifugo(&address).await,
                Kind::Events => self.follow_by_events(&address).await,
                Kind::Polls => self.poll(&address).await,
            };
            // The pause of a client before it connects again.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn observer(&self) -> MutexGuard<'_, Observer> {
        self.observer.lock().expect("the observer")
    }

    /// How many messages the client has, and where it continues.
    fn beginning(&self) -> (usize, Position) {
        let observer = self.observer();
        (observer.received(), observer.position.clone())
    }

    /// Whether the client cuts its link, which began with `before` messages.
    fn cuts(&self, before: usize) -> bool {
        let more = usize::try_from(self.number % 50).expect("few");
        self.observer().received() - before >= MESSAGES_PER_LINK + 7 * more
    }

    async fn open(&self, address: &str, path: &str) -> Result<Socket, LinkEnd> {
        match tokio_tungstenite::connect_async(format!("ws://{address}{path}")).await {
            Ok((socket, _)) => Ok(Socket::over(socket)),
            Err(_) => Err(LinkEnd),
        }
    }

    async fn follow_by_socket(&self, address: &str) -> Result<(), LinkEnd> {
        let mut socket = self.open(address, "/pubsub/ws").await?;
        let (before, since) = self.beginning();
        let since = json!({ "epoch": since.epoch, "offset": since.offset });
        let command = json!({ "id": 1, "cmd": "subscribe", "channel": self.channel, "since": since });
        socket.try_send(&command).await.map_err(|_| LinkEnd)?;
        while !self.cuts(before) {
            let text = socket.try_next(PAUSE, &self.done).await.ok_or(LinkEnd)?;
            let mut observer = self.observer();
            match text["event"].as_str() {
                Some("message") => observer.message(Position::of(&text), number(&text)),
                Some("gap") => {
                    let to = text["to"].as_u64().expect("an offset");
                    let to = Position::new(text["epoch"].as_str().expect("an epoch"), to);
                    observer.gap(text["from"].as_u64().expect("an offset"), to);
                }
                Some("stale" | "fresh") => {}
                None if text["ok"]["recovered"] == true => {
                    observer.listens = true;
                    for message in text["ok"]["messages"].as_array().expect("messages") {
                        observer.message(Position::of(message), number(message));
                    }
                }
                None if text["ok"].is_object() => observer.skip_to(Position::of(&text["ok"])),
                _ => return Err(LinkEnd),
            }
        }
        Ok(())
    }

    async fn follow_as_centrifugo(&self, address: &str) -> Result<(), LinkEnd> {
        let mut socket = self.open(address, "/connection/websocket").await?;
        let (before, Position { epoch, offset }) = self.beginning();
        let subscribe = json!({ "channel": self.channel, "recover": true, "epoch": epoch, "offset": offset });
        for command in [json!({ "id": 1, "connect": {} }), json!({ "id": 2, "subscribe": subscribe })] {
            socket.try_send(&command).await.map_err(|_| LinkEnd)?;
        }
        // A publication has the epoch of its subscription.
        let mut epoch = epoch;
        while !self.cuts(before) {
            let text = socket.try_next(PAUSE, &self.done).await.ok_or(LinkEnd)?;
            let publication = &text["push"]["pub"];
            let result = &text["subscribe"];
            if text == json!({}) {
                socket.try_send(&json!({})).await.map_err(|_| LinkEnd)?;
            } else if publication.is_object() {
                self.publication(&epoch, publication);
            } else if result.is_object() {
                result["epoch"].as_str().expect("an epoch").clone_into(&mut epoch);
                if result["recovered"] == true {
                    self.observer().listens = true;
                    let publications = result["publications"].as_array().cloned().unwrap_or_default();
                    for publication in &publications {
                        self.publication(&epoch, publication);
                    }
                } else {
                    self.observer().skip_to(Position::of(result));
                }
            } else if !text["connect"].is_object() {
                // An error, or the end of the subscription: the client recovers.
                return Err(LinkEnd);
            }
        }
        Ok(())
    }

    fn publication(&self, epoch: &str, publication: &Value) {
        let offset = publication["offset"].as_u64().expect("an offset");
        self.observer().message(Position::new(epoch, offset), number(publication));
    }

    async fn follow_by_events(&self, address: &str) -> Result<(), LinkEnd> {
        let (before, Position { epoch, offset }) = self.beginning();
        let id = URL_SAFE_NO_PAD.encode(format!("{}={epoch}.{offset}", self.channel));
        let path = format!("/pubsub/sse?channel={}", self.channel);
        let mut lines = send(address, &path, &format!("Last-Event-ID: {id}\r\n")).await?.lines();
        let mut name = String::new();
        while !self.cuts(before) {
            if self.done.load(Ordering::SeqCst) {
                return Err(LinkEnd);
            }
            let line = match tokio::time::timeout(PAUSE, lines.next_line()).await {
                Err(_) => continue,
                Ok(line) => line.ok().flatten().ok_or(LinkEnd)?,
            };
            match (line.split_once(": "), name.as_str()) {
                (Some(("retry", _)), _) => self.observer().listens = true,
                (Some(("event", text)), _) => text.clone_into(&mut name),
                (Some(("data", text)), "gap") => {
                    let gap: Value = serde_json::from_str(text).expect("JSON");
                    let to = gap["to"].as_u64().expect("an offset");
                    let to = Position::new(gap["epoch"].as_str().expect("an epoch"), to);
                    self.observer().gap(gap["from"].as_u64().expect("an offset"), to);
                }
                (Some(("data", text)), "message") => {
                    let message: Value = serde_json::from_str(text).expect("JSON");
                    self.observer().message(Position::of(&message), number(&message));
                }
                _ => {}
            }
        }
        Ok(())
    }

    async fn poll(&self, address: &str) -> Result<(), LinkEnd> {
        let (_, Position { epoch, offset }) = self.beginning();
        let path = format!("/pubsub/{}/history?since={offset}&epoch={epoch}&wait_ms=1000&limit={PAGE}", self.channel);
        let mut reply = String::new();
        let read = async {
            let mut stream = send(address, &path, "Connection: close\r\n").await?;
            stream.read_to_string(&mut reply).await.map_err(|_| LinkEnd)
        };
        // Longer than the service waits.
        tokio::time::timeout(Duration::from_secs(5), read).await.map_err(|_| LinkEnd)??;
        let (head, body) = reply.split_once("\r\n\r\n").ok_or(LinkEnd)?;
        if !head.starts_with("HTTP/1.1 200 ") {
            return Err(LinkEnd);
        }
        let page: Value = serde_json::from_str(body).map_err(|_| LinkEnd)?;
        self.observer().page(&page);
        Ok(())
    }
}

/// Sends a GET request; each header ends with CRLF.
async fn send(address: &str, path: &str, headers: &str) -> Result<BufReader<TcpStream>, LinkEnd> {
    let mut stream = TcpStream::connect(address).await.map_err(|_| LinkEnd)?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await.map_err(|_| LinkEnd)?;
    Ok(BufReader::new(stream))
}
