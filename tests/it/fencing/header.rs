//! The header must be one whole number; otherwise, the request is rejected and nothing is stored.

use axum::http::Method;

use super::JSON;
use crate::support::TestApp;

#[tokio::test]
async fn an_invalid_token_is_rejected_and_stores_nothing() {
    let app = TestApp::spawn().await;
    for bad in ["", "0", "-1", "+1", "1.5", "1e3", "abc", "1, 2", "0x10", "9007199254740992", "18446744073709551616"] {
        let headers = [JSON, ("fencing-token", bad)];
        for (method, path, body) in [
            (Method::PUT, "/cache/a", "1"),
            (Method::DELETE, "/cache/a", ""),
            (Method::POST, "/cache/a/increment", "{}"),
            (Method::POST, "/cache/batch", "{\"set\":[{\"key\":\"a\",\"value\":1}]}"),
            (Method::DELETE, "/cache/tags/t", ""),
            (Method::PUT, "/timeseries/a", "{}"),
            (Method::POST, "/timeseries/samples", "{\"samples\":[{\"series\":\"market:price:a\",\"value\":1}]}"),
        ] {
            let refused = app.send(method, path, &headers, body).await;
            let problem = refused.expect_violation(422, "invalid-header", "/Fencing-Token");
            assert_eq!(problem["errors"][0]["in"], "header", "{problem}");
        }
    }
    assert_eq!(app.redis().keys(), Vec::<String>::new());
}

#[tokio::test]
async fn a_repeated_header_is_rejected() {
    let app = TestApp::spawn().await;
    for other in ["1", "2"] {
        let headers = [JSON, ("fencing-token", "1"), ("fencing-token", other)];
        let refused = app.send(Method::PUT, "/cache/a", &headers, "1").await;
        refused.expect_violation(422, "invalid-header", "/Fencing-Token");
    }
    app.get("/cache/a").await.expect_problem(404, "cache-miss");
}

#[tokio::test]
async fn the_largest_tokens_are_compared_exactly() {
    let app = TestApp::spawn().await;
    let largest = super::token_after(&app.redis(), 3_000_000);
    for (token, status) in [(largest - 1, 201), (largest, 204), (largest - 1, 409)] {
        super::put(&app, token, "/cache/a", "1").await.expect(status);
    }
    assert_eq!(super::highest(&app.redis(), "cache:fence:{cache:a}"), Some(largest));
}
