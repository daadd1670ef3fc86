//! A client: repeatedly acquires one lock, writes what it protects, extends, releases, and sometimes disconnects.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::clock::{moment, now};
use super::history::{Event, Exchange, Outcome};
use super::random::Random;
use crate::support::wire::{Request, Wire};

/// Every lease, milliseconds.
pub const TTL: u64 = 500;

/// The instructions of a client.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Orders {
    pub client: usize,
    /// The lock that it wants.
    pub name: String,
    /// The replica that it talks to.
    pub port: u16,
    pub seed: u64,
    /// Whether its writes carry the token. Otherwise, the target cannot detect late writes.
    pub is_fenced: bool,
}

pub struct Client {
    orders: Orders,
    random: Random,
    wire: Wire,
}

impl Client {
    pub fn new(orders: Orders) -> Self {
        let random = Random::new(orders.seed);
        let wire = Wire::new(orders.port);
        Self { orders, random, wire }
    }

    /// Runs until `stop`, then releases the lock that it holds.
    pub fn run(mut self, stop: &AtomicBool) {
        while !stop.load(Ordering::SeqCst) {
            self.try_once();
        }
    }

    fn try_once(&mut self) {
        let wait = if self.random.chance(92) { 200 + self.random.below(1_300) } else { 0 };
        let body = json!({ "ttl_ms": TTL, "wait_ms": wait, "owner": format!("client-{}", self.orders.client) });
        let request = self.request("POST", None, body.to_string());
        let sent = now();
        if self.random.chance(1) {
            self.wire.abandon(&request, Duration::from_millis(self.random.below(10)));
            return record(&Event::Abandoned { client: self.orders.client, name: self.orders.name.clone(), sent });
        }
        let answer = self.wire.send(&request);
        let received = now();
        match answer {
            Ok(answer) if answer.status == 201 => {
                let grant: Value = serde_json::from_slice(&answer.body).expect("a grant");
                let fence = grant["fencing_token"].as_u64().expect("a fencing token");
                self.hold(&self.exchange(sent, received, fence), &grant);
            }
            other => {
                let (client, name) = (self.orders.client, self.orders.name.clone());
                let status = other.map_or(0, |answer| answer.status);
                record(&Event::Denied { client, name, sent, received, status });
                // The lock is held or unavailable: a pause before the retry leaves the machine to the other clients.
                let pause = if status == 409 { self.random.below(10) } else { 20 + self.random.below(40) };
                // A real client backs off too.
                std::thread::sleep(Duration::from_millis(pause));
            }
        }
    }

    /// Writes without checking the clock, as a holder that was paused does.
    fn hold(&mut self, grant: &Exchange, answer: &Value) {
        let client = self.orders.client;
        let token = answer["token"].as_str().expect("a token");
        let mut valid_until = validity(grant.received, answer);
        // Recorded before it relies on the lock, since it may be killed.
        record(&Event::Granted { exchange: grant.clone(), valid_until });
        self.write(grant.fence);
        if self.random.chance(10) {
            let body = json!({ "token": token, "ttl_ms": TTL }).to_string();
            let asked = now();
            let answer = self.wire.send(&self.request("PATCH", None, body));
            if let Ok(answer) = answer
                && answer.status == 200
                // An extension in time means relying on the lock without a gap.
                && asked < valid_until
            {
                let extended: Value = serde_json::from_slice(&answer.body).expect("an extended grant");
                valid_until = validity(now(), &extended);
                record(&Event::Extended { client, valid_until });
            }
        }
        if self.random.chance(10) {
            self.write(grant.fence);
        }
        record(&Event::Ended { client, at: now() });
        // Without a response, the lease expires.
        let _ = self.wire.send(&self.request("DELETE", Some(("lock-token", token)), String::new()));
    }

    /// A write to what the lock protects.
    fn write(&mut self, fence: u64) {
        let token = fence.to_string();
        let path = guarded(&self.orders.name);
        let header = self.orders.is_fenced.then_some(("fencing-token", token.as_str()));
        let request = Request { method: "PUT", path, header, body: token.clone() };
        let sent = now();
        let answer = self.wire.send(&request);
        let outcome = match answer {
            Ok(answer) if (200..300).contains(&answer.status) => Outcome::Accepted,
            Ok(answer) if answer.status == 409 && answer.problem() == "stale-fence" => Outcome::Refused,
            _ => Outcome::Unknown,
        };
        record(&Event::Wrote { exchange: self.exchange(sent, now(), fence), outcome });
    }

    fn request<'a>(&self, method: &'static str, header: Option<(&'static str, &'a str)>, body: String) -> Request<'a> {
        Request { method, path: format!("/locks/{}", self.orders.name), header, body }
    }

    fn exchange(&self, sent: u64, received: u64, fence: u64) -> Exchange {
        Exchange { client: self.orders.client, name: self.orders.name.clone(), sent, received, fence }
    }
}

/// What a lock protects: a cached value.
pub fn guarded(name: &str) -> String {
    format!("/cache/guarded:{name}")
}

/// Until when a client relies on a response received at `received`. The response may have been delayed.
fn validity(received: u64, grant: &Value) -> u64 {
    let validity = grant["validity_ms"].as_u64().expect("a validity") * 1_000;
    let expires = moment(grant["expires_at"].as_i64().expect("a moment"));
    (received + validity).min(expires)
}

/// One line to standard output, in one piece.
fn record(event: &Event) {
    std::io::stdout().lock().write_all(event.to_line().as_bytes()).expect("the test reads the output");
}
