//! Several locks in one call, all or none.

use axum::body::Body;
use axum::http::Method;
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::TestApp;

const LONG: u64 = 60_000;

async fn is_held(app: &TestApp, resource: &str) -> bool {
    app.get(&format!("/locks/{resource}")).await.json()["held"] == true
}

#[tokio::test]
async fn all_locks_are_acquired_in_the_order_of_their_names() {
    let app = TestApp::spawn().await;
    let request = json!({ "resources": ["c", "a", "settlement:b"], "ttl_ms": LONG, "owner": "me" });
    let granted = app.post("/locks/acquire-all", request).await.expect(201).json();
    let locks = granted["locks"].as_array().expect("locks");
    let names: Vec<&Value> = locks.iter().map(|lock| &lock["resource"]).collect();
    assert_eq!(names, ["a", "c", "settlement:b"]);
    let shortest = locks.iter().filter_map(|lock| lock["validity_ms"].as_u64()).min();
    assert_eq!(granted["validity_ms"].as_u64(), shortest);
    for lock in locks {
        let path = format!("/locks/{}", lock["resource"].as_str().expect("a name"));
        let token = lock["token"].as_str().expect("a token");
        app.send(Method::DELETE, &path, &[("lock-token", token)], Body::empty()).await.expect(204);
    }
}

#[tokio::test]
async fn a_held_lock_leaves_the_others_free() {
    let app = TestApp::spawn().await;
    app.post("/locks/b", json!({ "ttl_ms": LONG })).await.expect(201);
    let request = json!({ "resources": ["a", "b", "c"], "ttl_ms": LONG });
    let problem = app.post("/locks/acquire-all", request).await.expect_problem(409, "lock-held");
    assert!(problem["detail"].as_str().expect("a detail").contains("`b`"), "{problem}");
    assert!(!is_held(&app, "a").await && !is_held(&app, "c").await, "nothing is kept");
}

#[tokio::test]
async fn clients_that_want_the_same_locks_in_different_orders_do_not_deadlock() {
    let one = TestApp::builder().system_clock().spawn().await;
    let other = TestApp::builder().system_clock().beside(&one).spawn().await;
    let workers = (0..8).map(|at| {
        let (app, resources) =
            if at % 2 == 0 { (&one, json!(["a", "b", "c"])) } else { (&other, json!(["c", "b", "a"])) };
        async move {
            for _ in 0..5 {
                let request = json!({ "resources": resources, "ttl_ms": LONG });
                let granted = loop {
                    let reply = app.post("/locks/acquire-all", request.clone()).await;
                    if reply.is(201) {
                        break reply.json();
                    }
                    reply.expect_problem(409, "lock-held");
                };
                for lock in granted["locks"].as_array().expect("locks") {
                    let path = format!("/locks/{}", lock["resource"].as_str().expect("a name"));
                    let token = lock["token"].as_str().expect("a token");
                    app.send(Method::DELETE, &path, &[("lock-token", token)], Body::empty()).await.expect(204);
                }
            }
        }
    });
    join_all(workers).await;
}
