//! Routes that count their runs, behind the middleware and the guard of a replica.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderName, Method, StatusCode, header};
use gridtokenx_redis::app::{HttpService, behind_middleware};
use gridtokenx_redis::http::access::Access;
use gridtokenx_redis::http::extract::RawBody;
use gridtokenx_redis::http::idempotent_operation::Operation;
use gridtokenx_redis::http::openapi_router::OpenApiRouter;
use gridtokenx_redis::http::problem::{NOT_FOUND, Problem};
use http_body_util::BodyExt;
use tokio::sync::Notify;

use crate::support::{Reply, TestApp};

/// The runs of the test's routes on all replicas.
#[derive(Clone, Default)]
pub(super) struct RunLog {
    count: Arc<AtomicU32>,
    /// Lets a run of `/slow` finish.
    pub(super) resume: Arc<Notify>,
}

impl RunLog {
    pub(super) fn count(&self) -> u32 {
        self.count.load(Ordering::SeqCst)
    }

    /// Adds a run and returns its number.
    pub(super) fn record(&self) -> u32 {
        self.count.fetch_add(1, Ordering::SeqCst) + 1
    }
}

type Created = (StatusCode, [(HeaderName, &'static str); 2], String);

/// Returns its number, the operation and the body, so that the responses of two runs differ.
async fn count(State(runs): State<RunLog>, Operation(operation): Operation, RawBody(body): RawBody) -> Created {
    let operation = operation.map(|id| id.as_str().to_owned()).unwrap_or_default();
    let text = format!("run {} of `{operation}`: {}", runs.record(), String::from_utf8_lossy(&body));
    (StatusCode::CREATED, [(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::LOCATION, "/count/1")], text)
}

async fn ignore(State(runs): State<RunLog>) -> StatusCode {
    runs.record();
    StatusCode::NO_CONTENT
}

async fn slow(State(runs): State<RunLog>) -> String {
    let run = runs.record();
    runs.resume.notified().await;
    format!("run {run}")
}

async fn fail(State(runs): State<RunLog>) -> Problem {
    runs.record();
    Problem::new(&NOT_FOUND)
}

async fn large(State(runs): State<RunLog>) -> String {
    runs.record();
    "x".repeat((64 << 10) + 1)
}

async fn long(State(runs): State<RunLog>) -> String {
    format!("{:>60000}", runs.record())
}

async fn stream(State(runs): State<RunLog>, body: Body) -> Result<String, StatusCode> {
    let run = runs.record();
    let (mut body, mut length) = (body, 0);
    while let Some(frame) = body.frame().await {
        length += frame.map_err(|_| StatusCode::BAD_REQUEST)?.data_ref().map_or(0, Bytes::len);
    }
    Ok(format!("run {run}: {length} bytes"))
}

/// The routes above, behind the middleware and the guard of a replica.
pub(super) struct Replica {
    pub(super) app: TestApp,
    service: HttpService,
}

impl Replica {
    pub(super) fn new(app: TestApp, runs: &RunLog) -> Self {
        let api = OpenApiRouter::new()
            .on("GET", "/count", count)
            .on("POST", "/count", count)
            .on("PATCH", "/count", count)
            .on("PUT", "/count", count)
            .on("POST", "/ignore", ignore)
            .on("POST", "/slow", slow)
            .on("POST", "/fail", fail)
            .on("POST", "/large", large)
            .on("POST", "/long", long)
            .on("POST", "/stream", stream)
            .on("POST", "/open", ignore)
            .with_state(runs.clone());
        let counting = ["GET", "POST", "PATCH", "PUT"].map(|method| Access::scoped(method, "/count", "cache:write"));
        let others =
            ["/ignore", "/slow", "/fail", "/large", "/long"].map(|path| Access::scoped("POST", path, "cache:write"));
        let special = [Access::scoped("POST", "/stream", "cache:write").streaming(), Access::public("POST", "/open")];
        let rows: Vec<Access> = counting.into_iter().chain(others).chain(special).collect();
        let service = behind_middleware(&app.app().deps, &rows, api, Router::new()).expect("the routes are guarded");
        Self { app, service }
    }

    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Reply {
        Reply::from(&self.service, method, path, headers, body).await
    }

    pub(super) async fn post(&self, path: &str, key: &str, body: impl Into<Body>) -> Reply {
        self.send(Method::POST, path, &[("idempotency-key", key)], body).await
    }

    pub(super) fn records(&self) -> Vec<String> {
        self.app.redis().command(&["KEYS", "idempotency:*"])
    }
}

pub(super) async fn replica() -> (Replica, RunLog) {
    let runs = RunLog::default();
    (Replica::new(TestApp::spawn().await, &runs), runs)
}

pub(super) async fn replica_with(config: &str) -> (Replica, RunLog) {
    let runs = RunLog::default();
    (Replica::new(TestApp::builder().config(config).spawn().await, &runs), runs)
}
