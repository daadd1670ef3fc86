//! Reservations that are settled after their rule was changed, or after Redis's clock was set back.

use std::time::Duration;

use serde_json::{Value, json};

use super::reservations::settle;
use super::rule_changes::{bucket, reload, remaining, rule, take};
use crate::support::TestApp;

const SLIDING: &str = "kind = \"sliding_window\", limit = 100, window = \"1h\"";
const HOUR: &str = "kind = \"fixed_window\", limit = 100, window = \"1h\"";

async fn reserve(app: &TestApp, body: &Value) -> String {
    let reserved = app.post("/ratelimit/reserve", body.clone()).await.expect(200).json();
    reserved["reservation"].as_str().unwrap_or_else(|| panic!("no reservation: {reserved}")).to_owned()
}

#[tokio::test]
async fn what_was_reserved_can_be_settled_after_the_limit_was_lowered() {
    for (before, after) in
        [(bucket(1_000, 1), bucket(10, 1)), (SLIDING.replace("100", "1000"), SLIDING.replace("100", "10"))]
    {
        let app = TestApp::builder().config(&rule(&before)).spawn().await;
        let id = reserve(&app, &json!({ "limiter": "l", "key": "k", "cost": 500 })).await;
        reload(&app, &after).await;
        settle(&app, &id, 501).await.expect_violation(422, "invalid-body", "/cost");
        settle(&app, &id, 500).await.expect(200);
        settle(&app, &id, 500).await.expect_problem(404, "unknown-reservation");
    }
}

#[tokio::test]
async fn a_settlement_under_another_kind_of_strategy_takes_only_what_was_not_reserved() {
    let bucket = || bucket(100, 1);
    for (before, after) in [
        (SLIDING.to_owned(), bucket()),
        (HOUR.to_owned(), bucket()),
        (bucket(), SLIDING.to_owned()),
        (bucket(), HOUR.to_owned()),
        (SLIDING.to_owned(), HOUR.to_owned()),
        (HOUR.to_owned(), SLIDING.to_owned()),
    ] {
        for (used, left) in [(50, 99), (10, 99), (60, 89)] {
            let app = TestApp::builder().config(&rule(&before)).spawn().await;
            app.clock().advance(Duration::from_secs(7));
            let id = reserve(&app, &json!({ "limiter": "l", "key": "k", "cost": 50 })).await;
            reload(&app, &after).await;
            // The new strategy starts from zero.
            take(&app, 1).await;
            let settled = settle(&app, &id, used).await.expect(200).json();
            assert_eq!(settled["remaining"], left, "{before} to {after}: {used}");
        }
    }
}

#[tokio::test]
async fn reservations_follow_a_clock_that_is_set_back() {
    let three = "kind = \"sliding_window\", limit = 3, window = \"10s\"";
    let day = "kind = \"fixed_window\", limit = 3, calendar = \"day\", zone = \"Asia/Bangkok\"";
    // The day has not ended by the corrected clock, so only the ends of the reservations show that it was set back.
    for kind in [three.to_owned(), three.replace("sliding", "fixed"), bucket(3, 1), day.to_owned()] {
        // The clock is set back before the settlement; in the second round another call notices it first.
        for calls in [0, 1] {
            let ahead = TestApp::builder().config(&rule(&kind)).spawn().await;
            ahead.clock().advance(Duration::from_secs(3_600));
            let id = reserve(&ahead, &json!({ "limiter": "l", "key": "k", "cost": 2 })).await;
            let abandoned = reserve(&ahead, &json!({ "limiter": "l", "key": "k", "hold_ms": 1_000 })).await;
            let app = TestApp::builder().config(&rule(&kind)).beside(&ahead).spawn().await;
            for _ in 0..calls {
                assert_eq!(take(&app, 1).await["allowed"], false, "{kind}");
                app.clock().advance(Duration::from_millis(100));
            }
            assert_eq!(settle(&app, &id, 0).await.expect(200).json()["remaining"], 2, "{kind}");
            // At the latest it ends after the limiter's maximum.
            app.clock().advance(Duration::from_secs(30));
            assert_eq!(remaining(&app).await, 3, "{kind}");
            settle(&app, &abandoned, 1).await.expect_problem(404, "unknown-reservation");
        }
    }
}
