use axum::body::Body;
use axum::http::Method;
use serde_json::{Value, json};

use super::{limits, run};
use crate::support::{TestApp, eventually};

const DAY: std::time::Duration = std::time::Duration::from_secs(86_400);

async fn runs(app: &TestApp, task: &str) -> Vec<Value> {
    let list = app.get(&format!("/warming/tasks/{task}/runs")).await.expect(200).json();
    list["items"].as_array().cloned().expect("a list")
}

#[tokio::test]
async fn a_task_caches_its_values_before_they_are_requested() {
    let app = TestApp::spawn().await;
    let made =
        app.put("/warming/tasks/limits", limits(&json!({ "market:limits:north": { "max": 40 } }))).await.expect(200);
    assert_eq!(made.json()["configured"], false);
    eventually("the value is cached", async || app.get("/cache/market:limits:north").await.is(200)).await;
    assert_eq!(app.get("/cache/market:limits:north").await.text(), "{\"max\":40}");
    eventually("the run is recorded", async || runs(&app, "limits").await.len() == 1).await;
    let first = runs(&app, "limits").await.remove(0);
    assert_eq!((&first["result"], &first["new"], &first["kind"]), (&json!("succeeded"), &json!(1), &json!("full")));
    let id = first["id"].as_str().expect("an id");
    assert_eq!(app.get(&format!("/warming/runs/{id}")).await.expect(200).json(), first);
    let view = app.get("/warming/tasks/limits").await.expect(200).json();
    assert_eq!((&view["state"], &view["last_result"]), (&json!("idle"), &json!("succeeded")));
    // The history is also what a reader of the channel sees.
    let told = app.get("/pubsub/system:warming/history?limit=10").await.expect(200).text();
    assert!(told.contains(id), "{told}");
}

#[tokio::test]
async fn a_run_extends_what_is_unchanged_and_replaces_what_is_not() {
    let app = TestApp::spawn().await;
    let values = json!({ "market:limits:a": 1, "market:limits:b": 2 });
    app.put("/warming/tasks/limits", limits(&values)).await.expect(200);
    eventually("the values are cached", async || app.get("/cache/market:limits:b").await.is(200)).await;
    eventually("the run is recorded", async || runs(&app, "limits").await.len() == 1).await;
    app.redis().command::<i64>(&["PEXPIRE", "cache:market:limits:a", "60000"]);
    app.send(Method::PUT, "/cache/market:limits:b", &[("content-type", "application/json")], Body::from("3"))
        .await
        .expect(204);
    let record = run(&app, "limits", json!({ "dry_run": true })).await;
    assert_eq!((&record["changed"], &record["unchanged"], &record["dry_run"]), (&json!(1), &json!(1), &json!(true)));
    assert_eq!(record["keys"], json!(["market:limits:b"]));
    assert_eq!(app.get("/cache/market:limits:b").await.text(), "3", "a dry run writes nothing");
    let record = run(&app, "limits", json!({})).await;
    assert_eq!((&record["changed"], &record["unchanged"]), (&json!(1), &json!(1)));
    assert_eq!(app.get("/cache/market:limits:b").await.text(), "2");
    let left: i64 = app.redis().command(&["PTTL", "cache:market:limits:a"]);
    assert!((530_000..=600_000).contains(&left), "{left}");
    let record = run(&app, "limits", json!({ "keys": ["market:limits:a"] })).await;
    assert_eq!((&record["kind"], &record["fetched"]), (&json!("requested"), &json!(1)));
}

#[tokio::test]
async fn one_run_makes_up_for_a_week_of_missed_ones() {
    let app = TestApp::spawn().await;
    app.put("/warming/tasks/limits", limits(&json!({ "market:limits:a": 1 }))).await.expect(200);
    eventually("the first run", async || runs(&app, "limits").await.len() == 1).await;
    app.clock().advance(7 * DAY);
    eventually("the second run", async || runs(&app, "limits").await.len() == 2).await;
    // A request waits for its turn, so that a third run would be recorded before it.
    run(&app, "limits", json!({ "dry_run": true })).await;
    assert_eq!(runs(&app, "limits").await.len(), 3);
}

