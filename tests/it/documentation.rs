//! Operational pages: the OpenAPI document, Swagger UI, problem pages, metrics and health.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io::{Read, Write};

use axum::http::Method;

use gridtokenx_redis::app;
use regex::Regex;

use crate::support::{ServiceProcess, TestApp, eventually, in_repository};

#[tokio::test]
async fn the_served_openapi_document_is_the_one_in_the_repository() {
    let app = TestApp::spawn().await;
    let checked_in = include_str!("../../openapi/openapi.json");
    for path in ["/openapi.json", "/api-docs/openapi.json"] {
        let served = app.get(path).await.expect(200);
        assert_eq!(served.header("content-type"), Some("application/json"), "{path}");
        assert!(served.text() == checked_in, "{path} differs from openapi/openapi.json: run `make openapi`");
    }
}

#[tokio::test]
async fn a_client_with_the_current_openapi_document_does_not_receive_it_again() {
    let app = TestApp::spawn().await;
    let first = app.get("/openapi.json").await.expect(200);
    let etag = first.header("etag").expect("an entity tag");
    let again = app.send(Method::GET, "/openapi.json", &[("if-none-match", etag)], "").await.expect(304);
    assert_eq!((again.header("etag"), again.text().as_str()), (Some(etag), ""));
    let other = "\"00000000000000000000000000000000\"";
    app.send(Method::GET, "/openapi.json", &[("if-none-match", other)], "").await.expect(200);
    let encoded = [("accept-encoding", "gzip")];
    let encoded = app.send(Method::GET, "/openapi.json", &encoded, "").await.expect(200);
    assert_ne!(encoded.header("etag"), Some(etag), "another encoding is another representation");
}

#[tokio::test]
async fn swagger_ui_is_served_from_the_binary() {
    let app = TestApp::spawn().await;
    assert_eq!(app.get("/docs").await.expect(303).header("location"), Some("/swagger-ui/"));
    let page = app.get("/swagger-ui/").await.expect(200).text();
    assert!(
        page.contains("swagger-ui") && !page.contains("https://"),
        "the page loads only assets of the service: {page}"
    );
}

#[tokio::test]
async fn every_kind_of_problem_has_a_page() {
    let app = TestApp::spawn().await;
    let list = app.get("/problems").await.expect(200).text();
    for kind in app::problem_kinds() {
        assert!(list.contains(&format!("href=\"/problems/{}\"", kind.slug)), "{list}");
        let page = app.get(&format!("/problems/{}", kind.slug)).await.expect(200).text();
        assert!(page.contains(kind.slug) && page.contains(kind.advice), "{page}");
    }
    app.get("/problems/none").await.expect_problem(404, "not-found");
}

#[tokio::test]
async fn the_paths_that_dashboards_and_load_balancers_use_respond() {
    let app = TestApp::spawn().await;
    let metrics = app.get("/metrics").await.expect(200).text();
    assert!(metrics.contains("http_requests_total"), "{metrics}");
    let health = app.get("/health").await.expect(200).json();
    assert_eq!(health["service"], "gridtokenx-redis", "{health}");
    app.get("/api/health").await.expect(200);
}

#[tokio::test]
async fn the_metrics_page_explains_every_metric_with_a_query() {
    let directory = tempfile::tempdir().expect("a directory");
    // The metrics of traces exist only if traces are exported.
    let collector = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9");
    // Those of the spool exist only if there is one.
    let spool = directory.path().join("spool").to_string_lossy().into_owned();
    // Those of the audit log exist only with a key.
    let key = directory.path().join("key").to_string_lossy().into_owned();
    std::fs::write(&key, "5e".repeat(32)).expect("written");
    let variables = [collector, ("GTX__HOSTS__SPOOL_DIR", &*spool), ("GTX__AUDIT__KEY_FILE", &*key)];
    let mut service = ServiceProcess::start_private(&directory.path().join("redis"), &variables);
    service.ready();
    // The number of orders exists only for books, the lag only for groups that have claimed, and keys only after a run.
    for (method, path, body) in [
        ("PUT", "/orderbooks/A/settings", r#"{"mode":"store","kind":"orders"}"#),
        ("POST", "/streams/a/events", r#"{"events":[{"type":"A","data":{}}]}"#),
        ("PUT", "/streams/a/groups/b", "{}"),
        ("POST", "/streams/a/groups/b/claim", r#"{"consumer":"c"}"#),
        (
            "PUT",
            "/warming/tasks/a",
            r#"{"key":"market:a:{id}","values":{"market:a:b":1},"strategy":{"kind":"startup"},"ttl_ms":60000}"#,
        ),
        ("POST", "/warming/tasks/a/run", r#"{"wait_ms":20000}"#),
    ] {
        let length = body.len();
        let headers = "Host: test\r\nConnection: close\r\nContent-Type: application/json";
        let request = format!("{method} {path} HTTP/1.1\r\n{headers}\r\nContent-Length: {length}\r\n\r\n{body}");
        let mut connection = service.connect();
        connection.write_all(request.as_bytes()).expect("sent");
        let mut response = String::new();
        connection.read_to_string(&mut response).expect("a response");
        assert!(response.starts_with("HTTP/1.1 20"), "{response}");
    }
    // Problems are counted from the first one.
    service.get("/nowhere");
    let service = RefCell::new(service);
    let read = || service.borrow_mut().get("/metrics").1;
    eventually("the book is followed", async || read().contains("orderbook_orders{")).await;
    let text = read();
    let exposed: BTreeSet<&str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    let page = std::fs::read_to_string(in_repository("docs/metrics.md")).expect("the page");
    let mut explained = BTreeSet::new();
    for row in page.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = row.split(" | ").collect();
        let name = cells[0].trim_matches(['|', ' ', '`']);
        let query = cells[cells.len() - 1].split('`').nth(1).expect("a query");
        assert!(query.contains(name), "the query of {name} does not use it");
        #[cfg(feature = "promql")]
        promql_parser::parser::parse(query).unwrap_or_else(|error| panic!("{query}: {error}"));
        explained.insert(name);
    }
    assert_eq!(explained, exposed, "docs/metrics.md and /metrics differ");
}

#[test]
fn pages_name_only_problems_that_exist_with_their_status() {
    let kinds: BTreeSet<String> =
        app::problem_kinds().iter().map(|kind| format!("{} `{}`", kind.status.as_u16(), kind.slug)).collect();
    let named = Regex::new("[45][0-9]{2} `[a-z]+(-[a-z]+)+`").expect("a pattern");
    let mut pages = vec![in_repository("README.md")];
    for folder in ["docs", "docs/recipes", "docs/internals"] {
        let entries = std::fs::read_dir(in_repository(folder)).expect("the folder");
        pages.extend(entries.map(|entry| entry.expect("an entry").path()).filter(|path| path.is_file()));
    }
    let mut unknown = Vec::new();
    for path in pages {
        let page = std::fs::read_to_string(&path).expect("the page");
        unknown.extend(
            named
                .find_iter(&page)
                .filter(|problem| !kinds.contains(problem.as_str()))
                .map(|problem| format!("{}: {}", path.display(), problem.as_str())),
        );
    }
    assert!(unknown.is_empty(), "no problem has this status and slug:\n{}", unknown.join("\n"));
}
