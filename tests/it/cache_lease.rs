//! The stampede guard: of many clients that miss, one rebuilds the value.

use axum::http::Method;
use futures_util::future::join_all;
use serde_json::json;

use crate::support::{Reply, TestApp, eventually};

async fn put_with_lease(app: &TestApp, lease: &str, body: &'static str) -> Reply {
    app.send(Method::PUT, "/cache/a", &[("cache-lease", lease), ("content-type", "application/json")], body).await
}

async fn acquire_lease(app: &TestApp) -> String {
    let reply = app.get("/cache/a?lease_ms=60000").await;
    reply.expect_problem(404, "cache-miss");
    assert_eq!(reply.header("retry-after"), None);
    reply.header("cache-lease").expect("the lease").to_owned()
}

#[tokio::test]
async fn of_concurrent_clients_one_rebuilds_and_the_others_wait_for_its_value() {
    let app = TestApp::spawn().await;
    let other = TestApp::builder().beside(&app).spawn().await;
    let replies = join_all((0..32).map(|n| {
        let replica = if n % 2 == 0 { &app } else { &other };
        async move {
            let mut reply = replica.get("/cache/a?lease_ms=60000").await;
            // On a busy machine the rebuild takes longer than the wait; the client then asks again.
            while reply.header("retry-after").is_some() {
                reply = replica.get("/cache/a?lease_ms=60000").await;
            }
            if let Some(token) = reply.header("cache-lease") {
                put_with_lease(replica, token, "42").await.expect(201);
            }
            reply
        }
    }))
    .await;
    assert_eq!(replies.iter().filter(|reply| reply.header("cache-lease").is_some()).count(), 1);
    assert_eq!(replies.iter().filter(|reply| reply.is(200) && reply.text() == "42").count(), 31);
    let waited = "cache_operations_total{operation=\"lease\",result=\"hit\"} 0\n";
    let metrics = [app.get("/metrics").await.text(), other.get("/metrics").await.text()];
    assert!(metrics.iter().any(|text| !text.contains(waited)), "a waiting client receives the value");
}

#[tokio::test]
async fn a_client_that_waits_too_long_receives_retry_after() {
    let app = TestApp::spawn().await;
    acquire_lease(&app).await;
    let reply = app.get("/cache/a?lease_ms=60000").await;
    let problem = reply.expect_problem(404, "cache-miss");
    assert_eq!(reply.header("cache-lease"), None);
    assert_eq!(reply.header("retry-after"), Some("60"));
    assert!(problem["retry_after_ms"].as_u64().is_some_and(|ms| (1..=60_000).contains(&ms)), "{problem}");
}

#[tokio::test]
async fn a_write_with_a_lost_lease_is_rejected() {
    let app = TestApp::spawn().await;
    put_with_lease(&app, &"0".repeat(32), "1").await.expect_problem(409, "lease-lost");
    let used = acquire_lease(&app).await;
    put_with_lease(&app, &used, "1").await.expect(201);
    put_with_lease(&app, &used, "2").await.expect_problem(409, "lease-lost");
    app.delete("/cache/a").await.expect(204);
    let deleted = acquire_lease(&app).await;
    app.delete("/cache/a").await.expect(204);
    put_with_lease(&app, &deleted, "3").await.expect_problem(409, "lease-lost");
    let overtaken = acquire_lease(&app).await;
    app.put("/cache/a", json!("newer")).await.expect(201);
    put_with_lease(&app, &overtaken, "4").await.expect_problem(409, "lease-lost");
    assert_eq!(app.get("/cache/a").await.expect(200).json(), json!("newer"));
}

#[tokio::test]
async fn an_invalidated_tag_reaches_the_value_that_is_being_rebuilt() {
    let app = TestApp::spawn().await;
    let other = TestApp::builder().beside(&app).spawn().await;
    let rebuild = async |lease: &str, query: &str| {
        let headers = [("cache-lease", lease), ("content-type", "application/json")];
        app.send(Method::PUT, &format!("/cache/a{query}"), &headers, "\"rebuilt\"").await
    };
    // A tag that no value has so far, and one that has a value.
    for round in 0..2 {
        let lease = acquire_lease(&app).await;
        other.delete("/cache/tags/t").await.expect(204);
        let problem = rebuild(&lease, "?tags=t,u").await.expect_problem(409, "lease-lost");
        assert_eq!(problem["outcome"], "not_applied", "round {round}: {problem}");
        app.get("/cache/a").await.expect_problem(404, "cache-miss");
        app.delete("/cache/a").await.expect(204);
        // Other tags do not matter, neither do invalidations before the lease, nor tags that appear after it.
        let lease = acquire_lease(&app).await;
        other.delete("/cache/tags/other").await.expect(204);
        other.put(&format!("/cache/b?tags=new{round}"), json!(1)).await;
        rebuild(&lease, &format!("?tags=t,new{round}")).await.expect(201);
        assert_eq!(app.get("/cache/a").await.expect(200).json(), json!("rebuilt"));
        app.delete("/cache/tags/t").await.expect(204);
        app.get("/cache/a").await.expect_problem(404, "cache-miss");
    }
    // The mark outlives the tag, which expires with its values.
    let lease = acquire_lease(&app).await;
    app.delete("/cache/tags/t").await.expect(204);
    let _: i64 = app.redis().command(&["DEL", "cache:tag:{t}"]);
    rebuild(&lease, "?tags=t").await.expect_problem(409, "lease-lost");
}

