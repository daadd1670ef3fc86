//! Invalidation by tag.

use axum::http::Method;
use serde_json::json;

use crate::support::TestApp;

#[tokio::test]
async fn one_call_invalidates_all_values_with_a_tag_and_no_others() {
    let app = TestApp::spawn().await;
    let other = TestApp::builder().beside(&app).spawn().await;
    for n in 0..20 {
        app.put(&format!("/cache/a{n}?tags=user:7,even{}", n % 2), json!(n)).await.expect(201);
    }
    app.put("/cache/b?tags=user:8", json!("b")).await.expect(201);
    assert_eq!(app.get("/cache/a3").await.expect(200).json(), json!(3));
    other.delete("/cache/tags/user:7").await.expect(204);
    for n in 0..20 {
        app.get(&format!("/cache/a{n}")).await.expect_problem(404, "cache-miss");
    }
    assert_eq!(app.get("/cache/b").await.expect(200).json(), json!("b"));
    let left: i64 = app.redis().command(&["EXISTS", "cache:a3"]);
    assert_eq!(left, 0, "the read deletes an invalid value");
    app.put("/cache/a3?tags=user:7", json!("new")).await.expect(201);
    assert_eq!(app.get("/cache/a3").await.expect(200).json(), json!("new"));
}

#[tokio::test]
async fn an_invalidated_value_is_absent_for_every_operation() {
    let app = TestApp::spawn().await;
    let write = async || {
        app.put("/cache/a?tags=t", json!(1)).await;
        app.delete("/cache/tags/t").await.expect(204);
    };
    write().await;
    app.send(Method::HEAD, "/cache/a", &[], "").await.expect(404);
    write().await;
    app.delete("/cache/a?take=true").await.expect_problem(404, "cache-miss");
    write().await;
    app.post("/cache/a/touch", json!({"ttl_ms": 1_000})).await.expect_problem(404, "cache-miss");
    write().await;
    app.get("/cache/a?touch_ms=1000").await.expect_problem(404, "cache-miss");
    write().await;
    app.send(Method::DELETE, "/cache/a", &[("if-match", "*")], "").await.expect_problem(412, "precondition-failed");
    let read = app.post("/cache/batch", json!({"get": ["a"]})).await.expect(200).json();
    assert_eq!(read["get"][0]["status"], 404, "{read}");
    write().await;
    app.send(Method::PUT, "/cache/a", &[("if-match", "*")], "2").await.expect_problem(412, "precondition-failed");
    app.send(Method::PUT, "/cache/a", &[("if-none-match", "*")], "2").await.expect(201);
    assert_eq!(app.get("/cache/a").await.expect(200).text(), "2");
}

#[tokio::test]
async fn a_lost_tag_causes_misses() {
    let app = TestApp::spawn().await;
    app.put("/cache/a?tags=t", json!(1)).await.expect(201);
    let _: i64 = app.redis().command(&["DEL", "cache:tag:{t}"]);
    app.put("/cache/b?tags=t", json!(2)).await.expect(201);
    app.get("/cache/a").await.expect_problem(404, "cache-miss");
    app.get("/cache/b").await.expect(200);
}

#[tokio::test]
async fn a_tag_expires_after_its_values() {
    let app = TestApp::spawn().await;
    let ttl = || -> i64 { app.redis().command(&["PTTL", "cache:tag:{t}"]) };
    app.put("/cache/a?tags=t&ttl_ms=600000", json!(1)).await.expect(201);
    assert!((600_001..=660_000).contains(&ttl()), "{}", ttl());
    app.put("/cache/b?tags=t&ttl_ms=1000", json!(1)).await.expect(201);
    assert!(ttl() > 600_000, "a value with a shorter TTL does not shorten it: {}", ttl());
    app.delete("/cache/tags/t").await.expect(204);
    assert!(ttl() > 600_000, "an invalidation keeps the TTL: {}", ttl());
    app.put("/cache/a?tags=t&ttl_ms=1000", json!(1)).await;
    app.post("/cache/a/touch", json!({"ttl_ms": 7_200_000})).await.expect(204);
    assert!(ttl() > 7_200_000, "touching a value extends its tags: {}", ttl());
    app.get("/cache/a?touch_ms=9000000").await.expect(200);
    assert!(ttl() > 9_000_000, "a read with touch_ms extends its tags: {}", ttl());
    app.put("/cache/a?tags=u&keep_ttl=true", json!(1)).await.expect(204);
    let kept: i64 = app.redis().command(&["PTTL", "cache:tag:{u}"]);
    assert!(kept > 8_000_000, "a kept TTL is taken into account: {kept}");
}

#[tokio::test]
async fn invalidating_an_unknown_tag_stores_only_the_time() {
    let app = TestApp::spawn().await;
    app.delete("/cache/tags/unknown").await.expect(204);
    assert_eq!(app.redis().keys(), ["cache:tag-raised:{unknown}"]);
    let left: i64 = app.redis().command(&["PTTL", "cache:tag-raised:{unknown}"]);
    assert!((60_001..=120_000).contains(&left), "longer than any lease: {left}");
    for tag in ["a%0A", "a,b", "a%2Cb", &"t".repeat(129)] {
        app.delete(&format!("/cache/tags/{tag}")).await.expect_violation(422, "invalid-path", "/tag");
    }
}

#[tokio::test]
async fn generations_only_increase() {
    let app = TestApp::spawn().await;
    let generation = || -> u64 { app.redis().command(&["GET", "cache:tag:{t}"]) };
    app.put("/cache/a?tags=t", json!(1)).await.expect(201);
    let mut before = generation();
    for _ in 0..5 {
        app.delete("/cache/tags/t").await.expect(204);
        assert!(generation() > before);
        before = generation();
    }
    let future = before + 3_600_000_000;
    let _: () = app.redis().command(&["SET", "cache:tag:{t}", &future.to_string(), "KEEPTTL"]);
    app.delete("/cache/tags/t").await.expect(204);
    assert_eq!(generation(), future + 1, "a clock that was set back does not lower the generation");
}

#[tokio::test]
async fn tags_may_contain_any_printable_text() {
    let app = TestApp::spawn().await;
    app.put("/cache/a?tags=%C3%A9%20%7Bx%7D%2F,user:7", json!(1)).await.expect(201);
    app.get("/cache/a").await.expect(200);
    app.delete("/cache/tags/%C3%A9%20%7Bx%7D%2F").await.expect(204);
    app.get("/cache/a").await.expect_problem(404, "cache-miss");
}
