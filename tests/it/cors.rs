//! Cross-origin requests from browsers.

use axum::http::Method;

use crate::support::{ADMIN_KEY, Reply, TestApp};

const ORIGIN: &str = "https://app.example.com";
const ALLOWED: &str = "[http]\ncors_origins = [\"https://app.example.com\", \"http://localhost:3000\"]";

async fn preflight(app: &TestApp, origin: &str) -> Reply {
    let headers = [
        ("origin", origin),
        ("access-control-request-method", "PUT"),
        ("access-control-request-headers", "authorization,content-type,if-match"),
    ];
    app.send(Method::OPTIONS, "/cache/a", &headers, "").await
}

fn allowed_origin(reply: &Reply) -> Option<&str> {
    reply.header("access-control-allow-origin")
}

#[tokio::test]
async fn no_origin_is_allowed_by_default() {
    let app = TestApp::spawn().await;
    assert_eq!(
        allowed_origin(&app.send(Method::GET, "/health/live", &[("origin", ORIGIN)], "").await.expect(200)),
        None
    );
    preflight(&app, ORIGIN).await.expect_problem(405, "method-not-allowed");
}

#[tokio::test]
async fn a_configured_origin_is_allowed_and_other_origins_are_not() {
    let app = TestApp::builder().config(ALLOWED).admin_key().spawn().await;
    for origin in [ORIGIN, "http://localhost:3000"] {
        let response = preflight(&app, origin).await.expect(200);
        assert_eq!(allowed_origin(&response), Some(origin));
        assert!(response.header("access-control-allow-methods").is_some_and(|methods| methods.contains("PUT")));
        assert_eq!(response.header("access-control-allow-headers"), Some("authorization,content-type,if-match"));
        assert_eq!(response.header("access-control-max-age"), Some("3600"));
        assert_eq!(response.header("access-control-allow-credentials"), None);
    }
    for other in ["https://evil.example", "https://app.example.com.evil.example", "null"] {
        assert_eq!(allowed_origin(&preflight(&app, other).await), None, "{other}");
    }
    let headers = [("origin", ORIGIN), ("x-api-key", ADMIN_KEY), ("content-type", "text/plain")];
    let written = app.send(Method::PUT, "/cache/a", &headers, "x").await.expect(201);
    assert_eq!(allowed_origin(&written), Some(ORIGIN));
    assert_eq!(written.header("access-control-expose-headers"), Some("*"));
    // A page can read the reason for the rejection.
    let rejected = app.send(Method::GET, "/cache/a", &headers[..1], "").await;
    rejected.expect_problem(401, "unauthenticated");
    assert_eq!(allowed_origin(&rejected), Some(ORIGIN));
    // Caches must not serve a response without the header to a page that needs the header.
    let same_site = app.send(Method::GET, "/cache/a", &headers[1..2], "").await.expect(200);
    assert!(same_site.header("vary").is_some_and(|vary| vary.contains("origin")));
}

#[tokio::test]
async fn every_origin_may_be_allowed() {
    let app = TestApp::builder().config("[http]\ncors_origins = [\"*\"]").spawn().await;
    assert_eq!(allowed_origin(&preflight(&app, "https://anywhere.example").await.expect(200)), Some("*"));
}
