//! Many writers, and many consumers that are killed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{append_numbers, event, items, put_group, settle, versions};
use crate::support::{Cluster, Reply, TestApp, TestAppBuilder};

/// Appends `count` events in each of 16 writers with `expected_version`, and checks the versions.
async fn append_together(builder: TestAppBuilder, count: u64) {
    const WRITERS: u64 = 16;
    let app = builder.system_clock().spawn().await;
    let (begun, conflicts) = (Instant::now(), AtomicU32::new(0));
    let writers = (0..WRITERS).map(|writer| {
        let (app, conflicts) = (&app, &conflicts);
        async move {
            let (mut known, mut own) = (0, Vec::new());
            while own.len() < usize::try_from(count).expect("few") {
                let number = writer * count + u64::try_from(own.len()).expect("few");
                let mut event = event(number);
                event["id"] = json!(number.to_string());
                let body = json!({ "events": [event], "expected_version": known });
                let reply = app.post("/streams/orders/events", body).await;
                if reply.is(201) {
                    known = reply.json()["version"].as_u64().expect("a version");
                    own.push((known, number));
                } else if !is_unavailable(&reply) {
                    conflicts.fetch_add(1, Ordering::Relaxed);
                    let problem = reply.expect_problem(409, "version-conflict");
                    known = problem["current_version"].as_u64().expect("a version");
                }
            }
            own
        }
    });
    let appended: BTreeMap<u64, u64> = futures_util::future::join_all(writers).await.into_iter().flatten().collect();
    let all = WRITERS * count;
    assert!(appended.keys().copied().eq(1..=all), "no version is missing or was given twice");
    let (mut next, mut cursor) = (1, String::new());
    loop {
        let page = app.get(&format!("/streams/orders/events?limit=1000{cursor}")).await.expect(200).json();
        for item in items(&page) {
            assert_eq!((item["version"].as_u64(), &item["data"]["number"]), (Some(next), &json!(appended[&next])));
            next += 1;
        }
        let Some(after) = page["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={after}");
    }
    assert_eq!(next, all + 1);
    let conflicts = conflicts.into_inner();
    println!("{all} appends and {conflicts} conflicts of {WRITERS} writers took {:?}", begun.elapsed());
}

#[tokio::test]
async fn sixteen_writers_give_every_version_once() {
    append_together(TestApp::builder(), 60).await;
}

#[tokio::test]
async fn sixteen_writers_give_every_version_once_on_a_cluster() {
    let cluster = Cluster::start().await;
    append_together(TestApp::builder().config(&cluster.config()), 20).await;
}

#[tokio::test]
#[ignore = "takes minutes: make loss-check"]
async fn sixteen_writers_give_every_version_once_in_sixteen_thousand_appends() {
    append_together(TestApp::builder(), 1_000).await;
}

#[tokio::test]
async fn streams_work_on_every_node_of_a_cluster() {
    let cluster = Cluster::start().await;
    let app = TestApp::builder().config(&cluster.config()).spawn().await;
    for number in 0..12 {
        let stream = format!("orders:{number}");
        append_numbers(&app, &stream, 1..=3).await;
        app.put(&format!("/streams/{stream}/groups/g"), json!({})).await.expect(201);
        let path = format!("/streams/{stream}/groups/g");
        let claimed =
            app.post(&format!("{path}/claim"), json!({ "consumer": "c", "count": 2 })).await.expect(200).json();
        assert_eq!(versions(&claimed["items"]), [1, 2]);
        let receipts: Vec<_> = items(&claimed).iter().map(|item| item["receipt"].clone()).collect();
        app.post(&format!("{path}/ack"), json!({ "receipts": receipts })).await.expect(200);
        assert_eq!(app.get(&path).await.expect(200).json()["lag"], 1);
    }
    assert_eq!(items(&app.get("/streams").await.expect(200).json()).len(), 12);
    app.delete("/streams/orders:0").await.expect(204);
    assert_eq!(items(&app.get("/streams").await.expect(200).json()).len(), 11);
}

/// Work that consumers do, and what they know about it. One that is killed may not learn that its acknowledgement counts.
#[derive(Default)]
struct Work {
    /// How often each event was handled.
    handled: Mutex<BTreeMap<u64, u32>>,
    /// The newest delivery of each event.
    newest: Mutex<BTreeMap<u64, u64>>,
    /// The events whose acknowledgement was confirmed.
    done: Mutex<BTreeSet<u64>>,
    is_over: AtomicBool,
}

