//! Lost clients, incomplete bodies, and Redis failures.

use axum::body::{Body, Bytes};
use axum::http::Method;

use super::replica::{Replica, RunLog, replica, replica_with};
use crate::support::{Reply, TestApp, eventually};

/// Ends the claim of the only record now instead of after its ten seconds.
fn expire_claim(replica: &Replica) {
    let record = replica.records().remove(0);
    let _: i64 = replica.app.redis().command(&["PEXPIRE", &record, "1"]);
}

#[tokio::test]
async fn an_abandoned_attempt_keeps_its_key_until_the_claim_expires() {
    let (replica, runs) = replica().await;
    {
        let mut abandoned = std::pin::pin!(replica.post("/slow", "k", "x"));
        tokio::select! {
            reply = &mut abandoned => panic!("{reply:?}"),
            () = eventually("the attempt runs", async || runs.count() == 1) => {}
        }
    }
    replica.post("/slow", "k", "x").await.expect_problem(409, "idempotency-in-progress");
    let record = replica.records().remove(0);
    let left: i64 = replica.app.redis().command(&["PTTL", &record]);
    assert!((1..=10_000).contains(&left), "{left}");
    expire_claim(&replica);
    runs.resume.notify_one();
    eventually("the key is free again", async || replica.post("/slow", "k", "x").await.is(200)).await;
    assert_eq!(runs.count(), 2);
}

#[tokio::test]
async fn a_long_attempt_renews_its_claim() {
    let (replica, runs) = replica_with("[http]\nrequest_deadline = \"20s\"").await;
    let watch = async {
        eventually("the attempt runs", async || runs.count() == 1).await;
        let record = replica.records().remove(0);
        for _ in 0..2 {
            let _: i64 = replica.app.redis().command(&["PEXPIRE", &record, "5000"]);
            eventually("the claim is renewed", async || {
                replica.post("/slow", "k", "x").await.expect_problem(409, "idempotency-in-progress");
                replica.app.redis().command::<i64>(&["PTTL", &record]) > 5_000
            })
            .await;
        }
        runs.resume.notify_one();
    };
    let (reply, ()) = tokio::join!(replica.post("/slow", "k", "x"), watch);
    reply.expect(200);
    assert_eq!(runs.count(), 1);
}

#[tokio::test]
async fn an_attempt_that_lost_its_claim_does_not_change_the_next_one() {
    let (replica, runs) = replica().await;
    let take_over = async {
        eventually("the attempt runs", async || runs.count() == 1).await;
        let record = replica.records().remove(0);
        let _: i64 = replica.app.redis().command(&["HSET", &record, "owner", "another attempt"]);
        runs.resume.notify_one();
        record
    };
    let (reply, record) = tokio::join!(replica.post("/slow", "k", "x"), take_over);
    reply.expect(200);
    let owner: String = replica.app.redis().command(&["HGET", &record, "owner"]);
    assert_eq!(owner, "another attempt");
    replica.post("/slow", "k", "x").await.expect_problem(409, "idempotency-in-progress");
}

#[tokio::test]
async fn a_body_that_is_too_large_or_incomplete_releases_the_key() {
    let (replica, runs) = replica_with("[http]\nbody_limit = \"1KiB\"\nbody_idle_timeout = \"100ms\"").await;
    let broken = || Body::from_stream(futures_util::stream::iter([Ok("x"), Err(std::io::Error::other("cut"))]));
    replica.post("/count", "k", vec![0; 1_025]).await.expect_problem(413, "body-too-large");
    replica.post("/count", "k", broken()).await.expect_problem(400, "body-incomplete");
    replica.post("/count", "k", "x").await.expect(201);
    // A repetition is compared with the record and rejected in the same way.
    replica.post("/count", "k", vec![0; 1_025]).await.expect_problem(413, "body-too-large");
    replica.post("/count", "k", broken()).await.expect_problem(400, "body-incomplete");
    let stuck = Body::from_stream(futures_util::stream::pending::<Result<Bytes, std::io::Error>>());
    replica.post("/count", "k", stuck).await.expect_problem(408, "request-timeout");
    assert_eq!(runs.count(), 1);
}

#[tokio::test]
async fn without_redis_only_requests_with_a_key_are_rejected() {
    let runs = RunLog::default();
    let replica = Replica::new(TestApp::builder().behind_proxy().spawn().await, &runs);
    replica.app.proxy().cut();
    eventually("Redis is unavailable", async || replica.app.get("/health/ready").await.is(503)).await;
    let problem = replica.post("/count", "k", "x").await.expect_problem(503, "redis-unavailable");
    assert_eq!(problem["outcome"], "not_applied", "{problem}");
    assert_eq!(runs.count(), 0);
    replica.send(Method::POST, "/count", &[], "x").await.expect(201);
    replica.app.proxy().heal();
    eventually("keys work again", async || replica.post("/count", "k", "x").await.is(201)).await;
    assert_eq!(runs.count(), 2);
}

#[tokio::test]
async fn a_stalled_redis_times_out_before_the_handler_runs() {
    let runs = RunLog::default();
    let replica = Replica::new(TestApp::builder().behind_proxy().spawn().await, &runs);
    replica.app.proxy().stall();
    let problem = replica.post("/count", "k", "x").await.expect_problem(504, "redis-timeout");
    assert_eq!(problem["outcome"], "not_applied", "{problem}");
    assert_eq!(runs.count(), 0);
}

#[tokio::test]
async fn a_response_that_cannot_be_recorded_is_returned_and_the_operation_keeps_its_id() {
    let runs = RunLog::default();
    let replica = Replica::new(TestApp::builder().behind_proxy().spawn().await, &runs);
    let cut = async {
        eventually("the attempt runs", async || runs.count() == 1).await;
        replica.app.proxy().cut();
        runs.resume.notify_one();
    };
    let (reply, ()) = tokio::join!(replica.post("/slow", "k", "x"), cut);
    assert_eq!(reply.expect(200).text(), "run 1");
    replica.app.proxy().heal();
    expire_claim(&replica);
    runs.resume.notify_one();
    eventually("a repetition runs", async || replica.post("/slow", "k", "x").await.is(200)).await;
    assert_eq!(runs.count(), 2);

    // The ID does not depend on the record: a route that stores it with its effect recognises the repetition.
    let first = replica.post("/count", "k", "x").await.expect(201);
    let _: String = replica.app.redis().command(&["FLUSHALL"]);
    let second = replica.post("/count", "k", "x").await.expect(201);
    let id = |reply: &Reply| reply.text().split('`').nth(1).map(str::to_owned).expect("an operation");
    assert_eq!(id(&first), id(&second));
    assert!(id(&first).len() == 32 && id(&first).bytes().all(|digit| digit.is_ascii_hexdigit()));
}
