//! Which requests are repetitions, and what they receive.

use axum::body::{Body, Bytes};
use axum::http::Method;
use futures_util::future::join_all;
use gridtokenx_redis::http::auth::api_key;

use serde_json::{Value, json};

use super::replica::{Replica, RunLog, replica, replica_with};
use crate::auth::{SECRET, platform_token};
use crate::support::{Reply, TestApp, eventually};

/// A body of many chunks whose length is not known in advance.
fn chunked(count: usize) -> Body {
    let chunk = Bytes::from(vec![b'7'; 64 << 10]);
    Body::from_stream(futures_util::stream::iter((0..count).map(move |_| Ok::<_, std::io::Error>(chunk.clone()))))
}

#[track_caller]
fn assert_replay(first: &Reply, again: &Reply) {
    assert_eq!((again.status, &again.body), (first.status, &first.body));
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(first.header("idempotency-replayed"), None);
    for name in ["content-type", "location", "content-length"] {
        assert_eq!(again.header(name), first.header(name), "{name}");
    }
}

#[tokio::test]
async fn a_repetition_receives_the_first_response() {
    let (replica, runs) = replica().await;
    for method in [Method::POST, Method::PATCH] {
        let send = async || replica.send(method.clone(), "/count?a=1", &[("idempotency-key", "k-1")], "17.5 kWh").await;
        let first = send().await.expect(201);
        assert!(first.text().ends_with(": 17.5 kWh"), "{}", first.text());
        let again = send().await;
        assert_replay(&first, &again);
        assert_ne!(again.header("x-request-id"), first.header("x-request-id"));
    }
    assert_eq!(runs.count(), 2);
}

#[tokio::test]
async fn a_key_cannot_be_reused_for_another_request() {
    let (replica, runs) = replica().await;
    let json = ("content-type", "application/json");
    let key = ("idempotency-key", "k");
    replica.send(Method::POST, "/count?a=1", &[key, json], "{}").await.expect(201);
    for (path, headers, body) in [
        ("/count?a=1", [key, json], "{ }"),
        ("/count?a=1", [key, json], ""),
        ("/count?a=2", [key, json], "{}"),
        ("/count", [key, json], "{}"),
        ("/count?a=1", [key, ("content-type", "text/plain")], "{}"),
    ] {
        let rejected = replica.send(Method::POST, path, &headers, body).await;
        let problem = rejected.expect_problem(422, "idempotency-key-reused");
        assert_eq!(problem["outcome"], "not_applied", "{problem}");
    }
    assert_eq!(runs.count(), 1);
    // Another method, another key and no key are other requests.
    replica.send(Method::PATCH, "/count?a=1", &[key, json], "{}").await.expect(201);
    replica.send(Method::POST, "/count?a=1", &[("idempotency-key", "k2"), json], "{}").await.expect(201);
    replica.send(Method::POST, "/count?a=1", &[json], "{}").await.expect(201);
    assert_eq!(runs.count(), 4);
}

#[tokio::test]
async fn callers_do_not_share_keys() {
    let keys = ["ak_00000000000000000000000000000001", "ak_00000000000000000000000000000002"];
    let entry = |at: usize| {
        let digest = api_key::hex(&api_key::digest(keys[at].as_bytes()));
        format!("[[auth.keys]]\nid = \"k{at}\"\nsha256 = \"{digest}\"\nscopes = [\"cache:write\"]\n")
    };
    let (replica, runs) = replica_with(&(entry(0) + &entry(1))).await;
    let send =
        async |key| replica.send(Method::POST, "/count", &[("idempotency-key", "k"), ("x-api-key", key)], "x").await;
    let (first, second) = (send(keys[0]).await.expect(201), send(keys[1]).await.expect(201));
    assert_ne!(first.body, second.body);
    assert_replay(&first, &send(keys[0]).await);
    assert_eq!(runs.count(), 2);
    replica.post("/count", "k", "x").await.expect_problem(401, "unauthenticated");
}

#[tokio::test]
async fn organisations_of_a_user_do_not_share_keys() {
    let secret = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(secret.path(), SECRET).expect("written");
    let config = format!(
        "[[auth.jwt]]\nissuer = \"a\"\nalgorithm = \"HS256\"\nsecret_file = {:?}\norganisation_claim = \"org\"\n",
        secret.path()
    );
    let (replica, runs) = replica_with(&config).await;
    let send = async |organisation: Value| {
        let token = format!("Bearer {}", platform_token(&json!({ "iss": "a", "org": organisation })));
        replica.send(Method::POST, "/count", &[("idempotency-key", "k"), ("authorization", &token)], "x").await
    };
    let mut firsts = Vec::new();
    for organisation in [json!("a"), json!("b"), json!(null)] {
        firsts.push((organisation.clone(), send(organisation).await.expect(201)));
    }
    assert_eq!(runs.count(), 3);
    for (organisation, first) in firsts {
        assert_replay(&first, &send(organisation).await);
    }
}