/// Handles `count` events with 8 consumers that are killed at random, over two replicas.
async fn handle_all(app: &TestApp, other: &TestApp, count: u64) {
    append_numbers(app, "orders", 1..=count).await;
    put_group(app, "billing", json!({ "ack_timeout_ms": 500, "max_deliveries": 1_000 })).await;
    let work = Work::default();
    let begun = Instant::now();
    let consumers = (0..8_u64).map(|number| {
        let (work, app) = (&work, if number % 2 == 0 { app } else { other });
        async move {
            let mut round = number;
            while !work.is_over.load(Ordering::SeqCst) {
                assert!(begun.elapsed() < Duration::from_secs(300), "the events are not handled in time");
                round = round.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                // Some are killed while they claim, some before they acknowledge, and some while they do.
                let fate = (round >> 33) % 10;
                let consumer = format!("c{number}-{round}");
                let life = Duration::from_millis(if fate < 2 { 1 + (round >> 40) % 4 } else { 10_000 });
                let one_life = async {
                    let request = json!({ "consumer": consumer, "count": 1 + (round >> 20) % 50, "wait_ms": 200 });
                    let reply = app.post("/streams/orders/groups/billing/claim", request).await;
                    if is_unavailable(&reply) {
                        return;
                    }
                    let claimed = items(&reply.expect(200).json());
                    for item in &claimed {
                        let version = item["event"]["version"].as_u64().expect("a version");
                        let deliveries = item["deliveries"].as_u64().expect("a number");
                        let mut newest = work.newest.lock().expect("a lock");
                        newest.entry(version).and_modify(|known| *known = deliveries.max(*known)).or_insert(deliveries);
                        *work.handled.lock().expect("a lock").entry(version).or_default() += 1;
                    }
                    if claimed.is_empty() {
                        let group = app.get("/streams/orders/groups/billing").await;
                        work.is_over.fetch_or(group.is(200) && group.json()["lag"] == 0, Ordering::SeqCst);
                        return;
                    }
                    if fate == 2 {
                        return;
                    }
                    if fate == 3 {
                        // It pauses for longer than the timeout, so others have its events.
                        tokio::time::sleep(Duration::from_millis(700)).await;
                    }
                    acknowledge(app, work, &claimed).await;
                };
                let _ = tokio::time::timeout(life, one_life).await;
            }
        }
    });
    futures_util::future::join_all(consumers).await;
    let handled = std::mem::take(&mut *work.handled.lock().expect("a lock"));
    let (deliveries, again) = (handled.values().sum::<u32>(), handled.values().filter(|times| **times > 1).count());
    println!("{count} events, {deliveries} deliveries, {again} events more than once, in {:?}", begun.elapsed());
    assert!(handled.keys().copied().eq(1..=count), "every event is handled at least once");
    assert!(handled.values().any(|times| *times > 1), "the consumers of this test lose no event: it proves nothing");
    let group = app.get("/streams/orders/groups/billing").await.expect(200).json();
    assert_eq!((&group["lag"], &group["dead"], &group["lost"]), (&json!(0), &json!(0), &json!(0)), "{group}");
}

/// Whether the machine was too busy for Redis to answer in time: the client sends the request again.
fn is_unavailable(reply: &Reply) -> bool {
    reply.is(503) || reply.is(504)
}

async fn two_replicas() -> (TestApp, TestApp) {
    let app = TestApp::builder().system_clock().spawn().await;
    let other = TestApp::builder().beside(&app).system_clock().spawn().await;
    (app, other)
}

async fn acknowledge(app: &TestApp, work: &Work, claimed: &[Value]) {
    // The events that others are known to have before the acknowledgement is sent.
    let newest = work.newest.lock().expect("a lock").clone();
    let reply = settle(app, "billing", "ack", claimed, json!({})).await;
    let stale: BTreeSet<String> = if reply.is(200) {
        let stale = reply.json()["stale"].as_array().expect("a list").clone();
        stale.iter().map(|receipt| receipt.as_str().expect("text").to_owned()).collect()
    } else {
        if !is_unavailable(&reply) {
            reply.expect_problem(409, "receipt-stale");
        }
        return;
    };
    for item in claimed.iter().filter(|item| !stale.contains(item["receipt"].as_str().expect("text"))) {
        let version = item["event"]["version"].as_u64().expect("a version");
        let is_newest = item["deliveries"].as_u64() >= newest.get(&version).copied();
        assert!(is_newest, "event {version} was acknowledged by a consumer that had lost it");
        // Only one delivery of an event is acknowledged.
        assert!(work.done.lock().expect("a lock").insert(version), "event {version} was acknowledged twice");
    }
}

#[tokio::test]
async fn events_are_handled_although_consumers_are_killed() {
    let (app, other) = two_replicas().await;
    handle_all(&app, &other, 1_500).await;
}

#[tokio::test]
async fn events_are_handled_on_a_cluster_although_consumers_are_killed() {
    let cluster = Cluster::start().await;
    let replica = async || TestApp::builder().config(&cluster.config()).system_clock().spawn().await;
    handle_all(&replica().await, &replica().await, 500).await;
}

#[tokio::test]
#[ignore = "takes minutes: make loss-check"]
async fn twenty_thousand_events_are_handled_although_consumers_are_killed() {
    let (app, other) = two_replicas().await;
    handle_all(&app, &other, 20_000).await;
}
