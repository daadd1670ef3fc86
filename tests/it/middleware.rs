//! What every request passes: ids, problems in full form, panics, deadlines, overload.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::Method;
use gridtokenx_redis::app::{HttpService, access_table, behind_middleware, problem_kinds};
use gridtokenx_redis::http::access::Access;
use gridtokenx_redis::http::auth::api_key;
use gridtokenx_redis::http::extract::{Json, Path, Query, RawBody};
use gridtokenx_redis::http::legacy_prefix::without_legacy_prefix;
use gridtokenx_redis::http::openapi_router::OpenApiRouter;
use gridtokenx_redis::http::reply::NoContent;
use gridtokenx_redis::http::route_table::RouteTable;
use gridtokenx_redis::telemetry::metrics::Metrics;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Notify;

use crate::support::{ADMIN_KEY, Reply, TestApp, eventually};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    #[expect(dead_code, reason = "only its form matters")]
    amount: u32,
}

#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
struct Number;

impl TryFrom<String> for Number {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse::<u32>().map(|_| Self).map_err(|_| format!("must be a number, got `{text}`"))
    }
}

/// Routes that take every kind of input, and some that misbehave, behind the middleware.
struct Gate {
    app: TestApp,
    service: HttpService,
    go_on: Arc<Notify>,
}

impl Gate {
    async fn spawn() -> Self {
        Self::with("").await
    }

    async fn with(config: &str) -> Self {
        let app = TestApp::builder().config(config).spawn().await;
        let go_on = Arc::new(Notify::new());
        let waiting = Arc::clone(&go_on);
        let wait = move || {
            let waiting = Arc::clone(&waiting);
            async move {
                waiting.notified().await;
                NoContent
            }
        };
        let api = OpenApiRouter::new()
            .on("POST", "/orders", async |_: Json<Order>| NoContent)
            .on("GET", "/orders", async |_: Query<Order>| NoContent)
            .on("GET", "/orders/{id}", async |_: Path<Number>| NoContent)
            .on("POST", "/raw", async |_: RawBody| NoContent)
            .on("GET", "/panic", panics)
            .on("POST", "/panic", panics)
            .on("GET", "/wait", wait.clone())
            .on("POST", "/wait", wait);
        let rows = ["/orders", "/orders/{id}", "/raw", "/panic", "/wait"].map(|path| Access::public("GET", path));
        let writes = ["/orders", "/raw", "/panic", "/wait"].map(|path| Access::public("POST", path));
        let rows: Vec<Access> = rows.into_iter().chain(writes).collect();
        let guarded = behind_middleware(&app.app().deps, &rows, api, Router::new()).expect("the routes are guarded");
        Self { app, service: guarded, go_on }
    }

    async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Reply {
        Reply::from(&self.service, method, path, headers, body).await
    }

    async fn get(&self, path: &str) -> Reply {
        self.send(Method::GET, path, &[], Body::empty()).await
    }

    async fn post(&self, path: &str, json: &str) -> Reply {
        self.send(Method::POST, path, &[("content-type", "application/json")], json.to_owned()).await
    }

    /// A number of `GET /metrics`.
    async fn metric(&self, name: &str) -> f64 {
        let text = self.app.get("/metrics").await.expect(200).text();
        let line =
            text.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap_or_else(|| panic!("{name}: {text}"));
        line.rsplit(' ').next().and_then(|number| number.parse().ok()).expect("a number")
    }
}

async fn panics() -> NoContent {
    panic!("the handler's own words")
}

#[tokio::test]
async fn a_request_id_is_kept_when_it_is_fit_and_made_otherwise() {
    let app = TestApp::spawn().await;
    let ask = async |id: &str| {
        let reply = app.send(Method::GET, "/health/live", &[("x-request-id", id)], Body::empty()).await;
        reply.header("x-request-id").expect("an id").to_owned()
    };
    for fit in ["order-17", &"x".repeat(128)] {
        assert_eq!(ask(fit).await, *fit);
    }
    for unfit in ["", "two words", "é", &"x".repeat(129)] {
        let made = ask(unfit).await;
        assert!(made.len() == 32 && made.bytes().all(|digit| digit.is_ascii_hexdigit()), "{unfit}: {made}");
    }
    let (one, other) = (app.get("/health/live").await, app.get("/health/live").await);
    assert_ne!(one.header("x-request-id").expect("an id"), other.header("x-request-id").expect("an id"));
    let problem = app.send(Method::GET, "/nowhere", &[("x-request-id", "order-17")], Body::empty()).await;
    assert_eq!(problem.expect_problem(404, "not-found")["request_id"], "order-17");
}

