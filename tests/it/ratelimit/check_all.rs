//! Checks of several limits: all or nothing.

use futures_util::future::join_all;
use serde_json::{Value, json};

use super::limits::{check, limiter, states};
use crate::support::{Cluster, TestApp, eventually};

/// One limiter of each kind, all with a limit of 100 and windows that are longer than any test.
fn five_limiters() -> String {
    [
        ("gcra", "strategy = { kind = \"gcra\", limit = 100, period = \"12h\" }"),
        ("bucket", "strategy = { kind = \"token_bucket\", capacity = 100, refill_per_second = 0.001 }"),
        ("fixed", "strategy = { kind = \"fixed_window\", limit = 100, calendar = \"month\", zone = \"Asia/Bangkok\" }"),
        ("sliding", "strategy = { kind = \"sliding_window\", limit = 100, window = \"12h\" }"),
        ("backoff", "strategy = { kind = \"exponential_backoff\", limit = 100, window = \"12h\", factor = 2, maximum = \"1d\" }"),
    ]
    .map(|(name, settings)| limiter(name, settings))
    .concat()
}

const KINDS: [&str; 5] = ["gcra", "bucket", "fixed", "sliding", "backoff"];

fn checks(limiters: &[&str], key: &str, costs: &[u64]) -> Value {
    let checks =
        limiters.iter().zip(costs).map(|(limiter, cost)| json!({ "limiter": limiter, "key": key, "cost": cost }));
    json!({ "checks": checks.collect::<Vec<_>>() })
}

async fn remaining(app: &TestApp, limiter: &str, key: &str) -> u64 {
    app.get(&format!("/ratelimit/{limiter}/{key}")).await.expect(200).json()["remaining"].as_u64().expect("a number")
}

/// The key and the value of every state.
fn contents(app: &TestApp) -> Vec<(String, Option<Vec<u8>>)> {
    states(app).into_iter().map(|key| (key.clone(), app.redis().command(&["GET", &key]))).collect()
}

#[tokio::test]
async fn a_call_takes_the_costs_of_all_strategies() {
    let app = TestApp::builder().config(&five_limiters()).spawn().await;
    let answer = app.post("/ratelimit/check-all", checks(&KINDS, "k", &[1, 2, 3, 4, 5])).await.expect(200).json();
    assert_eq!(answer["allowed"], true, "{answer}");
    for (nth, (limiter, left)) in KINDS.iter().zip([99, 98, 97, 96, 95]).enumerate() {
        assert_eq!(answer["results"][nth]["remaining"], left, "{limiter}: {answer}");
        assert_eq!(remaining(&app, limiter, "k").await, left, "{limiter}");
    }
}

#[tokio::test]
async fn a_refusal_by_one_limit_changes_no_key() {
    let app = TestApp::builder().config(&five_limiters()).spawn().await;
    for full in KINDS.iter().filter(|kind| **kind != "backoff") {
        let fill = json!({ "limiter": full, "key": full, "cost": 100 });
        app.post("/ratelimit/check", fill).await.expect(200);
        let before = contents(&app);
        let answer = app.post("/ratelimit/check-all", checks(&KINDS, full, &[1; 5])).await.expect(200).json();
        assert_eq!(answer["allowed"], false, "{full}: {answer}");
        for (nth, kind) in KINDS.iter().enumerate() {
            let result = &answer["results"][nth];
            assert_eq!(result["allowed"], json!(kind != full), "{full}: {answer}");
            assert_eq!(result["remaining"], if kind == full { 0 } else { 100 }, "{full}: {answer}");
        }
        assert_eq!(contents(&app), before, "{full}");
    }
}

#[tokio::test]
async fn a_violated_back_off_keeps_its_penalty_and_no_cost_is_taken() {
    let app = TestApp::builder().config(&five_limiters()).spawn().await;
    app.post("/ratelimit/check", json!({ "limiter": "backoff", "key": "k", "cost": 100 })).await.expect(200);
    let answer = app.post("/ratelimit/check-all", checks(&KINDS, "k", &[1; 5])).await.expect(200).json();
    assert_eq!(answer["results"][4]["retry_after_ms"], 12 * 3_600_000, "{answer}");
    assert_eq!(check(&app, "backoff", "k").await["retry_after_ms"], 12 * 3_600_000);
    assert_eq!(remaining(&app, "gcra", "k").await, 100);
}

#[tokio::test]
async fn concurrent_calls_take_exactly_the_granted_costs() {
    let limits = [60, 40, 80];
    let settings: String = limits
        .iter()
        .zip(["gcra", "sliding", "fixed"])
        .map(|(limit, name)| {
            let strategy = match name {
                "gcra" => format!("{{ kind = \"gcra\", limit = {limit}, period = \"300d\" }}"),
                "sliding" => format!("{{ kind = \"sliding_window\", limit = {limit}, window = \"1d\" }}"),
                _ => format!("{{ kind = \"fixed_window\", limit = {limit}, calendar = \"month\", zone = \"UTC\" }}"),
            };
            limiter(name, &format!("strategy = {strategy}"))
        })
        .collect();
    let one = TestApp::builder().config(&settings).system_clock().spawn().await;
    let two = TestApp::builder().config(&settings).system_clock().beside(&one).spawn().await;
    let costs = [1, 2, 3];
    let body = checks(&["gcra", "sliding", "fixed"], "k", &costs);
    let calls = (0..500).map(|nth| {
        let app = if nth % 2 == 0 { &one } else { &two };
        app.post("/ratelimit/check-all", body.clone())
    });
    let replies = join_all(calls).await;
    let granted = replies.into_iter().filter(|reply| reply.json()["allowed"] == true).count() as u64;
    assert_eq!(granted, 20, "the smallest limit allows 40, and each call costs 2");
    for ((limiter, limit), cost) in ["gcra", "sliding", "fixed"].iter().zip(limits).zip(costs) {
        assert_eq!(remaining(&one, limiter, "k").await, limit - granted * cost, "{limiter}");
    }
}

#[tokio::test]
async fn on_a_cluster_all_keys_must_have_the_same_group() {
    let cluster = Cluster::start().await;
    let app = TestApp::builder().config(&format!("{}{}", five_limiters(), cluster.config())).spawn().await;
    for group in 0..8 {
        let key = format!("{{user-{group}}}:orders");
        let answer = app.post("/ratelimit/check-all", checks(&KINDS, &key, &[1; 5])).await.expect(200).json();
        assert_eq!(answer["allowed"], true, "{answer}");
        assert_eq!(remaining(&app, "fixed", &key).await, 99);
    }
    let stored = || -> usize { cluster.nodes.iter().map(|node| node.keys().len()).sum() };
    eventually("forty states and the indexes of five limiters are stored", async || stored() == 45).await;
    for keys in [["a", "b"], ["{g}a", "b"], ["{g}a", "{h}a"]] {
        let apart =
            json!({ "checks": [{ "limiter": "gcra", "key": keys[0] }, { "limiter": "fixed", "key": keys[1] }] });
        let problem = app.post("/ratelimit/check-all", apart).await.expect_problem(422, "checks-apart");
        assert_eq!(problem["outcome"], "not_applied", "{problem}");
    }
    assert_eq!(stored(), 45);
    // One check needs no group.
    assert_eq!(check(&app, "sliding", "alone").await["allowed"], true);
}
