//! Operational pages: the OpenAPI document, Swagger UI, problem pages, metrics and health.

use gridtokenx_redis::app;

use crate::support::TestApp;

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
