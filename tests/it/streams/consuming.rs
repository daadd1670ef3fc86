//! Claims, receipts and their ends.

use std::time::Duration;

use serde_json::json;

use super::{append_numbers, claim, event, items, put_group, settle, versions};
use crate::support::TestApp;

/// A stream `orders` of ten events with a group `billing`.
async fn ten() -> TestApp {
    let app = TestApp::spawn().await;
    append_numbers(&app, "orders", 1..=10).await;
    put_group(&app, "billing", json!({ "ack_timeout_ms": 10_000, "max_deliveries": 3 })).await;
    app
}

#[tokio::test]
async fn events_are_shared_and_acknowledged() {
    let app = ten().await;
    let one = claim(&app, "billing", json!({ "consumer": "one", "count": 4 })).await;
    let two = claim(&app, "billing", json!({ "consumer": "two", "count": 100 })).await;
    assert_eq!((versions(&one["items"]), versions(&two["items"])), (vec![1, 2, 3, 4], (5..=10).collect()));
    assert_eq!((&one["lag"], &two["lag"], &one["items"][0]["deliveries"]), (&json!(10), &json!(10), &json!(1)));
    assert_eq!(one["items"][0]["event"]["data"], event(1)["data"]);
    let reply = settle(&app, "billing", "ack", &items(&one), json!({})).await.expect(200).json();
    assert_eq!(reply, json!({ "settled": 4, "stale": [] }));
    let group = app.get("/streams/orders/groups/billing").await.expect(200).json();
    for (field, number) in [("cursor", 10), ("lag", 6), ("pending", 6), ("dead", 0), ("lost", 0)] {
        assert_eq!(group[field], number, "{field}: {group}");
    }
    let nothing = claim(&app, "billing", json!({ "consumer": "one" })).await;
    assert_eq!((versions(&nothing["items"]), &nothing["lag"]), (vec![], &json!(6)));
}

#[tokio::test]
async fn a_consumer_that_lost_an_event_cannot_acknowledge_it() {
    let app = ten().await;
    let first = items(&claim(&app, "billing", json!({ "consumer": "slow", "count": 2 })).await);
    app.clock().advance(Duration::from_secs(10));
    let second = items(&claim(&app, "billing", json!({ "consumer": "fast", "count": 1 })).await);
    assert_eq!((&second[0]["event"]["version"], &second[0]["deliveries"]), (&json!(1), &json!(2)));
    // The second event has timed out as well, but nobody else has it.
    let reply = settle(&app, "billing", "ack", &first, json!({})).await.expect(200).json();
    assert_eq!(reply, json!({ "settled": 1, "stale": [first[0]["receipt"]] }));
    for verb in ["ack", "nack", "extend"] {
        let stale = settle(&app, "billing", verb, &first, json!({})).await;
        let problem = stale.expect_problem(409, "receipt-stale");
        assert_eq!(problem["outcome"], "not_applied", "{problem}");
    }
    settle(&app, "billing", "ack", &second, json!({})).await.expect(200);
    // An acknowledgement that is repeated finds nothing.
    settle(&app, "billing", "ack", &second, json!({})).await.expect_problem(409, "receipt-stale");
}

#[tokio::test]
async fn a_returned_event_comes_again_after_its_delay() {
    let app = ten().await;
    let claimed = items(&claim(&app, "billing", json!({ "consumer": "a", "count": 10 })).await);
    settle(&app, "billing", "nack", &claimed[..1], json!({ "delay_ms": 60_000 })).await.expect(200);
    settle(&app, "billing", "nack", &claimed[1..2], json!({})).await.expect(200);
    settle(&app, "billing", "nack", &claimed[1..2], json!({})).await.expect_problem(409, "receipt-stale");
    let again = items(&claim(&app, "billing", json!({ "consumer": "b", "count": 10 })).await);
    assert_eq!((versions(&json!(again)), &again[0]["deliveries"]), (vec![2], &json!(2)));
    settle(&app, "billing", "ack", &claimed[2..], json!({})).await.expect(200);
    settle(&app, "billing", "ack", &again, json!({})).await.expect(200);
    app.clock().advance(Duration::from_millis(59_999));
    assert_eq!(claim(&app, "billing", json!({ "consumer": "b" })).await["items"], json!([]));
    app.clock().advance(Duration::from_millis(1));
    assert_eq!(versions(&claim(&app, "billing", json!({ "consumer": "b" })).await["items"]), [1]);
}

#[tokio::test]
async fn an_extended_event_is_held_for_another_timeout() {
    let app = ten().await;
    let claimed = items(&claim(&app, "billing", json!({ "consumer": "a", "count": 10 })).await);
    app.clock().advance(Duration::from_secs(9));
    settle(&app, "billing", "extend", &claimed[..1], json!({})).await.expect(200);
    app.clock().advance(Duration::from_secs(5));
    let again = claim(&app, "billing", json!({ "consumer": "b", "count": 10 })).await;
    assert_eq!(versions(&again["items"]), (2..=10).collect::<Vec<_>>());
    settle(&app, "billing", "ack", &claimed[..1], json!({})).await.expect(200);
}

