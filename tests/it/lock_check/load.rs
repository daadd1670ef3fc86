//! Clients that acquire, write, extend, release, and sometimes fall asleep on a lock.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use gridtokenx_redis::clock::Clock;
use http_body_util::BodyExt;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};

use super::checker::{Grant, History, Write};
use super::random::Random;

/// Every lease, milliseconds.
pub const TTL: u64 = 500;
const NAMES: usize = 4;
/// A request on a stopped replica is given up after this.
const PATIENCE: Duration = Duration::from_millis(2_500);

/// What all clients share.
pub struct Scene {
    ports: Vec<u16>,
    began: Instant,
    /// Unix milliseconds at `began`.
    began_at: i64,
    pub history: Mutex<History>,
    /// What the locks protect: the highest token that each target has seen.
    targets: Mutex<HashMap<String, u64>>,
    stop: AtomicBool,
    http: Client<HttpConnector, Body>,
}

impl Scene {
    pub fn new(ports: Vec<u16>) -> Arc<Self> {
        let http = Client::builder(TokioExecutor::new()).build_http();
        Arc::new(Self {
            ports,
            began: Instant::now(),
            began_at: Clock::System.now(),
            history: Mutex::default(),
            targets: Mutex::default(),
            stop: AtomicBool::new(false),
            http,
        })
    }

    pub fn grants(&self) -> usize {
        self.history.lock().expect("the history").grants.len()
    }

    pub fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
    }

    pub fn is_over(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).expect("a short run")
    }

    /// A moment of the wall clock on ours. Both ends are cut to milliseconds, so it may be one too late.
    fn moment(&self, at: i64) -> u64 {
        u64::try_from(at - self.began_at - 1).unwrap_or_default() * 1_000
    }

    async fn ask(
        &self,
        port: u16,
        method: Method,
        name: &str,
        token: &str,
        body: Option<Value>,
    ) -> Option<(StatusCode, Value)> {
        let mut request = Request::builder().method(method).uri(format!("http://127.0.0.1:{port}/locks/{name}"));
        if !token.is_empty() {
            request = request.header("lock-token", token);
        }
        let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        let request = request.header("content-type", "application/json").body(body).expect("a request");
        let answered = tokio::time::timeout(PATIENCE, async {
            let (parts, body) = self.http.request(request).await.ok()?.into_parts();
            let bytes = body.collect().await.ok()?.to_bytes();
            Some((parts.status, serde_json::from_slice(&bytes).unwrap_or(Value::Null)))
        });
        answered.await.ok().flatten()
    }

    /// A write with a token: the target refuses what is older than what it has seen.
    fn write(&self, name: &str, fence: u64) {
        let mut targets = self.targets.lock().expect("the targets");
        let highest = targets.entry(name.to_owned()).or_default();
        let accepted = fence >= *highest;
        *highest = fence.max(*highest);
        self.history.lock().expect("the history").writes.push(Write { name: name.to_owned(), fence, accepted });
    }
}

/// One client until the scene is over.
pub async fn client(scene: Arc<Scene>, id: usize, seed: u64) {
    let mut random = Random::new(seed ^ (u64::try_from(id).expect("small") << 32));
    while !scene.is_over() {
        let port = scene.ports[random.index(scene.ports.len())];
        let name = format!("resource:{}", random.index(NAMES));
        let wait = if random.chance(70) { random.below(1_500) } else { 0 };
        let sent = scene.now();
        let body = json!({ "ttl_ms": TTL, "wait_ms": wait, "owner": format!("client-{id}") });
        let answer = scene.ask(port, Method::POST, &name, "", Some(body)).await;
        let received = scene.now();
        match answer {
            Some((StatusCode::CREATED, grant)) => {
                hold(&scene, &mut random, id, port, &name, (sent, received), &grant).await;
            }
            // Held or away: whoever hammers on finds out nothing new.
            _ => tokio::time::sleep(Duration::from_millis(5 + random.below(20))).await,
        }
    }
}

async fn hold(
    scene: &Scene,
    random: &mut Random,
    client: usize,
    port: u16,
    name: &str,
    (sent, received): (u64, u64),
    grant: &Value,
) {
    let fence = grant["fencing_token"].as_u64().expect("a fencing token");
    let token = grant["token"].as_str().expect("a token");
    let mut valid_until = validity(scene, received, grant);
    scene.write(name, fence);
    let asleep = random.below(1_000) < 4;
    tokio::time::sleep(Duration::from_millis(if asleep { TTL + 200 } else { random.below(6) })).await;
    if !asleep && random.chance(10) {
        let asked = scene.now();
        let body = json!({ "token": token, "ttl_ms": TTL });
        if let Some((StatusCode::OK, extended)) = scene.ask(port, Method::PATCH, name, "", Some(body)).await {
            // Whoever extends in time relies on the lock without a gap.
            if asked < valid_until {
                valid_until = valid_until.max(validity(scene, scene.now(), &extended));
            }
        }
    }
    // The late write of a client that slept.
    scene.write(name, fence);
    let released = scene.now();
    let relied_until = valid_until.min(released);
    scene.history.lock().expect("the history").grants.push(Grant {
        client,
        name: name.to_owned(),
        sent,
        received,
        relied_until,
        fence,
    });
    // A few crash: their leases end by themselves.
    if random.below(1_000) >= 4 {
        scene.ask(port, Method::DELETE, name, token, None).await;
    }
}

/// Until when a client relies on an answer that it has at `received`: the answer may have been on its way for long.
fn validity(scene: &Scene, received: u64, grant: &Value) -> u64 {
    let validity = grant["validity_ms"].as_u64().expect("a validity") * 1_000;
    let expires = scene.moment(grant["expires_at"].as_i64().expect("a moment"));
    (received + validity).min(expires)
}
