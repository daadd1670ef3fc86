//! Callers that write, count, lock and append until they are told to stop.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::http::Method;
use futures_util::future::join_all;
use serde_json::{Value, json};

use super::histories::Histories;
use super::record::{Increment, Lease, Record, Told, Write};
use crate::support::{Reply, TestApp};

pub(super) const JSON: (&str, &str) = ("content-type", "application/json");
pub(super) const ONE: (&str, &str) = ("durability", "replicated=1");
/// A limiter whose windows outlast a round.
pub(super) const LIMITER: &str = "authentication";
/// The lease of the contended lock, and how long its holder keeps it.
const LEASE_MS: u64 = 2_000;
const HOLD: Duration = Duration::from_millis(2);
/// A caller that was refused tries again after this time.
pub(super) const PAUSE: Duration = Duration::from_millis(5);

/// The time of a round, in which all requests that are repeated must succeed. It bounds what a round stores, too.
const LIMIT: Duration = Duration::from_secs(180);

/// A run of the callers against one service.
pub struct Load<'a> {
    pub(super) app: &'a TestApp,
    begun: Instant,
    record: Mutex<Record>,
    histories: Mutex<Histories>,
    /// Checks of limits without and with a demand for a replica.
    pub(super) checks: [AtomicU64; 2],
    /// Successful writes for which a replica was demanded.
    pub made: AtomicU64,
    pub is_over: AtomicBool,
    pub numbers: AtomicU64,
}

impl<'a> Load<'a> {
    /// `first` is above the numbers of all earlier runs.
    pub async fn begin(app: &'a TestApp, first: u64) -> Self {
        Self {
            app,
            begun: Instant::now(),
            record: Mutex::default(),
            histories: Mutex::new(Histories::begin(app, first).await),
            checks: [const { AtomicU64::new(0) }; 2],
            made: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
            numbers: AtomicU64::new(first + 1),
        }
    }

    pub fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn histories(&self) -> MutexGuard<'_, Histories> {
        self.histories.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub async fn run(&self) {
        let writers = join_all((0..6).map(|at| self.write(at < 4)));
        let checks = join_all([true, true, false].map(|is_durable| self.check(is_durable)));
        let histories = async { tokio::join!(self.publish(), self.follow(), self.append(), checks) };
        tokio::join!(writers, join_all((0..2).map(|_| self.count())), join_all((0..2).map(|_| self.lock())), histories);
    }

    pub(super) fn goes_on(&self) -> bool {
        !self.is_over.load(Ordering::Relaxed)
    }

    /// A name that nothing else has.
    pub(super) fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &Value,
    ) -> (Reply, Told) {
        let reply = self.app.send(method.clone(), path, headers, body.to_string()).await;
        let answer = if reply.status.is_success() { Value::Null } else { reply.json() };
        let code = answer["code"].as_str().unwrap_or_default();
        let status = reply.status.as_u16();
        let described = || format!("{method} {path} {headers:?} {body} is {status} {}", reply.text());
        // 409: the lock is held, or the same increment is being made.
        assert!([200, 201, 204, 409, 503, 504].contains(&status), "{}", described());
        assert!(self.begun.elapsed() < LIMIT, "after {LIMIT:?}, {}", described());
        self.record().count(status, code, described);
        let told = match answer["outcome"].as_str() {
            _ if reply.status.is_success() => Told::Made,
            Some("not_applied") => Told::NotMade,
            _ => Told::Unknown,
        };
        (reply, told)
    }

    /// Values, orders, events of a stream, messages, and checks of a limit, each with a name of its own.
    async fn write(&self, is_durable: bool) {
        let headers = [JSON, ONE];
        let headers = if is_durable { &headers[..] } else { &headers[..1] };
        while self.goes_on() {
            let number = self.number();
            let (method, to, body, path) = match number % 5 {
                0 => (Method::PUT, format!("/cache/{number}"), json!(number), format!("/cache/{number}")),
                1 => {
                    let order = json!({ "order_id": format!("o{number}"), "owner": "u", "side": "buy", "price": "4", "quantity": "1" });
                    let placed = format!("/orderbooks/GRID/orders/o{number}");
                    (Method::POST, "/orderbooks/GRID/orders".to_owned(), order, placed)
                }
                2 => {
                    let channel = format!("/pubsub/orderbook:S{number}");
                    let latest = format!("{channel}/latest");
                    (Method::POST, channel, json!({ "message_type": "message", "data": number }), latest)
                }
                3 => {
                    let check = json!({ "limiter": LIMITER, "key": number.to_string() });
                    (Method::POST, "/ratelimit/check".to_owned(), check, format!("/ratelimit/{LIMITER}/{number}"))
                }
                _ => {
                    // The first event of a stream of its own.
                    let events = json!({ "events": [{ "type": "a", "data": number }], "expected_version": "none" });
                    let stream = format!("/streams/s{number}");
                    (Method::POST, format!("{stream}/events"), events, stream)
                }
            };
            let (_, told) = self.send(method, &to, headers, &body).await;
            match told {
                Told::Made if is_durable => _ = self.made.fetch_add(1, Ordering::Relaxed),
                Told::Made => {}
                Told::NotMade | Told::Unknown => pause(PAUSE).await,
            }
            self.record().writes.push(Write { path, is_durable, told });
        }
    }

    /// Increments one counter. Each increment is repeated with its key until it was made.
    async fn count(&self) {
        while self.goes_on() {
            let key = format!("increment-{}", self.number());
            let headers = [JSON, ONE, ("idempotency-key", &key)];
            let made = loop {
                let (reply, told) = self.send(Method::POST, "/cache/counter/increment", &headers, &json!({})).await;
                if told == Told::Made {
                    break reply.json();
                }
                pause(PAUSE).await;
            };
            let value = made["value"].as_u64().expect("a number");
            self.record().increments.push(Increment { key, value });
        }
    }

    /// Acquires one lock over and over.
    async fn lock(&self) {
        while self.goes_on() {
            let begun = Instant::now();
            let (reply, told) = self.send(Method::POST, "/locks/l", &[JSON, ONE], &json!({ "ttl_ms": LEASE_MS })).await;
            if told != Told::Made {
                pause(PAUSE).await;
                continue;
            }
            let (from, grant) = (Instant::now(), reply.json());
            let validity = Duration::from_millis(grant["validity_ms"].as_u64().expect("a number"));
            pause(HOLD).await;
            let to = Instant::now().min(begun + validity);
            self.record().leases.push(Lease { token: grant["fencing_token"].as_u64().expect("a token"), from, to });
            let token = grant["token"].as_str().expect("a token");
            let _ = self.send(Method::DELETE, "/locks/l", &[("lock-token", token)], &Value::Null).await;
        }
    }
}

impl Drop for Load<'_> {
    /// A failure names the last requests that were refused.
    fn drop(&mut self) {
        if std::thread::panicking() {
            let record = self.record();
            println!("{} durable writes; {:?}; {:#?}", self.made.load(Ordering::Relaxed), record.statuses, record.last);
        }
    }
}

/// The time of a client between two requests.
pub(super) async fn pause(time: Duration) {
    // Clients that did not pause would measure how fast the service refuses.
    tokio::time::sleep(time).await;
}