#[tokio::test]
async fn a_paused_task_runs_only_on_request_and_stays_paused_after_a_restart() {
    let app = TestApp::spawn().await;
    app.put("/warming/tasks/limits", limits(&json!({ "market:limits:a": 1 }))).await.expect(200);
    eventually("the first run", async || runs(&app, "limits").await.len() == 1).await;
    let paused = app.post("/warming/tasks/limits/pause", json!({})).await.expect(200).json();
    assert_eq!((&paused["state"], paused.get("next_run")), (&json!("paused"), None));
    app.clock().advance(DAY);
    let other = TestApp::builder().beside(&app).spawn().await;
    assert_eq!(other.get("/warming/tasks/limits").await.expect(200).json()["state"], "paused");
    assert_eq!(run(&other, "limits", json!({})).await["result"], "succeeded");
    assert_eq!(runs(&app, "limits").await.len(), 2);
    let resumed = app.post("/warming/tasks/limits/resume", json!({})).await.expect(200).json();
    assert_ne!(resumed["state"], "paused");
}

#[tokio::test]
async fn a_task_waits_for_those_that_it_follows() {
    let app = TestApp::spawn().await;
    app.put("/warming/tasks/first", limits(&json!({ "market:limits:a": 1 }))).await.expect(200);
    eventually("the first run", async || runs(&app, "first").await.len() == 1).await;
    app.post("/warming/tasks/first/pause", json!({})).await.expect(200);
    // Its success is too old by now.
    app.clock().advance(DAY);
    let mut second = limits(&json!({ "market:second:a": 1 }));
    (second["key"], second["after"]) = (json!("market:second:{zone}"), json!(["first"]));
    app.put("/warming/tasks/second", second.clone()).await.expect(200);
    assert_eq!(app.get("/warming/tasks/second").await.json()["state"], "waiting");
    app.post("/warming/tasks/first/resume", json!({})).await.expect(200);
    eventually("the second run", async || runs(&app, "second").await.len() == 1).await;
    let mut first = limits(&json!({ "market:limits:a": 1 }));
    first["after"] = json!(["second"]);
    let problem = app.put("/warming/tasks/first", first).await.expect_violation(422, "invalid-body", "/after");
    assert!(problem["detail"].as_str().is_some_and(|text| text.contains("first -> second -> first")), "{problem}");
}

#[tokio::test]
async fn a_wrong_definition_is_explained_and_not_stored() {
    let app = TestApp::spawn().await;
    let wrong = |field: &str, value: Value| {
        let mut task = limits(&json!({ "market:limits:a": 1 }));
        task[field] = value;
        task
    };
    for (task, pointer) in [
        (wrong("key", json!("secret:{id}")), "/key"),
        (wrong("key", json!("{id}")), "/key"),
        (wrong("key", json!("market:{id:float}")), "/key"),
        (wrong("key", json!("market:other:{id}")), "/values"),
        (wrong("source", json!("profiles")), "/source"),
        (wrong("ttl_ms", json!(0)), "/ttl_ms"),
        (wrong("ttl_ms", json!(999_999_999_999_u64)), "/ttl_ms"),
        (wrong("negative_ttl_ms", json!(60_001)), "/negative_ttl_ms"),
        (wrong("changes_ms", json!(5_000)), "/changes_ms"),
        (wrong("freshness_ms", json!(5_000)), "/freshness_ms"),
        (wrong("after", json!(["nobody"])), "/after"),
        (wrong("after", json!(["limits"])), "/after"),
        (wrong("attempts", json!(0)), "/attempts"),
        (wrong("tags", json!(["a,b"])), "/tags"),
        (wrong("keys", json!(["market:else:a"])), "/values"),
        (wrong("strategy", json!({ "kind": "scheduled" })), "/strategy"),
        (wrong("strategy", json!({ "kind": "scheduled", "at": "25:00" })), "/strategy"),
        (wrong("strategy", json!({ "kind": "scheduled", "at": "03:00", "time_zone": "Mars" })), "/strategy"),
        (wrong("strategy", json!({ "kind": "on_demand", "factor": 1.0, "trigger": 5 })), "/strategy"),
        (wrong("strategy", json!({ "kind": "access_pattern", "threshold": 0 })), "/strategy"),
        (wrong("url", json!("http://169.254.169.254/")), "/url"),
        (wrong("values", json!(null)), "/source"),
    ] {
        app.put("/warming/tasks/limits", task).await.expect_violation(422, "invalid-body", pointer);
    }
    app.put("/warming/tasks/Limits", limits(&json!({}))).await.expect_violation(422, "invalid-body", "/name");
    let mut unknown = limits(&json!(null));
    (unknown["source"], unknown["values"]) = (json!("SELECT 1"), json!(null));
    app.put("/warming/tasks/limits", unknown).await.expect_violation(422, "invalid-body", "/source");
    assert_eq!(app.redis().command::<i64>(&["EXISTS", "warming:{tasks}"]), 0);
    app.put("/warming/tasks/limits", limits(&json!({ "market:limits:a": 1 }))).await.expect(200);
    app.put("/warming/tasks/again", limits(&json!({ "market:limits:a": 2 }))).await.expect_violation(
        422,
        "invalid-body",
        "/key",
    );
    for (body, pointer) in [
        (json!({ "keys": ["market:other:a"] }), "/keys/0"),
        (json!({ "wait_ms": 30_001 }), "/wait_ms"),
        (json!({ "sql": "DROP TABLE users" }), "/sql"),
    ] {
        app.post("/warming/tasks/limits/run", body).await.expect_violation(422, "invalid-body", pointer);
    }
}

