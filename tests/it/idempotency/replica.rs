//! Routes that count what they do, behind the edge and the guard of a replica.

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

/// What the test's routes have done, over all replicas.
#[derive(Clone, Default)]
pub(super) struct Deeds {
    runs: Arc<AtomicU32>,
    pub(super) go_on: Arc<Notify>,
}

impl Deeds {
    pub(super) fn count(&self) -> u32 {
        self.runs.load(Ordering::SeqCst)
    }

    pub(super) fn run(&self) -> u32 {
        self.runs.fetch_add(1, Ordering::SeqCst) + 1
    }
}

type Created = (StatusCode, [(HeaderName, &'static str); 2], String);

/// Answers with its number, the operation and the body, so that no two runs answer alike.
async fn count(State(deeds): State<Deeds>, Operation(operation): Operation, RawBody(body): RawBody) -> Created {
    let operation = operation.map(|id| id.as_str().to_owned()).unwrap_or_default();
    let text = format!("run {} of `{operation}`: {}", deeds.run(), String::from_utf8_lossy(&body));
    (StatusCode::CREATED, [(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::LOCATION, "/count/1")], text)
}

async fn ignore(State(deeds): State<Deeds>) -> StatusCode {
    deeds.run();
    StatusCode::NO_CONTENT
}

async fn slow(State(deeds): State<Deeds>) -> String {
    let run = deeds.run();
    deeds.go_on.notified().await;
    format!("run {run}")
}

async fn fail(State(deeds): State<Deeds>) -> Problem {
    deeds.run();
    Problem::new(&NOT_FOUND)
}

async fn large(State(deeds): State<Deeds>) -> String {
    deeds.run();
    "x".repeat((64 << 10) + 1)
}

async fn stream(State(deeds): State<Deeds>, body: Body) -> Result<String, StatusCode> {
    let run = deeds.run();
    let (mut body, mut length) = (body, 0);
    while let Some(frame) = body.frame().await {
        length += frame.map_err(|_| StatusCode::BAD_REQUEST)?.data_ref().map_or(0, Bytes::len);
    }
    Ok(format!("run {run}: {length} bytes"))
}

/// The routes above behind the edge and the guard of a replica.
pub(super) struct Replica {
    pub(super) app: TestApp,
    service: HttpService,
}

impl Replica {
    pub(super) fn of(app: TestApp, deeds: &Deeds) -> Self {
        let api = OpenApiRouter::new()
            .on("GET", "/count", count)
            .on("POST", "/count", count)
            .on("PATCH", "/count", count)
            .on("PUT", "/count", count)
            .on("POST", "/ignore", ignore)
            .on("POST", "/slow", slow)
            .on("POST", "/fail", fail)
            .on("POST", "/large", large)
            .on("POST", "/stream", stream)
            .on("POST", "/open", ignore)
            .with_state(deeds.clone());
        let counting = ["GET", "POST", "PATCH", "PUT"].map(|method| Access::scoped(method, "/count", "cache:write"));
        let others = ["/ignore", "/slow", "/fail", "/large"].map(|path| Access::scoped("POST", path, "cache:write"));
        let special = [Access::scoped("POST", "/stream", "cache:write").streaming(), Access::public("POST", "/open")];
        let rows: Vec<Access> = counting.into_iter().chain(others).chain(special).collect();
        let guarded = behind_middleware(&app.app().deps, &rows, api, Router::new()).expect("the routes are guarded");
        Self { app, service: guarded }
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

pub(super) async fn replica() -> (Replica, Deeds) {
    let deeds = Deeds::default();
    (Replica::of(TestApp::spawn().await, &deeds), deeds)
}

pub(super) async fn replica_with(config: &str) -> (Replica, Deeds) {
    let deeds = Deeds::default();
    (Replica::of(TestApp::builder().config(config).spawn().await, &deeds), deeds)
}
