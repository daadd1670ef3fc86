//! Faults under load: what many callers at once see, and that nobody ever sees another one's answer.

use std::cell::Cell;
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use gridtokenx_redis::redis::{Effect, FaultKind, Outcome, Redis, RedisFault};

use crate::support::facade::{Ledger, Stamp, get, set};
use crate::support::{TestApp, eventually};

/// Callers that ask one after the other until `done`, and something that disturbs them meanwhile.
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
    // The load is paced: its schedule is what is tested.
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

#[tokio::test]
async fn killed_connections_cost_reads_nothing_and_writes_their_certainty_at_most() {
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
        assert_eq!(read.as_deref(), Some(key.as_str()), "another caller's answer");
        match ledger.write(redis).await {
            Ok(_) | Err(RedisFault { kind: FaultKind::ConnectionLost, outcome: Outcome::Unknown, .. }) => {}
            Err(fault) => panic!("a write failed otherwise: {}", fault.with_causes()),
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
    assert!(acknowledged > 1_000, "hardly any load: {acknowledged}");
}

#[tokio::test]
async fn flushed_scripts_are_nobodys_concern() {
    let app = TestApp::spawn().await;
    let redis = app.state();
    let calls = Cell::new(0);
    let call = async |caller: usize| {
        let stamps: Vec<Stamp> = (0..3).map(|nth| Stamp::new(redis, &format!("stamp-{caller}-{nth}"))).collect();
        assert!(stamps[0].owns(&redis.call(stamps[0].call()).await.expect("a call")));
        let answers = redis.call_all(stamps.iter().map(Stamp::call)).await.expect("an exchange");
        for (stamp, answer) in stamps.iter().zip(answers) {
            assert!(stamp.owns(&answer.expect("a call")));
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

/// Polls a call a few times and drops it unless it has ended.
async fn cancelled_after<T>(polls: u32, call: impl Future<Output = T>) -> Option<T> {
    let mut call = pin!(call);
    for _ in 0..polls {
        let polled = std::future::poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx))).await;
        if let Poll::Ready(answer) = polled {
            return Some(answer);
        }
        tokio::task::yield_now().await;
    }
    None
}

/// A read and a script, each of which names its key in its answer.
async fn ask(redis: &Redis, key: &str) -> Result<(), RedisFault> {
    if let Some(answer) = get(redis, key).await? {
        assert_eq!(answer, format!("value of {key}"), "another caller's answer");
    }
    let stamp = Stamp::new(redis, key);
    let answer = redis.call(stamp.call()).await?;
    assert!(stamp.owns(&answer), "{key} was answered {answer:?}");
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
    let cancelling = async {
        let (mut cancelled, mut ended) = (0, 0);
        for batch in 0..200 {
            let calls: Vec<_> = (0..50)
                .map(|nth| {
                    let polls = random(12);
                    async move { cancelled_after(polls, ask(redis, &format!("key-{batch}-{nth}"))).await }
                })
                .collect();
            for call in join_all(calls).await {
                if call.is_some() {
                    ended += 1;
                } else {
                    cancelled += 1;
                }
            }
        }
        assert_eq!(cancelled + ended, 10_000);
        assert!(cancelled > 2_000, "hardly any call was cancelled: {cancelled}");
    };
    tokio::join!(cancelling, disturb);
    eventually("calls are answered", async || ask(redis, "probe").await.is_ok()).await;
    for nth in 0..2_000 {
        ask(redis, &format!("key-{}-{}", nth % 200, nth % 50)).await.expect("an answer");
    }
}

#[tokio::test]
async fn ten_thousand_cancelled_calls_mix_up_no_reply() {
    let app = TestApp::spawn().await;
    let id = async || -> i64 { app.state().query(redis::cmd("CLIENT").arg("ID"), Effect::Read).await.expect("an id") };
    let before = id().await;
    cancel_many(&app, async {}).await;
    assert_eq!(id().await, before, "a cancelled call has cost the connection");
}

#[tokio::test]
async fn ten_thousand_cancelled_calls_mix_up_no_reply_while_the_road_stalls_and_breaks() {
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