#[tokio::test]
async fn a_response_is_not_repeated_to_a_caller_whose_keys_are_others() {
    let roles = "all = [\"cache:read\", \"cache:write\"]\nboth = [\"cache:write:a:*\", \"cache:write:b:*\", \"cache:read:a:*\"]\n\
                 one = [\"cache:write:a:*\", \"cache:read:a:*\"]";
    let app =
        TestApp::builder().config(&format!("auth.jwt_secret = \"{SECRET}\"\n[auth.roles]\n{roles}")).spawn().await;
    let body =
        json!({ "get": ["a:1"], "set": [{ "key": "a:1", "value": 1 }, { "key": "b:1", "value": 1 }] }).to_string();
    let send = async |role: &str, key: &str| {
        let token = format!("Bearer {}", platform_token(&json!({ "role": role })));
        let headers = [("authorization", &*token), ("idempotency-key", key), ("content-type", "application/json")];
        app.send(Method::POST, "/cache/batch", &headers, body.clone()).await
    };
    for role in ["all", "both"] {
        let first = send(role, role).await.expect(200);
        assert_replay(&first, &send(role, role).await);
        send("one", role).await.expect_problem(422, "idempotency-key-reused");
    }
    send("both", "all").await.expect_problem(422, "idempotency-key-reused");
}

#[tokio::test]
async fn only_guarded_posts_and_patches_have_keys() {
    let (replica, runs) = replica().await;
    for (method, path) in [(Method::GET, "/count"), (Method::PUT, "/count"), (Method::POST, "/open")] {
        for _ in 0..2 {
            let reply = replica.send(method.clone(), path, &[("idempotency-key", "k")], Body::empty()).await;
            assert!(reply.status.is_success() && reply.header("idempotency-replayed").is_none(), "{reply:?}");
        }
    }
    assert_eq!(runs.count(), 6);
    replica.post("/nowhere", "k", "").await.expect_problem(404, "not-found");
    replica
        .send(Method::PATCH, "/slow", &[("idempotency-key", "k")], "")
        .await
        .expect_problem(405, "method-not-allowed");
    assert_eq!(replica.records(), Vec::<String>::new());
}

#[tokio::test]
async fn a_malformed_key_is_rejected() {
    let (replica, runs) = replica().await;
    for bad in ["", "two words", "tab\t", "é", &"x".repeat(256)] {
        replica.post("/count", bad, "").await.expect_violation(422, "invalid-header", "/Idempotency-Key");
    }
    let twice = [("idempotency-key", "a"), ("idempotency-key", "b")];
    replica.send(Method::POST, "/count", &twice, "").await.expect_problem(422, "invalid-header");
    assert_eq!(runs.count(), 0);
    replica.post("/count", &"x".repeat(255), "").await.expect(201);
    replica.post("/count", "!\"#{}%~", "").await.expect(201);
}

#[tokio::test]
async fn of_concurrent_requests_one_runs() {
    let runs = RunLog::default();
    let one = Replica::new(TestApp::spawn().await, &runs);
    let other = Replica::new(TestApp::builder().beside(&one.app).spawn().await, &runs);
    let calls = (0..32).map(|at| if at % 2 == 0 { &one } else { &other }.post("/slow", "k", "x"));
    let release = async {
        // The other 31 requests are rejected, so only the first run waits for `resume`.
        eventually("one request runs", async || runs.count() == 1).await;
        let busy = other.post("/slow", "k", "x").await;
        let problem = busy.expect_problem(409, "idempotency-in-progress");
        assert_eq!(busy.header("retry-after"), Some("1"), "{problem}");
        runs.resume.notify_one();
    };
    let (replies, ()) = tokio::join!(join_all(calls), release);
    let done = replies.iter().filter(|reply| reply.is(200)).count();
    let busy = replies.iter().filter(|reply| reply.is(409)).count();
    assert!(done >= 1 && done + busy == 32, "{done} done, {busy} busy");
    assert_eq!(runs.count(), 1);
    let again = other.post("/slow", "k", "x").await.expect(200);
    assert_eq!((again.text(), again.header("idempotency-replayed")), ("run 1".to_owned(), Some("true")));
    assert_eq!(runs.count(), 1);
}

#[tokio::test]
async fn an_error_is_not_recorded() {
    let (replica, runs) = replica().await;
    for _ in 0..2 {
        replica.post("/fail", "k", "x").await.expect_problem(404, "not-found");
    }
    replica.post("/fail", "k", "another body").await.expect_problem(404, "not-found");
    assert_eq!(runs.count(), 3);
    assert_eq!(replica.records(), Vec::<String>::new());
}

