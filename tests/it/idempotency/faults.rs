//! Callers that leave, bodies that break off, and Redis away.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::Method;

use super::replica::{Deeds, Replica, replica, replica_with};
use crate::support::{Reply, TestApp, eventually};

#[tokio::test]
async fn an_abandoned_attempt_holds_its_key_for_the_lease() {
    let (replica, deeds) = replica_with("[idempotency]\npending_lease = \"1s\"").await;
    {
        let mut abandoned = std::pin::pin!(replica.post("/slow", "k", "x"));
        tokio::select! {
            reply = &mut abandoned => panic!("{reply:?}"),
            () = eventually("the attempt runs", async || deeds.count() == 1) => {}
        }
    }
    replica.post("/slow", "k", "x").await.expect_problem(409, "idempotency-in-progress");
    deeds.go_on.notify_one();
    eventually("the key is free again", async || replica.post("/slow", "k", "x").await.is(200)).await;
    assert_eq!(deeds.count(), 2);
}

#[tokio::test]
async fn a_long_attempt_keeps_its_key() {
    let config = "[idempotency]\npending_lease = \"1s\"\n[http]\nrequest_deadline = \"20s\"";
    let (replica, deeds) = replica_with(config).await;
    let started = std::time::Instant::now();
    let watch = async {
        eventually("two leases have passed", async || {
            if deeds.count() == 1 {
                replica.post("/slow", "k", "x").await.expect_problem(409, "idempotency-in-progress");
            }
            started.elapsed() > Duration::from_millis(2_200)
        })
        .await;
        deeds.go_on.notify_one();
    };
    let (reply, ()) = tokio::join!(replica.post("/slow", "k", "x"), watch);
    reply.expect(200);
    assert_eq!(deeds.count(), 1);
}

#[tokio::test]
async fn an_attempt_that_lost_its_record_does_not_touch_the_next_ones() {
    let (replica, deeds) = replica().await;
    let take_over = async {
        eventually("the attempt runs", async || deeds.count() == 1).await;
        let record = replica.records().remove(0);
        let _: i64 = replica.app.redis().command(&["HSET", &record, "owner", "somebody else"]);
        deeds.go_on.notify_one();
        record
    };
    let (reply, record) = tokio::join!(replica.post("/slow", "k", "x"), take_over);
    reply.expect(200);
    let owner: String = replica.app.redis().command(&["HGET", &record, "owner"]);
    assert_eq!(owner, "somebody else");
    replica.post("/slow", "k", "x").await.expect_problem(409, "idempotency-in-progress");
}

#[tokio::test]
async fn a_body_that_is_too_large_or_breaks_off_leaves_the_key_free() {
    let (replica, deeds) = replica_with("[http]\nbody_limit = \"1KiB\"\nbody_idle_timeout = \"100ms\"").await;
    let broken = || Body::from_stream(futures_util::stream::iter([Ok("x"), Err(std::io::Error::other("cut"))]));
    replica.post("/count", "k", vec![0; 1_025]).await.expect_problem(413, "body-too-large");
    replica.post("/count", "k", broken()).await.expect_problem(400, "body-incomplete");
    replica.post("/count", "k", "x").await.expect(201);
    // The same, where a repeat is compared with what is kept.
    replica.post("/count", "k", vec![0; 1_025]).await.expect_problem(413, "body-too-large");
    replica.post("/count", "k", broken()).await.expect_problem(400, "body-incomplete");
    let stuck = Body::from_stream(futures_util::stream::pending::<Result<Bytes, std::io::Error>>());
    replica.post("/count", "k", stuck).await.expect_problem(400, "body-incomplete");
    assert_eq!(deeds.count(), 1);
}

#[tokio::test]
async fn without_redis_a_key_is_refused_and_its_absence_is_not() {
    let deeds = Deeds::default();
    let replica = Replica::of(TestApp::builder().behind_proxy().spawn().await, &deeds);
    replica.app.proxy().cut();
    eventually("Redis is away", async || replica.app.get("/health/ready").await.is(503)).await;
    let problem = replica.post("/count", "k", "x").await.expect_problem(503, "redis-unavailable");
    assert_eq!(problem["outcome"], "not_applied", "{problem}");
    assert_eq!(deeds.count(), 0);
    replica.send(Method::POST, "/count", &[], "x").await.expect(201);
    replica.app.proxy().heal();
    eventually("keys work again", async || replica.post("/count", "k", "x").await.is(201)).await;
    assert_eq!(deeds.count(), 2);
}

#[tokio::test]
async fn a_stalled_redis_is_a_refusal_in_time() {
    let deeds = Deeds::default();
    let replica = Replica::of(TestApp::builder().behind_proxy().spawn().await, &deeds);
    replica.app.proxy().stall();
    let problem = replica.post("/count", "k", "x").await.expect_problem(504, "redis-timeout");
    assert_eq!(problem["outcome"], "not_applied", "{problem}");
    assert_eq!(deeds.count(), 0);
}

#[tokio::test]
async fn an_answer_that_could_not_be_kept_is_still_given_and_the_operation_keeps_its_name() {
    let deeds = Deeds::default();
    let config = "[idempotency]\npending_lease = \"1s\"";
    let replica = Replica::of(TestApp::builder().config(config).behind_proxy().spawn().await, &deeds);
    let cut = async {
        eventually("the attempt runs", async || deeds.count() == 1).await;
        replica.app.proxy().cut();
        deeds.go_on.notify_one();
    };
    let (reply, ()) = tokio::join!(replica.post("/slow", "k", "x"), cut);
    assert_eq!(reply.expect(200).text(), "run 1");
    replica.app.proxy().heal();
    deeds.go_on.notify_one();
    eventually("a repeat runs", async || replica.post("/slow", "k", "x").await.is(200)).await;
    assert_eq!(deeds.count(), 2);

    // The name does not depend on the record: a route that stores it with its effect knows the repeat.
    let first = replica.post("/count", "k", "x").await.expect(201);
    let _: String = replica.app.redis().command(&["FLUSHALL"]);
    let second = replica.post("/count", "k", "x").await.expect(201);
    let name = |reply: &Reply| reply.text().split('`').nth(1).map(str::to_owned).expect("an operation");
    assert_eq!(name(&first), name(&second));
    assert!(name(&first).len() == 32 && name(&first).bytes().all(|digit| digit.is_ascii_hexdigit()));
}
