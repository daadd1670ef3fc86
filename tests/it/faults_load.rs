//! Faults under load: what many concurrent callers see, and that no caller ever gets another caller's reply.

use std::cell::Cell;
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use gridtokenx_redis::redis::{Effect, FaultKind, Outcome, Redis, RedisFault};

use crate::support::facade::{Ledger, Stamp, get, set};
use crate::support::{TestApp, eventually};

/// Concurrent callers that each call in a loop until `disturb` has finished.
async fn under_load(callers: usize, call: impl AsyncFn(usize), disturb: impl Future<Output = ()>) {
    let done = Cell::new(false);
    let callers = (0..callers).map(|caller| {
        let (done, call) = (&done, &call);
        async move {
            while !done.get() {
                call(caller).await;
            }
        }
    });
    let disturb = async {
        disturb.await;
        done.set(true);
    };
    tokio::join!(join_all(callers), disturb);
}

async fn pause(ms: u64) {
    // The schedule of the faults is part of the test.
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

#[tokio::test]
async fn killed_connections_fail_no_read_and_leave_some_writes_unknown() {
    let app = TestApp::spawn().await;
    let redis = app.state();
    let keys: Vec<String> = (0..8).map(|caller| format!("own-{caller}")).collect();
    for key in &keys {
        set(redis, key, key).await.expect("a write");
    }
    let ledger = Ledger::default();
    let call = async |caller: usize| {
        let key = &keys[caller];
        let read = get(redis, key).await.unwrap_or_else(|fault| panic!("a read failed: {}", fault.with_causes()));
        assert_eq!(read.as_deref(), Some(key.as_str()), "another caller's reply");
        match ledger.write(redis).await {
            Ok(_) | Err(RedisFault { kind: FaultKind::ConnectionLost, outcome: Outcome::Unknown, .. }) => {}
            Err(fault) => panic!("a write failed with an unexpected error: {}", fault.with_causes()),
        }
    };
    let killing = async {
        for _ in 0..40 {
            pause(25).await;
            let _: i64 = app.redis().command(&["CLIENT", "KILL", "TYPE", "normal"]);
        }
    };
    under_load(8, call, killing).await;
    let (acknowledged, _) = ledger.verify(redis).await;
    assert!(acknowledged > 1_000, "too little load: {acknowledged}");
}

#[tokio::test]
async fn flushed_scripts_are_loaded_again_under_load() {
    let app = TestApp::spawn().await;
    let redis = app.state();
    let calls = Cell::new(0);
    let call = async |caller: usize| {
        let stamps: Vec<Stamp> = (0..3).map(|nth| Stamp::new(redis, &format!("stamp-{caller}-{nth}"))).collect();
        assert!(stamps[0].owns(&redis.call(stamps[0].call()).await.expect("a call")));
        let replies = redis.call_all(stamps.iter().map(Stamp::call)).await.expect("a pipeline");
        for (stamp, reply) in stamps.iter().zip(replies) {
            assert!(stamp.owns(&reply.expect("a call")));
        }
        calls.set(calls.get() + 4);
    };
    let flushing = async {
        let mut flushes = 0;
        while calls.get() < 2_000 || flushes < 100 {
            let _: String = app.redis().command(&["SCRIPT", "FLUSH"]);
            flushes += 1;
            tokio::task::yield_now().await;
        }
    };
    under_load(8, call, flushing).await;
}

/// Polls a call a few times and drops it unless it has finished.
async fn cancelled_after<T>(polls: u32, call: impl Future<Output = T>) -> Option<T> {
    let mut call = pin!(call);
    for _ in 0..polls {
        let polled = std::future::poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx))).await;
        if let Poll::Ready(reply) = polled {
            return Some(reply);
        }
        tokio::task::yield_now().await;
    }
    None
}

/// A read and a script call whose replies contain their key.
async fn read_and_call(redis: &Redis, key: &str) -> Result<(), RedisFault> {
    if let Some(reply) = get(redis, key).await? {
        assert_eq!(reply, format!("value of {key}"), "another caller's reply");
    }
    let stamp = Stamp::new(redis, key);
    let reply = redis.call(stamp.call()).await?;
    assert!(stamp.owns(&reply), "{key} got the reply {reply:?}");
    Ok(())
}

async fn cancel_many(app: &TestApp, disturb: impl Future<Output = ()>) {
    let redis = app.state();
    let mut state: u32 = 1;
    let mut random = move |below: u32| {
        // Numerical Recipes' linear congruential generator: the same calls are cancelled at the same points each time.
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 16) % below
    };
    let cancellations = async {
        let (mut cancelled, mut finished) = (0, 0);
        for batch in 0..200 {
            let calls: Vec<_> = (0..50)
                .map(|nth| {
                    let polls = random(12);
                    async move { cancelled_after(polls, read_and_call(redis, &format!("key-{batch}-{nth}"))).await }
                })
                .collect();
            for call in join_all(calls).await {
                if call.is_some() {
                    finished += 1;
                } else {
                    cancelled += 1;
                }
            }
        }
        assert_eq!(cancelled + finished, 10_000);
        // How often a call is polled before its reply is there depends on the machine.
        assert!(cancelled > 500, "too few calls were cancelled: {cancelled}");
    };
    tokio::join!(cancellations, disturb);
    eventually("calls succeed", async || read_and_call(redis, "probe").await.is_ok()).await;
    for nth in 0..2_000 {
        read_and_call(redis, &format!("key-{}-{}", nth % 200, nth % 50)).await.expect("a reply");
    }
}

#[tokio::test]
async fn ten_thousand_cancelled_calls_mix_up_no_reply() {
    let app = TestApp::spawn().await;
    let id = async || -> i64 { app.state().query(redis::cmd("CLIENT").arg("ID"), Effect::Read).await.expect("an id") };
    let before = id().await;
    cancel_many(&app, async {}).await;
    assert_eq!(id().await, before, "a cancelled call closed the connection");
}

#[tokio::test]
async fn ten_thousand_cancelled_calls_mix_up_no_reply_on_an_unreliable_connection() {
    let app = TestApp::builder().behind_proxy().spawn().await;
    let disturb = async {
        for round in 0..30 {
            pause(5).await;
            if round % 10 == 9 {
                app.proxy().cut();
            } else {
                app.proxy().stall();
            }
            pause(5).await;
            app.proxy().heal();
        }
    };
    let started = Instant::now();
    cancel_many(&app, disturb).await;
    assert!(started.elapsed() < Duration::from_secs(30));
}
