//! Waiting in the queue: in order, woken instead of polling, bounded, across replicas.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::Method;
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::support::{ADMIN_KEY, Reply, TestApp, eventually};

const LONG: u64 = 60_000;
/// How many clients wait where commands are counted.
const WAITERS: u64 = 100;
const QUEUE: &str = "lock:queue:{lock:a}";

/// Waiters ask by themselves every 20 s here, so a hand-over that takes less than this is the effect of a wake-up.
const WOKEN: Duration = Duration::from_secs(10);

async fn replica() -> TestApp {
    TestApp::builder().system_clock().config("[locks]\nrecheck = \"20s\"").spawn().await
}

async fn beside(app: &TestApp) -> TestApp {
    TestApp::builder().system_clock().config("[locks]\nrecheck = \"20s\"").beside(app).spawn().await
}

async fn hold(app: &TestApp, ttl_ms: u64) -> Value {
    app.post("/locks/a", json!({ "ttl_ms": ttl_ms })).await.expect(201).json()
}

async fn wait(app: &TestApp, wait_ms: u64) -> Reply {
    app.post("/locks/a", json!({ "ttl_ms": LONG, "wait_ms": wait_ms })).await
}

async fn release(app: &TestApp, grant: &Value) {
    let token = grant["token"].as_str().expect("a token");
    app.send(Method::DELETE, "/locks/a", &[("lock-token", token)], Body::empty()).await.expect(204);
}

/// Lets a client wait for a held lock and releases it. Returns the grants of both, and how long the hand-over took.
async fn hand_over(app: &TestApp) -> (Value, Value, Duration) {
    let held = hold(app, LONG).await;
    let ((next, granted_at), released_at) = tokio::join!(
        async {
            let grant = wait(app, 15_000).await.expect(201).json();
            (grant, Instant::now())
        },
        async {
            in_queue(app, 1).await;
            let now = Instant::now();
            release(app, &held).await;
            now
        }
    );
    (held, next, granted_at - released_at)
}

async fn in_queue(app: &TestApp, count: u64) {
    eventually("the clients wait in the queue", async || app.redis().command::<u64>(&["ZCARD", QUEUE]) == count).await;
}

#[tokio::test]
async fn a_release_wakes_the_waiter() {
    let app = replica().await;
    let (held, grant, took) = hand_over(&app).await;
    assert!(took < WOKEN, "{took:?}");
    assert!(grant["fencing_token"].as_u64() > held["fencing_token"].as_u64());
    assert_eq!(app.get("/locks/a").await.json()["waiters"], 0);
}

