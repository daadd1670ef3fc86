//! A client of the native protocol.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::support::TestApp;

/// A message on `market:events`, with a number that tests recognise.
pub fn price(number: u64) -> Value {
    json!({
        "message_type": "PriceUpdate", "id": format!("p{number}"), "key": "ENERGY",
        "data": { "symbol": "ENERGY", "price": number.to_string(), "timestamp": 1, "change_percent": "0" },
    })
}

/// The number of a message that [`price`] made.
pub fn number(message: &Value) -> u64 {
    message["data"]["price"].as_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{message}"))
}

pub struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Socket {
    pub async fn open(app: &mut TestApp) -> Self {
        Self::connect(&format!("ws://{}/pubsub/ws", app.serve())).await
    }

    pub async fn connect(url: &str) -> Self {
        Self(tokio_tungstenite::connect_async(url).await.expect("a handshake").0)
    }

    pub fn over(socket: WebSocketStream<MaybeTlsStream<TcpStream>>) -> Self {
        Self(socket)
    }

    pub async fn try_send(&mut self, text: &Value) -> Result<(), tokio_tungstenite::tungstenite::Error> {
        self.0.send(Message::text(text.to_string())).await
    }

    /// The next JSON message; `None` when the connection ends or `done` is set, which is checked after each `pause`.
    pub async fn try_next(&mut self, pause: Duration, done: &AtomicBool) -> Option<Value> {
        while !done.load(Ordering::SeqCst) {
            match tokio::time::timeout(pause, self.0.next()).await {
                Ok(Some(Ok(Message::Text(text)))) => return Some(serde_json::from_str(&text).expect("JSON")),
                Err(_) | Ok(Some(Ok(Message::Ping(_) | Message::Pong(_)))) => {}
                Ok(_) => return None,
            }
        }
        None
    }

    pub async fn send(&mut self, text: &Value) {
        self.0.send(Message::text(text.to_string())).await.expect("sent");
    }

    /// The next JSON message, or the close code.
    pub async fn next(&mut self) -> Result<Value, u16> {
        loop {
            let message = tokio::time::timeout(Duration::from_secs(20), self.0.next()).await.expect("in time");
            match message {
                Some(Ok(Message::Text(text))) => return Ok(serde_json::from_str(&text).expect("JSON")),
                Some(Ok(Message::Close(frame))) => return Err(frame.expect("a code").code.into()),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Err(1006),
            }
        }
    }

    pub async fn send_text(&mut self, text: &'static str) {
        self.0.send(Message::text(text)).await.expect("sent");
    }

    pub async fn send_binary(&mut self, bytes: &'static [u8]) {
        self.0.send(Message::binary(bytes)).await.expect("sent");
    }

    /// The code and the reason with which the service closes the connection; messages before it are dropped.
    pub async fn closed(&mut self) -> (u16, String) {
        loop {
            match tokio::time::timeout(Duration::from_secs(20), self.0.next()).await.expect("in time") {
                Some(Ok(Message::Close(frame))) => {
                    let frame = frame.expect("a code");
                    return (frame.code.into(), frame.reason.to_string());
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return (1006, String::new()),
            }
        }
    }

    /// Sends a command and returns its reply; messages that arrive before it are dropped.
    pub async fn command(&mut self, command: Value) -> Value {
        self.send(&command).await;
        loop {
            let reply = self.next().await.unwrap_or_else(|code| panic!("closed with {code}"));
            if reply["id"] == command["id"] && reply.get("event").is_none() {
                return reply;
            }
        }
    }

    pub async fn subscribe(&mut self, channel: &str) -> Value {
        self.command(json!({ "id": 1, "cmd": "subscribe", "channel": channel })).await["ok"].clone()
    }

    pub async fn event(&mut self) -> Value {
        self.next().await.unwrap_or_else(|code| panic!("closed with {code}"))
    }
}
