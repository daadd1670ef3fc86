//! Writes under real locks, with several replicas and with a Redis that loses its data or is unavailable.

use std::time::Duration;

use axum::http::Method;
use serde_json::{Value, json};

use super::{SERIES, append, highest, put, remaining_ttl, send, token_after};
use crate::support::{TestApp, eventually};

async fn acquire(app: &TestApp, ttl_ms: u64, wait_ms: u64) -> u64 {
    let body = json!({ "ttl_ms": ttl_ms, "wait_ms": wait_ms });
    let grant: Value = app.post("/locks/settlement:42", body).await.expect(201).json();
    grant["fencing_token"].as_u64().expect("a token")
}

#[tokio::test]
async fn a_write_after_the_end_of_the_lease_is_rejected() {
    let app = TestApp::builder().system_clock().spawn().await;
    let first = acquire(&app, 100, 0).await;
    put(&app, first, "/cache/settlement:42", "\"first\"").await.expect(201);
    append(&app, first, SERIES, 1).await.expect(200);
    // The first holder is paused; the second one waits in the queue until the lease has ended.
    let second = acquire(&app, 60_000, 5_000).await;
    assert!(second > first);
    put(&app, second, "/cache/settlement:42", "\"second\"").await.expect(204);
    append(&app, second, SERIES, 2).await.expect(200);
    put(&app, first, "/cache/settlement:42", "\"late\"").await.expect_problem(409, "stale-fence");
    append(&app, first, SERIES, 3).await.expect_problem(409, "stale-fence");
    assert_eq!(app.get("/cache/settlement:42").await.expect(200).json(), "second");
    assert_eq!(app.get("/timeseries/energy:generation:m1/latest").await.expect(200).json()["timestamp"], 2);
    // Several writes under one grant.
    put(&app, second, "/cache/settlement:42", "\"again\"").await.expect(204);
}

#[tokio::test]
async fn tokens_rise_after_redis_loses_all_data() {
    let app = TestApp::builder().system_clock().spawn().await;
    let first = acquire(&app, 60_000, 0).await;
    put(&app, first, "/cache/a", "1").await.expect(201);
    let _: () = app.redis().command(&["FLUSHALL"]);
    let second = acquire(&app, 60_000, 0).await;
    put(&app, second, "/cache/a", "2").await.expect(201);
    put(&app, first, "/cache/a", "3").await.expect_problem(409, "stale-fence");
    assert_eq!(app.get("/cache/a").await.expect(200).text(), "2");
}

#[tokio::test]
async fn writes_through_two_replicas_are_accepted_in_the_order_of_their_tokens() {
    const WRITES: u64 = 300;
    let one = TestApp::spawn().await;
    let other = TestApp::builder().beside(&one).spawn().await;
    let writes = (1..=WRITES).map(|number| {
        // Adjacent requests are out of order, and every other one goes to the other replica.
        let token = 1_000 + (number ^ 5);
        let app = if number % 2 == 0 { &one } else { &other };
        async move {
            // The counter's value is the position of this increment among all of them.
            let reply = send(app, token, Method::POST, "/cache/order/increment", "{\"by\":1}").await;
            if reply.is(200) {
                return Some((reply.json()["value"].as_u64().expect("a count"), token));
            }
            reply.expect_problem(409, "stale-fence");
            None
        }
    });
    let mut accepted: Vec<(u64, u64)> = futures_util::future::join_all(writes).await.into_iter().flatten().collect();
    accepted.sort_unstable();
    let tokens: Vec<u64> = accepted.iter().map(|(_, token)| *token).collect();
    assert!(tokens.is_sorted(), "{tokens:?}");
    assert!((1..WRITES).contains(&u64::try_from(tokens.len()).expect("few")), "some were late: {tokens:?}");
    let counted = one.get("/cache/order").await.expect(200).text();
    assert_eq!(counted, tokens.len().to_string(), "a rejected write counted");
    assert_eq!(highest(&one.redis(), "cache:fence:{cache:order}"), tokens.last().copied());
}