#[tokio::test]
async fn waiters_at_two_replicas_are_served_in_order_of_arrival() {
    let one = replica().await;
    let other = beside(&one).await;
    let held = hold(&one, LONG).await;
    let served = Mutex::new(Vec::new());
    let waiters = (0..20_u64).map(|at| {
        let (app, served) = (if at % 2 == 0 { &one } else { &other }, &served);
        async move {
            in_queue(app, at).await;
            let grant = wait(app, 20_000).await.expect(201).json();
            served.lock().expect("the list").push((at, Instant::now()));
            release(app, &grant).await;
        }
    });
    let ((), released_at) = tokio::join!(async { drop(join_all(waiters).await) }, async {
        in_queue(&one, 20).await;
        let now = Instant::now();
        release(&one, &held).await;
        now
    });
    // Without wake-ups, the waiters would be served one by one, about two in a second.
    assert!(released_at.elapsed() < Duration::from_secs(5), "{:?}", released_at.elapsed());
    let served = served.into_inner().expect("the list");
    let order: Vec<u64> = served.iter().map(|(at, _)| *at).collect();
    assert_eq!(order, (0..20).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_hand_over_costs_at_most_five_commands() {
    let one = replica().await;
    let other = beside(&one).await;
    let held = hold(&one, LONG).await;
    // Locks only send script calls here; commands within a script are not counted.
    let calls = || {
        let stats: String = one.redis().command(&["INFO", "commandstats"]);
        let line = stats.lines().find(|line| line.starts_with("cmdstat_evalsha:")).expect("scripts were called");
        let calls = line.split("calls=").nth(1).and_then(|rest| rest.split(',').next()).expect("a number");
        calls.parse::<u64>().expect("a number")
    };
    let waiters = (0..WAITERS).map(|at| {
        let app = if at % 2 == 0 { &one } else { &other };
        async move {
            let grant = wait(app, 25_000).await.expect(201).json();
            release(app, &grant).await;
        }
    });
    let (before, began) = (Mutex::new(0), Mutex::new(None));
    tokio::join!(join_all(waiters), async {
        eventually("all clients wait in the queue", async || one.redis().command::<u64>(&["ZCARD", QUEUE]) == WAITERS)
            .await;
        *before.lock().expect("the count") = calls();
        began.lock().expect("the time").replace(Instant::now());
        release(&one, &held).await;
    });
    let elapsed = began.lock().expect("the time").expect("begun").elapsed();
    println!("{WAITERS} hand-overs in {elapsed:?}, {} calls", calls() - *before.lock().expect("the count"));
    let per_hand_over = (calls() - *before.lock().expect("the count")).div_ceil(WAITERS);
    assert!(per_hand_over <= 5, "{per_hand_over} commands per hand-over");
}

#[tokio::test]
async fn the_end_of_a_lease_wakes_the_waiter() {
    let app = replica().await;
    hold(&app, 300).await;
    let started = Instant::now();
    wait(&app, 15_000).await.expect(201);
    assert!(started.elapsed() < Duration::from_millis(1_300), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_key_deleted_by_hand_wakes_the_waiter() {
    let app = TestApp::builder().system_clock().spawn().await;
    hold(&app, LONG).await;
    let (waited, ()) = tokio::join!(wait(&app, 15_000), async {
        in_queue(&app, 1).await;
        let _: u64 = app.redis().command(&["DEL", "lock:a"]);
    });
    waited.expect(201);
}

/// A waiting request on its own connection, once it is in the queue.
async fn wait_on_a_socket(app: &mut TestApp) -> TcpStream {
    let mut socket = TcpStream::connect(app.serve()).await.expect("a connection");
    let body = json!({ "ttl_ms": LONG, "wait_ms": 20_000 }).to_string();
    let head = format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len());
    let request = format!("POST /locks/a HTTP/1.1\r\nhost: test\r\n{head}\r\n{body}");
    socket.write_all(request.as_bytes()).await.expect("sent");
    in_queue(app, 1).await;
    socket
}

#[tokio::test]
async fn a_client_that_disconnects_leaves_the_queue_immediately() {
    let mut app = replica().await;
    let held = hold(&app, LONG).await;
    drop(wait_on_a_socket(&mut app).await);
    in_queue(&app, 0).await;
    release(&app, &held).await;
    assert_eq!(app.get("/locks/a").await.json()["held"], false, "the disconnected client is not served");
}

#[tokio::test]
async fn a_first_waiter_that_disconnects_delays_the_next_by_less_than_100_ms() {
    let mut app = replica().await;
    let mut costs = Vec::new();
    // A busy machine may delay one of them.
    for _ in 0..5 {
        let held = hold(&app, LONG).await;
        let first = wait_on_a_socket(&mut app).await;
        let (next, hung_up) = tokio::join!(
            async {
                let grant = wait(&app, 15_000).await.expect(201).json();
                (grant, Instant::now())
            },
            async {
                in_queue(&app, 2).await;
                drop(first);
                let now = Instant::now();
                release(&app, &held).await;
                now
            }
        );
        costs.push(next.1 - hung_up);
        release(&app, &next.0).await;
    }
    assert!(costs.iter().min().is_some_and(|cost| *cost < Duration::from_millis(100)), "{costs:?}");
}

#[tokio::test]
async fn waiters_whose_clients_disconnected_hardly_delay_the_next() {
    let app = replica().await;
    let held = hold(&app, LONG).await;
    let mut gone: Vec<_> = Vec::new();
    for at in 0..5 {
        let mut waiter = Box::pin(wait(&app, 20_000));
        tokio::select! {
            _ = &mut waiter => panic!("the lock is held"),
            () = in_queue(&app, at + 1) => {}
        }
        gone.push(waiter);
    }
    let (waited, elapsed) = tokio::join!(
        async {
            let grant = wait(&app, 20_000).await.expect(201);
            (grant, Instant::now())
        },
        async {
            in_queue(&app, 6).await;
            drop(gone);
            let released = Instant::now();
            release(&app, &held).await;
            released
        }
    );
    let took = waited.1 - elapsed;
    assert!(took < Duration::from_millis(500), "five disconnected waiters cost {took:?}");
}

#[tokio::test]
async fn a_waiter_whose_replica_died_is_skipped_after_its_turn() {
    let app = replica().await;
    let held = hold(&app, LONG).await;
    // A replica that was killed leaves a ticket in Redis that would be valid for a minute.
    let deadline = app.clock().now() + 60_000;
    let _: u64 = app.redis().command(&["ZADD", QUEUE, "1", &format!("{deadline}:dead")]);
    let (waited, released) = tokio::join!(
        async {
            wait(&app, 20_000).await.expect(201);
            Instant::now()
        },
        async {
            in_queue(&app, 2).await;
            let released = Instant::now();
            release(&app, &held).await;
            released
        }
    );
    let took = waited - released;
    assert!(took >= Duration::from_millis(45) && took < Duration::from_millis(300), "{took:?}");
    assert_eq!(app.get("/locks/a").await.json()["waiters"], 0);
}

#[tokio::test]
async fn a_new_client_does_not_overtake_waiters() {
    let app = replica().await;
    let held = hold(&app, LONG).await;
    let deadline = app.clock().now() + 60_000;
    let _: u64 = app.redis().command(&["ZADD", QUEUE, "1", &format!("{deadline}:first")]);
    release(&app, &held).await;
    let refused = app.post("/locks/a", json!({ "ttl_ms": LONG })).await;
    let problem = refused.expect_problem(409, "lock-held");
    assert!(problem["retry_after_ms"].as_u64().expect("a time") <= 50, "it is the first waiter's turn: {problem}");
    eventually("the turn has ended", async || app.post("/locks/a", json!({ "ttl_ms": LONG })).await.is(201)).await;
}

#[tokio::test]
async fn a_wait_that_ends_without_the_lock_leaves_the_queue() {
    let app = replica().await;
    hold(&app, LONG).await;
    let started = Instant::now();
    let problem = wait(&app, 300).await.expect_problem(409, "lock-held");
    assert!(started.elapsed() >= Duration::from_millis(300), "{problem}");
    in_queue(&app, 0).await;
    assert_eq!(app.get("/locks/stats").await.json()["waits"], 1);
    assert_eq!(app.get("/locks/stats").await.json()["waiting"], 0);
}

#[tokio::test]
async fn waiters_are_bounded_per_lock_and_per_replica() {
    for (setting, other) in [("queue_limit = 1", "/locks/a"), ("waiters = 1", "/locks/b")] {
        let app = TestApp::builder().system_clock().config(&format!("[locks]\n{setting}")).spawn().await;
        let held = hold(&app, LONG).await;
        app.post("/locks/b", json!({ "ttl_ms": LONG })).await.expect(201);
        let (waited, ()) = tokio::join!(wait(&app, 15_000), async {
            in_queue(&app, 1).await;
            let refused = app.post(other, json!({ "ttl_ms": LONG, "wait_ms": 5_000 })).await;
            let problem = refused.expect_problem(429, "too-many-waiters");
            assert_eq!(problem["retry_after_ms"], 1_000);
            release(&app, &held).await;
        });
        waited.expect(201);
    }
}

#[tokio::test]
async fn the_waiters_of_one_credential_leave_places_to_others() {
    let (one, other) = ("ak_11111111111111111111111111111111", "ak_22222222222222222222222222222222");
    for places in ["waiters = 2", "queue_limit = 2"] {
        let app = TestApp::builder().key(one, &["locks:write"]).key(other, &["locks:write"]).admin_key();
        let app = app.system_clock().config(&format!("[locks]\n{places}")).spawn().await;
        let acquire = async |key: &str, resource: &str, wait_ms: u64| {
            let headers = [("x-api-key", key), ("content-type", "application/json")];
            let body = json!({ "ttl_ms": LONG, "wait_ms": wait_ms }).to_string();
            app.send(Method::POST, &format!("/locks/{resource}"), &headers, body).await
        };
        acquire(one, "a", 0).await.expect(201);
        let second = async {
            in_queue(&app, 1).await;
            acquire(one, "a", 25_000).await.expect_problem(429, "too-many-waiters");
            acquire(other, "a", 25_000).await.expect(201).json()
        };
        let refusals = async {
            in_queue(&app, 2).await;
            for (key, free) in [(one, "b"), (other, "c")] {
                acquire(key, "a", 25_000).await.expect_problem(429, "too-many-waiters");
                acquire(key, free, 25_000).await.expect(201);
            }
            let admin = [("x-api-key", ADMIN_KEY)];
            for left in [1, 0] {
                app.send(Method::DELETE, "/locks/a?force=true", &admin, Body::empty()).await.expect(204);
                in_queue(&app, left).await;
            }
        };
        let (first, second, ()) = tokio::join!(acquire(one, "a", 25_000), second, refusals);
        assert!(first.expect(201).json()["fencing_token"].as_u64() < second["fencing_token"].as_u64());
    }
}

#[tokio::test]
async fn a_lost_subscription_is_restored_and_no_waiter_is_forgotten() {
    let app = replica().await;
    let held = hold(&app, LONG).await;
    let (waited, ()) = tokio::join!(wait(&app, 18_000), async {
        in_queue(&app, 1).await;
        eventually("the subscription existed", async || {
            app.redis().command::<u64>(&["CLIENT", "KILL", "TYPE", "pubsub"]) > 0
        })
        .await;
        release(&app, &held).await;
    });
    release(&app, &waited.expect(201).json()).await;
    eventually("the subscription is restored", async || {
        app.redis().command::<(String, u64)>(&["PUBSUB", "NUMSUB", "locks:wake"]).1 == 1
    })
    .await;
    let (_, _, took) = hand_over(&app).await;
    assert!(took < WOKEN, "{took:?}");
}

#[tokio::test]
async fn a_queue_that_redis_forgot_is_restored() {
    let app = replica().await;
    let held = hold(&app, LONG).await;
    let waiters = (0..3).map(|_| async {
        let grant = wait(&app, 18_000).await.expect(201).json();
        release(&app, &grant).await;
    });
    tokio::join!(join_all(waiters), async {
        in_queue(&app, 3).await;
        let _: u64 = app.redis().command(&["DEL", QUEUE]);
        eventually("the subscription existed", async || {
            app.redis().command::<u64>(&["CLIENT", "KILL", "TYPE", "pubsub"]) > 0
        })
        .await;
        in_queue(&app, 3).await;
        release(&app, &held).await;
    });
}

#[tokio::test]
async fn a_wait_ends_when_redis_becomes_unavailable() {
    let app = TestApp::builder().system_clock().behind_proxy().spawn().await;
    hold(&app, LONG).await;
    let started = Mutex::new(Instant::now());
    let (waited, ()) = tokio::join!(wait(&app, 20_000), async {
        in_queue(&app, 1).await;
        app.proxy().cut();
        *started.lock().expect("the time") = Instant::now();
    });
    assert!(waited.is(503) || waited.is(504), "{}", waited.text());
    let took = started.lock().expect("the time").elapsed();
    assert!(took < Duration::from_secs(3), "{took:?}");
}

#[tokio::test]
async fn a_replica_that_stops_ends_its_waits() {
    let app = replica().await;
    hold(&app, LONG).await;
    let (waited, ()) = tokio::join!(wait(&app, 20_000), async {
        in_queue(&app, 1).await;
        app.app().deps.phase.begin_draining();
    });
    waited.expect_problem(503, "wait-interrupted");
    in_queue(&app, 0).await;
}
