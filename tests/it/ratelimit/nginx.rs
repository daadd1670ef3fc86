//! The nginx configuration of `docs/proxies.md` in a real nginx, in front of the service and of an application.

use std::net::SocketAddr;
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

use crate::support::{ADMIN_KEY, Nginx, Reply, TestApp, eventually, free_port, in_repository};

/// Starts nginx, which calls `service` before it forwards a request to an application. The application answers 200, but
/// `/prices/broken` with 500.
async fn nginx_before(service: SocketAddr) -> Nginx {
    let application = SocketAddr::from(([127, 0, 0, 1], free_port()));
    Nginx::start(|address| {
        let documented = documented()
            .replace("listen 8000", &format!("listen {address}"))
            .replace("127.0.0.1:4040", &service.to_string())
            .replace("127.0.0.1:9000", &application.to_string())
            .replace("ak_0123456789abcdef0123456789abcdef", ADMIN_KEY);
        format!(
            "{documented}\nserver {{\nlisten {application};\nlocation / {{ return 200 passed; }}\n\
             location /prices/broken {{ return 500 broken; }}\n}}"
        )
    })
    .await
}

async fn get(nginx: &Nginx, path: &str, headers: &[(&str, &str)]) -> Reply {
    let url = format!("http://{}{path}", nginx.address);
    let request = headers.iter().fold(Request::get(&url), |request, (name, value)| request.header(*name, *value));
    let client = Client::builder(TokioExecutor::new()).build_http();
    let response = client.request(request.body(Body::empty()).expect("a request")).await.expect("nginx answers");
    Reply::read(format!("GET {path}"), response.map(Body::new)).await
}

/// The configuration in the documentation.
fn documented() -> String {
    let page = std::fs::read_to_string(in_repository("docs/proxies.md")).expect("the page");
    let (_, rest) = page.split_once("```nginx\n").expect("a configuration");
    rest.split_once("```").expect("its end").0.to_owned()
}

#[tokio::test]
async fn nginx_forwards_requests_that_the_limit_allows() {
    let mut app = TestApp::builder().admin_key().spawn().await;
    let nginx = nginx_before(app.serve()).await;
    for left in (0..5).rev() {
        let passed = get(&nginx, "/login", &[]).await.expect(200);
        assert_eq!(passed.text(), "passed");
        assert_eq!(passed.header("ratelimit"), Some(format!(r#""authentication";r={left};t=300"#).as_str()));
        assert_eq!(passed.header("retry-after"), None);
    }
    app.clock().advance(Duration::from_secs(100));
    // A client cannot select another key or limiter.
    for headers in [vec![], vec![("x-ratelimit-key", "me"), ("x-ratelimit-limiter", "api"), ("x-ratelimit-cost", "0")]]
    {
        let refused = get(&nginx, "/login?key=me&limiter=api", &headers).await.expect(429);
        assert_eq!(refused.header("retry-after"), Some("200"));
        assert_eq!(refused.header("ratelimit"), Some(r#""authentication";r=0;t=200"#));
        assert_eq!(refused.header("ratelimit-policy"), Some(r#""authentication";q=5;w=300"#));
    }
    app.clock().advance(Duration::from_secs(200));
    get(&nginx, "/login", &[]).await.expect(200);
    // Another location has another limiter and key. The application's own errors are passed on.
    assert_eq!(get(&nginx, "/prices", &[]).await.expect(200).header("ratelimit"), Some(r#""api";r=99;t=60"#));
    assert_eq!(get(&nginx, "/prices/broken", &[]).await.expect(500).text(), "broken");
}

#[tokio::test]
async fn nginx_without_redis_forwards_requests_that_open_limits_allow() {
    let mut app = TestApp::builder().admin_key().behind_proxy().spawn().await;
    let nginx = nginx_before(app.serve()).await;
    app.proxy().cut();
    eventually("the outage is detected", async || !app.get("/health/ready").await.is(200)).await;
    let refused = get(&nginx, "/login", &[]).await.expect(503);
    assert!(refused.header("retry-after").is_some());
    for _ in 0..100 {
        get(&nginx, "/prices", &[]).await.expect(200);
    }
    assert_eq!(get(&nginx, "/prices", &[]).await.expect(429).header("retry-after"), Some("60"));
    app.proxy().heal();
    eventually("logins succeed again", async || get(&nginx, "/login", &[]).await.is(200)).await;
}

#[tokio::test]
async fn nginx_without_the_service_fails_or_forwards_as_configured() {
    let mut app = TestApp::builder().admin_key().spawn().await;
    let nginx = nginx_before(app.serve()).await;
    get(&nginx, "/login", &[]).await.expect(200);
    drop(app);
    let refused = get(&nginx, "/login", &[]).await.expect(503);
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(get(&nginx, "/prices", &[]).await.expect(200).header("ratelimit"), None);
}