#[tokio::test]
async fn unknown_and_configured_tasks_are_told_apart() {
    let app = TestApp::spawn().await;
    app.get("/warming/tasks/none").await.expect_problem(404, "warming-task-not-found");
    app.post("/warming/tasks/none/pause", json!({})).await.expect_problem(404, "warming-task-not-found");
    app.get("/warming/runs/none.1").await.expect_problem(404, "warming-run-not-found");
    app.post("/warming/runs/none/stop", json!({})).await.expect_problem(404, "warming-run-not-found");
    app.delete("/warming/tasks/warm_user_profiles").await.expect_problem(409, "warming-task-configured");
    app.put("/warming/tasks/warm_user_profiles", limits(&json!({})))
        .await
        .expect_problem(409, "warming-task-configured");
    let list = app.get("/warming").await.expect(200).json();
    let items = list["items"].as_array().expect("a list");
    assert_eq!(items.len(), 6);
    assert!(items.iter().all(|task| task["state"] == "disabled" && task["configured"] == true), "{list}");
    app.put("/warming/tasks/limits", limits(&json!({ "market:limits:a": 1 }))).await.expect(200);
    app.delete("/warming/tasks/limits").await.expect(204);
    app.get("/warming/tasks/limits").await.expect_problem(404, "warming-task-not-found");
}

#[tokio::test]
async fn a_run_stops_between_two_batches() {
    let app = TestApp::builder().config("[warming]\ncpu_share = 1.0").spawn().await;
    let values: serde_json::Map<String, Value> =
        (0..1_000).map(|nth| (format!("market:limits:{nth:04}"), json!(nth))).collect();
    app.put("/warming/tasks/limits", limits(&Value::Object(values))).await.expect(200);
    let id = std::sync::Mutex::new(String::new());
    eventually("the run is in progress", async || {
        let view = app.get("/warming/tasks/limits").await.json();
        let running = view["run"]["id"].as_str().unwrap_or_default();
        running.clone_into(&mut id.lock().expect("the id"));
        !running.is_empty()
    })
    .await;
    let id = id.into_inner().expect("the id");
    app.post(&format!("/warming/runs/{id}/stop"), json!({})).await.expect(200);
    eventually("the run has ended", async || app.get(&format!("/warming/runs/{id}")).await.json()["ended"].is_i64())
        .await;
    let record = app.get(&format!("/warming/runs/{id}")).await.json();
    assert_eq!(record["result"], "stopped", "{record}");
    assert!(record["fetched"].as_u64().is_some_and(|count| count < 1_000), "{record}");
}

#[tokio::test]
async fn nothing_waits_for_a_redis_that_is_away() {
    let app = TestApp::builder().behind_proxy().spawn().await;
    app.put("/warming/tasks/limits", limits(&json!({ "market:limits:a": 1 }))).await.expect(200);
    // A run that is cut keeps its turn for 30 seconds.
    eventually("the first run has ended", async || !runs(&app, "limits").await.is_empty()).await;
    app.proxy().cut();
    app.get("/warming").await.expect_problem(503, "redis-unavailable");
    app.get("/warming/values/market:limits:a").await.expect_problem(503, "redis-unavailable");
    app.post("/warming/tasks/limits/run", json!({})).await.expect_problem(503, "redis-unavailable");
    app.proxy().heal();
    eventually("runs go on", async || app.post("/warming/tasks/limits/run", json!({ "wait_ms": 5_000 })).await.is(200))
        .await;
}