#[tokio::test]
async fn a_guarded_write_fails_like_any_other_while_redis_is_unavailable() {
    let app = TestApp::builder().behind_proxy().spawn().await;
    put(&app, 20, "/cache/a", "1").await.expect(201);
    app.proxy().stall();
    assert_eq!(put(&app, 21, "/cache/a", "2").await.expect_problem(504, "redis-timeout")["outcome"], "unknown");
    app.proxy().cut();
    put(&app, 21, "/cache/a", "2").await.expect_problem(503, "redis-unavailable");
    app.proxy().heal();
    eventually("writes work again", async || put(&app, 21, "/cache/a", "3").await.is(204)).await;
    put(&app, 20, "/cache/a", "4").await.expect_problem(409, "stale-fence");
}

#[tokio::test]
async fn only_the_write_itself_has_an_unknown_outcome() {
    let app = TestApp::builder().behind_proxy().spawn().await;
    put(&app, 20, "/cache/a", "1").await.expect(201);
    app.proxy().stall();
    let headers = [super::JSON, ("fencing-token", "21"), ("if-match", "*")];
    let timed_out = app.send(Method::PUT, "/cache/a", &headers, "2").await;
    assert_eq!(timed_out.expect_problem(504, "redis-timeout")["outcome"], "not_applied");
    app.proxy().heal();
    let deadline = Duration::from_secs(2);
    let back =
        tokio::time::timeout(deadline, eventually("reads work again", async || app.get("/cache/a").await.is(200)));
    back.await.expect("within two seconds");
    assert_eq!(app.get("/cache/a").await.expect(200).text(), "1");
}

const HOUR: i64 = 3_600_000;

/// Sets the highest token of the lock, or of another fence, to what a grant at this many milliseconds from now has.
fn raise(app: &TestApp, key: &str, ms: i64) -> u64 {
    let token = token_after(&app.redis(), ms);
    app.redis().command::<()>(&["SET", key, &token.to_string(), "PX", "7200000"]);
    token
}

#[tokio::test]
async fn locks_grant_valid_tokens_after_the_clock_was_set_back() {
    const LOCK: &str = "lock:fence:{lock:settlement:42}";
    let app = TestApp::builder().system_clock().spawn().await;
    // What the clock left that was two hours ahead: grants, a value written under one, and another one from when the clock
    // was less far ahead.
    let ahead = raise(&app, LOCK, 2 * HOUR);
    raise(&app, "cache:fence:{cache:written}", 2 * HOUR);
    raise(&app, "cache:fence:{cache:earlier}", HOUR * 5 / 6);
    let mut last = 0;
    for path in ["/cache/written", "/cache/earlier", "/cache/untouched"] {
        let token = acquire(&app, 60_000, 0).await;
        assert!(last < token && token < ahead, "{token} after {last}");
        put(&app, token, path, "1").await.expect(201);
        put(&app, last.max(1), path, "2").await.expect_problem(409, "stale-fence");
        put(&app, ahead, path, "2").await.expect_violation(422, "invalid-header", "/Fencing-Token");
        last = token;
        app.delete("/locks/settlement:42?force=true").await.expect(204);
    }
    assert!(remaining_ttl(&app.redis(), "lock:ahead:{lock:settlement:42}") > 2 * HOUR);

    // Once targets accept the former tokens again, grants exceed them.
    let ahead = raise(&app, "lock:ahead:{lock:settlement:42}", HOUR - 1_000);
    let token = acquire(&app, 60_000, 0).await;
    assert_eq!(token, ahead + 1);
    put(&app, token, "/cache/untouched", "3").await.expect(204);
    put(&app, ahead, "/cache/untouched", "4").await.expect_problem(409, "stale-fence");
}

#[tokio::test]
async fn tokens_that_are_valid_soon_are_not_forgotten() {
    let app = TestApp::builder().system_clock().spawn().await;
    let ahead = raise(&app, "lock:fence:{lock:settlement:42}", HOUR + 60_000);
    assert_eq!(acquire(&app, 60_000, 0).await, ahead + 1);
}
