//! How long a fence lasts.

use axum::http::Method;
use serde_json::json;

use super::{SERIES, append, highest, put, remaining_ttl, send};
use crate::support::{TestApp, eventually};
use crate::timeseries::NO_CATCH_ALL;

const FENCE: &str = "cache:fence:{cache:a}";
const SERIES_FENCE: &str = "ts:fence:{energy:generation:m1}";
const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const YEAR: i64 = 365 * 24 * HOUR;
/// `fencing.outlive`, as shipped.
const OUTLIVE: i64 = 10 * MINUTE;
/// How much time may pass between a write and its check.
const SLACK: i64 = 20_000;

fn expect_about(found: i64, expected: i64) {
    assert!((expected - SLACK..=expected).contains(&found), "{found} is not about {expected}");
}

#[tokio::test]
async fn a_fence_outlives_its_value_by_the_configured_time() {
    let app = TestApp::spawn().await;
    put(&app, 20, "/cache/a?ttl_ms=60000", "1").await.expect(201);
    expect_about(remaining_ttl(&app.redis(), FENCE), MINUTE + OUTLIVE);
    send(&app, 20, Method::POST, "/cache/a/touch", "{\"ttl_ms\":3600000}").await.expect(204);
    expect_about(remaining_ttl(&app.redis(), FENCE), HOUR + OUTLIVE);
    put(&app, 20, "/cache/a?keep_ttl=true", "1").await.expect(204);
    expect_about(remaining_ttl(&app.redis(), FENCE), HOUR + OUTLIVE);
    put(&app, 20, "/cache/a?ttl_ms=1000", "1").await.expect(204);
    expect_about(remaining_ttl(&app.redis(), FENCE), HOUR + OUTLIVE);
}

#[tokio::test]
async fn a_fence_outlives_the_stale_copy() {
    let app = TestApp::spawn().await;
    put(&app, 20, "/cache/market:stats:24h", "1").await.expect(201);
    let redis = app.redis();
    expect_about(remaining_ttl(&redis, "cache:stale:{market:stats:24h}"), MINUTE);
    expect_about(remaining_ttl(&redis, "cache:fence:{market:stats:24h}"), MINUTE + OUTLIVE);
}

#[tokio::test]
async fn a_former_holder_cannot_write_a_value_that_is_gone() {
    let app = TestApp::spawn().await;
    put(&app, 20, "/cache/a?ttl_ms=1", "1").await.expect(201);
    eventually("the value expires", async || app.get("/cache/a").await.is(404)).await;
    put(&app, 19, "/cache/a", "2").await.expect_problem(409, "stale-fence");
    app.get("/cache/a").await.expect_problem(404, "cache-miss");
    expect_about(remaining_ttl(&app.redis(), FENCE), OUTLIVE);

    put(&app, 21, "/cache/b", "1").await.expect(201);
    send(&app, 21, Method::DELETE, "/cache/b", "").await.expect(204);
    put(&app, 20, "/cache/b", "2").await.expect_problem(409, "stale-fence");
    send(&app, 20, Method::POST, "/cache/b/increment", "{\"by\":1}").await.expect_problem(409, "stale-fence");
    app.get("/cache/b").await.expect_problem(404, "cache-miss");

    append(&app, 20, SERIES, 1).await.expect(200);
    send(&app, 20, Method::DELETE, SERIES, "").await.expect(204);
    append(&app, 19, SERIES, 2).await.expect_problem(409, "stale-fence");
    app.get(SERIES).await.expect_problem(404, "series-not-found");

    send(&app, 20, Method::DELETE, "/cache/tags/t", "").await.expect(204);
    // The time of the invalidation is kept for two minutes, and the fence outlives it.
    expect_about(remaining_ttl(&app.redis(), "cache:tag-fence:{t}"), 2 * MINUTE + OUTLIVE);
}

#[tokio::test]
async fn a_fence_outlives_its_series() {
    let app = TestApp::spawn().await;
    append(&app, 20, SERIES, 1).await.expect(200);
    let redis = app.redis();
    // A series is kept for its retention of two years and a sixteenth more.
    expect_about(remaining_ttl(&redis, SERIES_FENCE), 2 * YEAR * 17 / 16 + OUTLIVE);
    assert!(remaining_ttl(&redis, SERIES_FENCE) >= remaining_ttl(&redis, "energy:generation:m1") + OUTLIVE - SLACK);
}

#[tokio::test]
async fn a_fence_of_data_without_a_ttl_lasts_a_year() {
    let app = TestApp::builder().config("[[cache.policies]]\nprefix = \"kept\"").spawn().await;
    put(&app, 20, "/cache/kept", "1").await.expect(201);
    expect_about(remaining_ttl(&app.redis(), "cache:fence:{cache:kept}"), YEAR);
    let kept = json!({ "retention_ms": 0 }).to_string();
    send(&app, 20, Method::PUT, "/timeseries/kept", kept).await.expect(201);
    expect_about(remaining_ttl(&app.redis(), "ts:fence:{ts:kept}"), YEAR);
}

#[tokio::test]
async fn an_expired_fence_accepts_older_tokens() {
    let brief = "[fencing]\noutlive = \"150ms\"\n[locks]\nmax_ttl = \"150ms\"\nnamed = []";
    let app = TestApp::builder().config(brief).spawn().await;
    put(&app, 20, "/cache/a?ttl_ms=1", "1").await.expect(201);
    eventually("the fence ends", async || highest(&app.redis(), FENCE).is_none()).await;
    put(&app, 19, "/cache/a", "2").await.expect(201);
}

#[tokio::test]
async fn every_fence_has_a_ttl() {
    let app = TestApp::builder().config(NO_CATCH_ALL).spawn().await;
    put(&app, 20, "/cache/a", "1").await.expect(201);
    put(&app, 20, "/cache/b", "1").await.expect(201);
    send(&app, 20, Method::DELETE, "/cache/never", "").await.expect(204);
    send(&app, 20, Method::DELETE, "/cache/tags/t", "").await.expect(204);
    append(&app, 20, SERIES, 1).await.expect(200);
    append(&app, 20, "/timeseries/unknown", 1).await.expect_problem(404, "series-not-found");
    let redis = app.redis();
    let fences: Vec<String> = redis.command(&["KEYS", "*fence*"]);
    assert_eq!(fences.len(), 6, "{fences:?}");
    for fence in fences {
        assert!(remaining_ttl(&redis, &fence) > 0, "{fence}");
    }
}