#[tokio::test]
async fn unknown_routes_and_methods_are_problems() {
    let app = TestApp::spawn().await;
    for path in ["/nowhere", "/api/nowhere", "/api", "/health/", "/%00", "/problems/none"] {
        let problem = app.get(path).await.expect_problem(404, "not-found");
        assert_eq!(problem["instance"], path, "{problem}");
    }
    for (method, path) in [(Method::DELETE, "/health"), (Method::POST, "/api/health/live"), (Method::PUT, "/metrics")] {
        let refused = app.send(method, path, &[], Body::empty()).await;
        refused.expect_problem(405, "method-not-allowed");
        assert!(refused.header("allow").is_some_and(|allow| allow.contains("GET")), "{refused:?}");
    }
}

#[tokio::test]
async fn bad_input_is_told_where_it_is_wrong() {
    let gate = Gate::spawn().await;
    for mount in ["", "/api"] {
        let orders = format!("{mount}/orders");
        gate.post(&orders, r#"{"amount":1}"#).await.expect(204);
        for (json, pointer) in [
            (r#"{"amount":-1}"#, "/amount"),
            (r#"{"amount":"1"}"#, "/amount"),
            (r#"{"amount":1.5}"#, "/amount"),
            (r#"{"amount":1e400}"#, "/amount"),
            (r#"{"amount":9223372036854775808}"#, "/amount"),
            (r#"{"amount":1,"amuont":2}"#, "/amuont"),
            (r#"{"amount":1,"amount":2}"#, "/amount"),
            ("{}", "/amount"),
            ("[]", ""),
            ("null", ""),
        ] {
            let reply = gate.post(&orders, json).await;
            if json.contains("e400") {
                reply.expect_problem(400, "invalid-json");
            } else {
                reply.expect_violation(422, "invalid-body", pointer);
            }
        }
        for json in ["", "{", "{\"amount\":NaN}", "{\"amount\":1} {}", "\u{feff}{}", "{\"amount\":1,}"] {
            gate.post(&orders, json).await.expect_problem(400, "invalid-json");
        }
        let deep = format!("{}1{}", "[".repeat(65), "]".repeat(65));
        gate.post(&orders, &deep).await.expect_problem(400, "json-too-deep");
        gate.post(&orders, &"[".repeat(100_000)).await.expect_problem(400, "json-too-deep");

        for (query, pointer) in [
            ("", "/amount"),
            ("?amount=-1", "/amount"),
            ("?amount=1&amount=2", "/amount"),
            ("?amount=1&amuont=2", "/amuont"),
            ("?amount=4294967296", "/amount"),
            ("?amount=%FF", "/amount"),
        ] {
            gate.get(&format!("{orders}{query}")).await.expect_violation(422, "invalid-query", pointer);
        }
        for id in ["x", "-1", "4294967296", "1%20", "%FF", "%00"] {
            let problem = gate.get(&format!("{orders}/{id}")).await.expect_problem(422, "invalid-path");
            assert_eq!(problem["instance"], format!("{orders}/{id}"), "{problem}");
        }
    }
}

#[tokio::test]
async fn a_body_of_another_type_is_refused() {
    let gate = Gate::spawn().await;
    for headers in [&[][..], &[("content-type", "text/plain")], &[("content-type", "é")], &[("content-type", "json")]]
    {
        let problem = gate.send(Method::POST, "/orders", headers, r#"{"amount":1}"#).await;
        let problem = problem.expect_problem(415, "unsupported-media-type");
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains("application/json")), "{problem}");
    }
    for media_type in ["application/json", "APPLICATION/JSON; charset=utf-8", "application/vnd.order+json"] {
        let headers = [("content-type", media_type)];
        gate.send(Method::POST, "/orders", &headers, r#"{"amount":1}"#).await.expect(204);
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_also_when_its_length_is_not_declared() {
    let gate = Gate::with("[http]\nbody_limit = \"1KiB\"").await;
    gate.send(Method::POST, "/raw", &[], vec![0; 1_024]).await.expect(204);
    let declared = gate.send(Method::POST, "/raw", &[], vec![0; 1_025]).await;
    assert!(
        declared.expect_problem(413, "body-too-large")["detail"].as_str().is_some_and(|text| text.contains("1024"))
    );
    let pieces = futures_util::stream::iter((0..3).map(|_| Ok::<_, std::io::Error>(vec![0; 512])));
    let streamed = gate.send(Method::POST, "/raw", &[], Body::from_stream(pieces)).await;
    streamed.expect_problem(413, "body-too-large");
    let broken = futures_util::stream::iter([Ok("x"), Err(std::io::Error::other("cut"))]);
    gate.send(Method::POST, "/raw", &[], Body::from_stream(broken)).await.expect_problem(400, "body-incomplete");
}

#[tokio::test]
async fn a_panic_is_one_callers_problem_and_is_counted() {
    let gate = Gate::spawn().await;
    for method in [Method::GET, Method::POST] {
        let reply = gate.send(method, "/panic", &[], Body::empty()).await;
        let problem = reply.expect_problem(500, "internal-error");
        assert!(!reply.text().contains("own words"), "{problem}");
        assert_eq!(problem["outcome"], "unknown", "{problem}");
    }
    assert!((gate.metric("http_panics_total").await - 2.0).abs() < f64::EPSILON);
    gate.post("/orders", r#"{"amount":1}"#).await.expect(204);
    assert!((gate.metric("http_requests_in_flight").await - 1.0).abs() < f64::EPSILON, "only the question itself");
}

#[tokio::test]
async fn the_deadline_answers_for_a_handler_that_does_not() {
    let gate = Gate::with("http.request_deadline = \"500ms\"").await;
    for (method, outcome) in [(Method::GET, "not_applied"), (Method::POST, "unknown")] {
        let late = gate.send(method, "/api/wait", &[], Body::empty()).await;
        let problem = late.expect_problem(504, "deadline-exceeded");
        assert_eq!(problem["outcome"], outcome, "{problem}");
        assert!(late.header("retry-after").is_some(), "{problem}");
    }
}

#[tokio::test]
async fn work_beyond_the_limit_is_refused_and_taken_again_later() {
    let gate = Gate::with("[http]\nmax_requests = 1").await;
    let other = async {
        eventually("a request waits", async || gate.metric("http_requests_in_flight").await > 1.5).await;
        let problem = gate.post("/orders", r#"{"amount":1}"#).await.expect_problem(503, "overloaded");
        assert_eq!(problem["outcome"], "not_applied", "{problem}");
        gate.go_on.notify_one();
    };
    let (first, ()) = tokio::join!(gate.get("/wait"), other);
    first.expect(204);
    gate.post("/orders", r#"{"amount":1}"#).await.expect(204);
}

/// A body that never ends.
fn endless() -> Body {
    Body::from_stream(futures_util::stream::pending::<Result<Vec<u8>, std::io::Error>>())
}

#[tokio::test]
async fn unfinished_bodies_block_neither_probes_nor_other_credentials() {
    let [a, b] = ["ak_0123456789abcdef0123456789abcdef", ADMIN_KEY];
    let digest = api_key::hex(&api_key::digest(a.as_bytes()));
    let config = "http.max_requests = 4\nhttp.request_deadline = \"1m\"\nhttp.body_idle_timeout = \"1m\"\n";
    let key = format!("[[auth.keys]]\nid = \"a\"\nsha256 = \"{digest}\"\nscopes = [\"cache:write\"]");
    let app = TestApp::builder().config(config).config(&key).admin_key().spawn().await;
    let put = async |key: &str, body: Body| app.send(Method::PUT, "/cache/a", &[("x-api-key", key)], body).await;
    let unfinished = |key: &'static str| futures_util::future::join_all((0..2).map(move |_| put(key, endless())));
    let others = async {
        eventually("one credential has its share", async || put(a, Body::from("1")).await.is(503)).await;
        let problem = put(a, Body::from("1")).await.expect_problem(503, "overloaded");
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains("this credential")), "{problem}");
        put(b, Body::from("1")).await.expect(201);
        let all = async {
            eventually("every slot is taken", async || put(a, Body::empty()).await.text().contains("is overloaded"))
                .await;
            eventually("every slot is taken", async || app.get("/problems/overloaded").await.is(503)).await;
            for path in ["/health", "/health/live", "/health/ready", "/api/health/live", "/metrics"] {
                app.send(Method::GET, path, &[("x-api-key", b)], Body::empty()).await.expect(200);
            }
        };
        tokio::select! { biased; _ = unfinished(b) => {}, () = all => {} }
    };
    // The unfinished requests come first, so none of the others takes their slots.
    tokio::select! { biased; _ = unfinished(a) => {}, () = others => {} }
    put(a, Body::from("2")).await.expect(204);
}

#[tokio::test]
async fn a_body_that_arrives_too_slowly_is_the_clients_problem_and_changes_nothing() {
    let gate = Gate::with("http.request_deadline = \"500ms\"").await;
    let json = [("content-type", "application/json")];
    for path in ["/raw", "/api/raw", "/orders"] {
        let problem = gate.send(Method::POST, path, &json, endless()).await.expect_problem(408, "request-timeout");
        assert_eq!(problem["outcome"], "not_applied", "{problem}");
        let slow = gate.send(Method::POST, path, &json, endless()).await;
        assert_eq!(slow.header("connection"), Some("close"), "the rest of the body is not read");
    }
    // This handler does not read the body, so nobody knows what it did.
    let problem = gate.send(Method::POST, "/wait", &json, endless()).await.expect_problem(504, "deadline-exceeded");
    assert_eq!(problem["outcome"], "unknown", "{problem}");
    let gate = Gate::with("[http]\nbody_idle_timeout = \"50ms\"\nrequest_deadline = \"1m\"").await;
    let problem = gate.send(Method::POST, "/orders", &json, endless()).await.expect_problem(408, "request-timeout");
    assert_eq!(problem["outcome"], "not_applied", "{problem}");
}

#[tokio::test]
async fn an_abandoned_request_is_counted_and_gives_its_place_back() {
    let gate = Gate::with("[http]\nmax_requests = 1").await;
    {
        let mut abandoned = std::pin::pin!(gate.get("/wait"));
        tokio::select! {
            reply = &mut abandoned => panic!("{reply:?}"),
            () = eventually("it waits", async || gate.metric("http_requests_in_flight").await > 1.5) => {}
        }
    }
    assert!((gate.metric("http_requests_aborted_total").await - 1.0).abs() < f64::EPSILON);
    gate.post("/orders", r#"{"amount":1}"#).await.expect(204);
}

#[tokio::test]
async fn every_kind_of_problem_has_one_page() {
    let app = TestApp::spawn().await;
    let kinds = problem_kinds();
    let slugs: BTreeSet<&str> = kinds.iter().map(|kind| kind.slug).collect();
    assert_eq!(slugs.len(), kinds.len(), "a slug is used twice");
    for kind in kinds {
        let is_plain = |c: char| c.is_ascii_lowercase() || c == '-';
        assert!(kind.slug.chars().all(is_plain) && kind.advice.ends_with('.'), "{kind:?}");
        let page = app.get(&format!("/problems/{}", kind.slug)).await.expect(200);
        assert!(page.header("content-type").is_some_and(|value| value.starts_with("text/html")), "{page:?}");
        assert!(page.text().contains(kind.title) && page.text().contains(kind.slug), "{}", page.text());
    }
}

#[tokio::test]
async fn the_document_is_served_as_it_is_built() {
    let app = TestApp::spawn().await;
    let document = app.get("/openapi.json").await.expect(200);
    assert_eq!(document.body, app.get("/api-docs/openapi.json").await.expect(200).body);
    let Value::Object(paths) = document.json()["paths"].clone() else { panic!("{}", document.text()) };
    assert!(paths.contains_key("/health/ready") && paths.contains_key("/problems/{slug}"));
    assert!(document.json()["security"].is_array(), "{}", document.text());
}

/// Paths around every route: the route itself, other text in place of each segment, and segments left out or added.
fn paths_around(rows: &[Access]) -> Vec<String> {
    let mut paths: Vec<String> = ["", "/", "//", "x", "*"].map(str::to_owned).to_vec();
    let words: BTreeSet<&str> = rows.iter().flat_map(|row| row.path.split('/')).chain(["", "x", "a%2Fb"]).collect();
    for row in rows {
        let segments: Vec<&str> = row.path.split('/').skip(1).collect();
        for at in 0..segments.len() {
            for &word in &words {
                let (before, after) = (&segments[..at], &segments[at + 1..]);
                let path = |parts: &[&[&str]]| format!("/{}", parts.concat().join("/"));
                paths.extend([path(&[before, &[word], after]), path(&[before, &[word]])]);
            }
        }
        paths.extend([format!("{}/", row.path), format!("{}x", row.path)]);
    }
    paths
}

#[test]
fn the_route_table_finds_every_path_as_a_router_of_axum_would() {
    let rows = access_table();
    let api = rows.iter().fold(OpenApiRouter::new(), |api, row| api.on(row.method, row.path, async || NoContent));
    let table = RouteTable::new(&rows, api.into_operations(), &Metrics::new().http);
    let mut router = matchit::Router::new();
    for row in &rows {
        // A path with several methods is only inserted once.
        let _ = router.insert(row.path, row.path);
    }
    let methods = [Method::GET, Method::PUT, Method::POST, Method::PATCH, Method::DELETE];
    for path in paths_around(&rows) {
        let operations = table.at(&path);
        let found =
            operations.and_then(|found| methods.iter().find_map(|method| found.get(method))).map(|info| info.path);
        let served = without_legacy_prefix(&path).unwrap_or(&path);
        assert_eq!(found, router.at(served).ok().map(|found| *found.value), "{path}");
    }
    assert!(table.at("/api/health").is_some() && table.at("/api").is_none());
}