#[tokio::test]
async fn taking_a_value_ends_its_rebuild() {
    let app = TestApp::spawn().await;
    let lease = acquire_lease(&app).await;
    app.delete("/cache/a?take=true").await.expect_problem(404, "cache-miss");
    put_with_lease(&app, &lease, "1").await.expect_problem(409, "lease-lost");
}

#[tokio::test]
async fn a_lease_expires() {
    let app = TestApp::spawn().await;
    app.get("/cache/a?lease_ms=1").await.expect_problem(404, "cache-miss");
    eventually("the next client receives the lease", async || {
        app.get("/cache/a?lease_ms=60000").await.header("cache-lease").is_some()
    })
    .await;
    app.get("/cache/a?lease_ms=60001").await.expect_violation(422, "invalid-query", "/lease_ms");
}

const STALE: &str = "[[cache.policies]]\nprefix = \"a\"\nttl = \"1h\"\nstale = \"1h\"";

#[tokio::test]
async fn during_a_rebuild_other_clients_receive_the_stale_value() {
    let app = TestApp::builder().config(STALE).spawn().await;
    app.put("/cache/a?ttl_ms=1", json!("old")).await.expect(201);
    eventually("the value expires", async || app.get("/cache/a").await.is(404)).await;
    let token = acquire_lease(&app).await;
    let stale = app.get("/cache/a?lease_ms=60000").await.expect(200);
    assert_eq!((stale.json(), stale.header("cache-stale")), (json!("old"), Some("true")));
    assert_eq!(stale.header("cache-ttl-ms"), None);
    app.get("/cache/a").await.expect_problem(404, "cache-miss");
    put_with_lease(&app, &token, "\"new\"").await.expect(201);
    let fresh = app.get("/cache/a?lease_ms=60000").await.expect(200);
    assert_eq!((fresh.json(), fresh.header("cache-stale")), (json!("new"), None));
}

#[tokio::test]
async fn the_stale_copy_outlives_its_value_by_the_policys_stale_time() {
    let app = TestApp::builder().config(STALE).spawn().await;
    let ttl = || -> i64 { app.redis().command(&["PTTL", "cache:stale:{cache:a}"]) };
    app.put("/cache/a?ttl_ms=600000", json!(1)).await.expect(201);
    assert!((4_190_000..=4_200_000).contains(&ttl()), "{}", ttl());
    app.post("/cache/a/touch", json!({"ttl_ms": 1_200_000})).await.expect(204);
    assert!((4_790_000..=4_800_000).contains(&ttl()), "{}", ttl());
    app.get("/cache/a?touch_ms=1800000").await.expect(200);
    assert!((5_390_000..=5_400_000).contains(&ttl()), "{}", ttl());
}

#[tokio::test]
async fn deleted_taken_and_invalidated_values_are_not_served_stale() {
    let app = TestApp::builder().config(STALE).spawn().await;
    for path in ["/cache/a", "/cache/a?take=true", "/cache/tags/t"] {
        app.put("/cache/a?tags=t", json!("old")).await.expect(201);
        app.delete(path).await;
        acquire_lease(&app).await;
        let second = app.get("/cache/a?lease_ms=60000").await;
        second.expect_problem(404, "cache-miss");
        app.delete("/cache/a").await.expect(204);
    }
    // The value expires first and is invalidated afterwards.
    app.put("/cache/a?tags=t&ttl_ms=1", json!("old")).await.expect(201);
    eventually("the value expires", async || app.get("/cache/a").await.is(404)).await;
    app.delete("/cache/tags/t").await.expect(204);
    acquire_lease(&app).await;
    app.get("/cache/a?lease_ms=60000").await.expect_problem(404, "cache-miss");
}
