//! Clients that check limits at a rate and record the answers.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{Request, StatusCode};
use futures_util::future::join_all;
use gridtokenx_redis::clock::Clock;
use http_body_util::BodyExt;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::rates::Moment;
use crate::support::eventually;

/// Clients of each process.
const CLIENTS: usize = 32;

/// The answer to a client's check.
#[derive(Debug)]
pub struct Answer {
    pub limiter: &'static str,
    /// From the request to the response.
    pub at: Moment,
    pub verdict: Verdict,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Admitted,
    Refused,
    /// Redis was unavailable, and nothing was taken.
    NotApplied,
    /// Redis failed during the call.
    Unknown,
}

/// The clients of all processes.
pub struct Load {
    processes: Vec<SocketAddr>,
    limiters: [&'static str; 4],
    http: Client<HttpConnector, Body>,
    answers: Mutex<Vec<Answer>>,
}

/// A period with one rate: calls are due at even intervals, and the next free client makes each of them.
struct Stage {
    began: Instant,
    interval: Duration,
    next: AtomicU32,
    over: CancellationToken,
}

impl Load {
    pub fn new(processes: Vec<SocketAddr>, limiters: [&'static str; 4]) -> Arc<Self> {
        let http = Client::builder(TokioExecutor::new()).build_http();
        Arc::new(Self { processes, limiters, http, answers: Mutex::default() })
    }

    /// Calls each limiter `per_second` times a second until `events` end.
    pub async fn during<T>(self: &Arc<Self>, per_second: u32, events: impl Future<Output = T>) -> T {
        let interval = Duration::from_secs(1) / (per_second * 4);
        let (next, over) = (AtomicU32::new(0), CancellationToken::new());
        let stage = Arc::new(Stage { began: Instant::now(), interval, next, over });
        let processes = (0..CLIENTS).flat_map(|_| self.processes.iter().copied());
        #[expect(clippy::disallowed_methods, reason = "the harness is not the service")]
        let clients: Vec<_> =
            processes.map(|process| tokio::spawn(client(Arc::clone(self), Arc::clone(&stage), process))).collect();
        let outcome = events.await;
        stage.over.cancel();
        for client in join_all(clients).await {
            client.expect("the client ended");
        }
        outcome
    }

    /// Waits until `more` further calls are answered.
    pub async fn answered(&self, more: usize) {
        let answered = || self.answers.lock().expect("the answers").len();
        let goal = answered() + more;
        eventually("calls are answered", async || answered() >= goal).await;
    }

    /// Whether every limiter has refused a call.
    pub fn is_refused_everywhere(&self) -> bool {
        let answers = self.answers.lock().expect("the answers");
        let refused = |name| answers.iter().any(|answer| answer.limiter == name && answer.verdict == Verdict::Refused);
        self.limiters.into_iter().all(refused)
    }

    /// The answers that all clients received.
    pub fn answers(&self) -> Vec<Answer> {
        std::mem::take(&mut *self.answers.lock().expect("the answers"))
    }

    /// Sends a GET to every process.
    pub async fn get(&self, path: &str) -> Vec<(StatusCode, Value)> {
        let requests = self.processes.iter().map(|process| Request::get(format!("http://{process}{path}")));
        join_all(requests.map(|request| self.send(request.body(Body::empty()).expect("a request")))).await
    }

    async fn check(&self, process: SocketAddr, limiter: &'static str) -> Answer {
        let request = Request::post(format!("http://{process}/ratelimit/check"))
            .header("content-type", "application/json")
            .body(Body::from(json!({ "limiter": limiter, "key": "k" }).to_string()))
            .expect("a request");
        let earliest = milliseconds() * 1_000;
        let (status, answer) = self.send(request).await;
        let latest = (milliseconds() + 1) * 1_000;
        assert_ne!(answer["degraded"], true, "a check was decided without Redis: {answer}");
        let verdict = match (status, answer["allowed"].as_bool(), answer["outcome"].as_str()) {
            (StatusCode::OK, Some(true), _) => Verdict::Admitted,
            (StatusCode::OK, Some(false), _) => Verdict::Refused,
            (_, _, Some("not_applied")) => Verdict::NotApplied,
            (_, _, Some("unknown")) => Verdict::Unknown,
            _ => panic!("{status}: {answer}"),
        };
        Answer { limiter, at: Moment { earliest, latest }, verdict }
    }

    async fn send(&self, request: Request<Body>) -> (StatusCode, Value) {
        let answer = self.http.request(request).await.expect("the process answers");
        let status = answer.status();
        let body = answer.into_body().collect().await.expect("a whole answer").to_bytes();
        (status, serde_json::from_slice(&body).expect("JSON"))
    }
}

async fn client(load: Arc<Load>, stage: Arc<Stage>, process: SocketAddr) {
    loop {
        let call = stage.next.fetch_add(1, Ordering::SeqCst);
        // The rate at which calls begin is the load that the test is about.
        let due = tokio::time::sleep_until((stage.began + stage.interval * call).into());
        if stage.over.run_until_cancelled(due).await.is_none() {
            return;
        }
        let limiter = load.limiters[usize::try_from(call % 4).expect("small")];
        let answer = load.check(process, limiter).await;
        load.answers.lock().expect("the answers").push(answer);
    }
}

/// The machine's clock, which Redis uses as well.
fn milliseconds() -> u64 {
    u64::try_from(Clock::System.now()).expect("after 1970")
}