#[tokio::test]
async fn an_event_that_is_delivered_too_often_is_a_dead_letter_until_it_is_redriven() {
    let app = ten().await;
    for deliveries in 1..=3 {
        let claimed = claim(&app, "billing", json!({ "consumer": "bad", "count": 2 })).await;
        assert_eq!(claimed["items"][1]["deliveries"], deliveries, "{claimed}");
        app.clock().advance(Duration::from_secs(10));
    }
    let claimed = claim(&app, "billing", json!({ "consumer": "good", "count": 100 })).await;
    assert_eq!((versions(&claimed["items"]), &claimed["dead"]), ((3..=10).collect(), &json!(2)));
    let first = app.get("/streams/orders/groups/billing/dead-letters?limit=1").await.expect(200).json();
    let letter = &first["items"][0];
    assert_eq!((&letter["version"], &letter["deliveries"], &letter["consumer"]), (&json!(1), &json!(3), &json!("bad")));
    assert_eq!(letter["event"]["data"], event(1)["data"]);
    let path = "/streams/orders/groups/billing/dead-letters?cursor=1";
    let rest = app.get(path).await.expect(200).json();
    assert_eq!((versions(&rest["items"]), &rest["next_cursor"]), (vec![2], &json!(null)));
    let redrive = "/streams/orders/groups/billing/dead-letters/redrive";
    let done = app.post(redrive, json!({ "versions": [2, 77] })).await.expect(200).json();
    assert_eq!(done, json!({ "redriven": 1, "lost": 0 }));
    let again = claim(&app, "billing", json!({ "consumer": "good" })).await;
    assert_eq!((versions(&again["items"]), &again["items"][0]["deliveries"]), (vec![2], &json!(1)));
    let done = app.post(redrive, json!({})).await.expect(200).json();
    assert_eq!(done["redriven"], 1, "{done}");
    assert_eq!(versions(&claim(&app, "billing", json!({ "consumer": "good" })).await["items"]), [1]);
    assert_eq!(app.get("/streams/orders/groups/billing").await.json()["dead"], 0);
}

#[tokio::test]
async fn a_replay_makes_receipts_stale_and_begins_again() {
    let app = ten().await;
    let before = items(&claim(&app, "billing", json!({ "consumer": "a", "count": 5 })).await);
    settle(&app, "billing", "ack", &before[..3], json!({})).await.expect(200);
    let replay = "/streams/orders/groups/billing/replay";
    let group = app.post(replay, json!({ "from_version": 2 })).await.expect(200).json();
    assert_eq!((&group["cursor"], &group["lag"], &group["pending"]), (&json!(1), &json!(9), &json!(0)), "{group}");
    settle(&app, "billing", "ack", &before[3..], json!({})).await.expect_problem(409, "receipt-stale");
    let again = items(&claim(&app, "billing", json!({ "consumer": "b", "count": 100 })).await);
    assert_eq!(versions(&json!(again)), (2..=10).collect::<Vec<_>>());
    // The deliveries begin again, but the receipts differ from those before the replay.
    settle(&app, "billing", "ack", &before[3..], json!({})).await.expect_problem(409, "receipt-stale");
    settle(&app, "billing", "ack", &again, json!({})).await.expect(200);
    app.post(replay, json!({ "from_version": 99 })).await.expect(200);
    assert_eq!(claim(&app, "billing", json!({ "consumer": "b" })).await["lag"], 0);
}

#[tokio::test]
async fn invalid_calls_of_consumers_are_refused_by_name() {
    let app = ten().await;
    let group = "/streams/orders/groups/billing";
    let many: Vec<_> = (1..=101).map(|number| format!("{number}-1")).collect();
    for (verb, body, pointer) in [
        ("claim", json!({}), "/consumer"),
        ("claim", json!({ "consumer": "a b" }), "/consumer"),
        ("claim", json!({ "consumer": "a", "count": 0 }), "/count"),
        ("claim", json!({ "consumer": "a", "count": 101 }), "/count"),
        ("claim", json!({ "consumer": "a", "wait_ms": 30_001 }), "/wait_ms"),
        ("ack", json!({ "receipts": [] }), "/receipts"),
        ("ack", json!({ "receipts": many }), "/receipts"),
        ("ack", json!({ "receipts": ["7"] }), "/receipts/0"),
        ("ack", json!({ "receipts": ["07-1"] }), "/receipts/0"),
        ("nack", json!({ "receipts": ["1-1"], "delay_ms": 86_400_001 }), "/delay_ms"),
        ("extend", json!({ "receipts": ["1-1"], "delay_ms": 1 }), "/delay_ms"),
        ("replay", json!({ "from_version": 0 }), "/from_version"),
        ("dead-letters/redrive", json!({ "versions": [] }), "/versions"),
        ("dead-letters/redrive", json!({ "versions": [0] }), "/versions"),
    ] {
        let problem = app.post(&format!("{group}/{verb}"), body.clone()).await.expect_problem(422, "invalid-body");
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{verb} {body}: {problem}");
    }
    for path in [
        "/streams/orders/groups/none/claim",
        "/streams/orders/groups/none/ack",
        "/streams/orders/groups/none/nack",
        "/streams/orders/groups/none/extend",
    ] {
        let is_claim = path.ends_with("claim");
        let body = if is_claim { json!({ "consumer": "a" }) } else { json!({ "receipts": ["1-1"] }) };
        app.post(path, body.clone()).await.expect_problem(404, "group-not-found");
        let unknown = path.replace("/orders/", "/none/");
        app.post(&unknown, body).await.expect_problem(404, "stream-not-found");
    }
    settle(&app, "billing", "ack", &[json!({ "receipt": "1-1" })], json!({}))
        .await
        .expect_problem(409, "receipt-stale");
}