#[tokio::test]
async fn a_response_is_kept_for_the_retention() {
    let (replica, runs) = replica_with("[idempotency]\nretention = \"1s\"").await;
    replica.post("/count", "k", "x").await.expect(201);
    let [record] = &replica.records()[..] else { panic!("one record: {:?}", replica.records()) };
    let left: i64 = replica.app.redis().command(&["PTTL", record]);
    assert!((1..=1_000).contains(&left), "{left}");
    eventually("the key is free again", async || {
        replica.post("/count", "k", "x").await.expect(201);
        runs.count() == 2
    })
    .await;
}

#[tokio::test]
async fn every_record_expires() {
    let (replica, _) = replica().await;
    for path in ["/count", "/ignore", "/large", "/stream"] {
        replica.post(path, "k", "x").await;
    }
    let records = replica.records();
    assert_eq!(records.len(), 4);
    for record in records {
        let left: i64 = replica.app.redis().command(&["PTTL", &record]);
        assert!((86_000_000..=86_400_000).contains(&left), "{record}: {left}");
    }
}

#[tokio::test]
async fn a_large_response_is_returned_but_not_recorded() {
    let (replica, runs) = replica().await;
    assert_eq!(replica.post("/large", "k", "x").await.expect(200).body.len(), (64 << 10) + 1);
    let problem = replica.post("/large", "k", "x").await.expect_problem(409, "idempotency-answer-too-large");
    assert_eq!(problem["outcome"], "applied", "{problem}");
    replica.post("/large", "k", "y").await.expect_problem(409, "idempotency-answer-too-large");
    replica.post("/large?a=1", "k", "x").await.expect_problem(422, "idempotency-key-reused");
    assert_eq!(runs.count(), 1);
}

#[tokio::test]
async fn long_responses_are_recorded_up_to_a_total_for_each_caller() {
    let keys = ["ak_00000000000000000000000000000001", "ak_00000000000000000000000000000002"];
    let entry = |at: usize| {
        let digest = api_key::hex(&api_key::digest(keys[at].as_bytes()));
        format!("[[auth.keys]]\nid = \"k{at}\"\nsha256 = \"{digest}\"\nscopes = [\"cache:write\"]\n")
    };
    let (replica, _) = replica_with(&(entry(0) + &entry(1))).await;
    let send = async |caller: usize, path: &str, key: &str| {
        replica.send(Method::POST, path, &[("idempotency-key", key), ("x-api-key", keys[caller])], "x").await
    };
    // 4 MiB are 69 responses of 60,000 bytes.
    for at in 0..75 {
        send(0, "/long", &format!("k{at}")).await.expect(200);
    }
    for (key, is_recorded) in [("k0", true), ("k68", true), ("k69", false), ("k74", false)] {
        let again = send(0, "/long", key).await;
        assert_eq!(again.is(200), is_recorded, "{key}");
        if !is_recorded {
            assert_eq!(again.expect_problem(409, "idempotency-answer-too-large")["outcome"], "applied");
        }
    }
    // Short responses, and those to other callers, are still recorded.
    for (caller, path) in [(0, "/count"), (1, "/long")] {
        let first = send(caller, path, "other").await;
        assert_replay(&first, &send(caller, path, "other").await);
    }
    for kept in replica.records().iter().filter(|key| key.starts_with("idempotency:kept:")) {
        let left: i64 = replica.app.redis().command(&["PTTL", kept]);
        assert!((86_000_000..=86_400_000).contains(&left), "{left}");
    }
}

#[tokio::test]
async fn a_streamed_body_is_compared() {
    let (replica, runs) = replica().await;
    // 8 MiB: eight times the limit of an ordinary route.
    let first = replica.post("/stream", "k", chunked(128)).await.expect(200);
    assert_eq!(first.text(), "run 1: 8388608 bytes");
    assert_replay(&first, &replica.post("/stream", "k", chunked(128)).await);
    assert_replay(&first, &replica.post("/stream", "k", vec![b'7'; 8 << 20]).await);
    replica.post("/stream", "k", chunked(127)).await.expect_problem(422, "idempotency-key-reused");
    assert_eq!(runs.count(), 1);
}

#[tokio::test]
async fn a_body_that_the_route_does_not_read_is_not_compared() {
    let (replica, runs) = replica().await;
    let first = replica.post("/ignore", "k", "some body").await.expect(204);
    assert_replay(&first, &replica.post("/ignore", "k", "another body").await);
    let empty = replica.post("/ignore", "k2", Body::empty()).await.expect(204);
    assert_replay(&empty, &replica.post("/ignore", "k2", Body::empty()).await);
    assert_eq!(runs.count(), 2);
}
