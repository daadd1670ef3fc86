//! Minutes become files, leave Redis after their files were read back, and are read from both.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::{DAY, HOUR, MINUTE, all_items, report, trade};
use crate::support::{START, TestApp, TestAppBuilder, eventually};

/// An archive that writes minutes at once and removes them after two hours.
pub(super) fn config(dir: &Path) -> String {
    format!("[archive]\ndir = \"{}\"\narchive_after = \"1m\"\nwindow = \"2h\"\nmin_free = \"1B\"", dir.display())
}

fn app_with(dir: &Path) -> TestAppBuilder {
    TestApp::builder().config(&config(dir))
}

pub(super) fn directory() -> tempfile::TempDir {
    tempfile::tempdir().expect("a directory")
}

pub(super) async fn run(app: &TestApp, step: &str) -> Value {
    app.post("/trades/archive/run", json!({ "step": step })).await.expect(200).json()
}

/// Runs the archive until nothing is due, after the first round in the background: its maintenance of days would meet the
/// clock that a test has advanced.
pub(super) async fn archive(app: &TestApp) {
    eventually("the first round is over", async || {
        app.get("/metrics").await.text().contains("task_last_run_timestamp_seconds{task=\"archive.round\"}")
    })
    .await;
    eventually("the archive has nothing to do", async || {
        run(app, "archive").await;
        let due =
            app.post("/trades/archive/run", json!({ "step": "archive", "dry_run": true })).await.expect(200).json();
        due["stored"] == 0 && due["removed"] == 0
    })
    .await;
}

pub(super) fn day_path(dir: &Path) -> std::path::PathBuf {
    dir.join("GRID/2025-12-31")
}

fn hot_minutes(app: &TestApp) -> i64 {
    app.redis().command(&["ZCARD", "trades_window:{GRID}"])
}

/// The minutes as the service shows them, without the version that depends on where they are.
async fn shown(app: &TestApp, from: i64) -> Vec<Value> {
    let path = format!("/trades/windows?symbol=GRID&from={from}&to={}&limit=3", START + HOUR);
    let mut items = all_items(app, &path).await;
    for item in &mut items {
        item.as_object_mut().expect("an object").remove("version");
    }
    items
}

#[tokio::test]
async fn minutes_move_to_files_without_a_change_for_readers() {
    let dir = directory();
    let app = app_with(dir.path()).spawn().await;
    let plain = TestApp::spawn().await;
    for n in 0..20_i64 {
        let time = START - 3 * HOUR + n * 9 * MINUTE;
        let trades = [
            trade(&format!("a{n}"), time, "3.41", "0.00007", "buy"),
            trade(&format!("b{n}"), time + 5, &format!("{n}.5"), "1.5", "sell"),
            trade(&format!("c{n}"), time + 9, "60000", "0.1", ""),
        ];
        report(&app, "GRID", &trades).await.expect(201);
        report(&plain, "GRID", &trades).await.expect(201);
    }
    let expected = shown(&plain, START - 4 * HOUR).await;
    archive(&app).await;
    assert_eq!(shown(&app, START - 4 * HOUR).await, expected);
    let left = hot_minutes(&app);
    assert!((1..20).contains(&left), "{left} minutes are in Redis");
    assert_eq!(std::fs::read_dir(day_path(dir.path())).expect("files").count(), 21, "20 minutes and the manifest");
    // Everything leaves Redis.
    app.clock().advance(Duration::from_secs(4 * 3_600));
    archive(&app).await;
    assert_eq!(hot_minutes(&app), 0);
    let from_files = shown(&app, START - 4 * HOUR).await;
    assert_eq!(from_files, expected.iter().cloned().map(complete).collect::<Vec<_>>());
    for path in ["profile", "footprint"] {
        let query = format!("/trades/{path}?symbol=GRID&from={}&to={}", START - 3 * HOUR, START);
        let [own, other] = [app.get(&query).await.expect(200).json(), plain.get(&query).await.expect(200).json()];
        let levels = if path == "profile" { "price_levels" } else { "items" };
        assert_eq!(own[levels], other[levels]);
        assert_eq!(
            own["coverage"],
            json!({ "partial": false, "gaps": [], "sources": { "hot": "available", "cold": "available" } })
        );
    }
    // Days are packed; nothing changes.
    app.clock().advance(Duration::from_secs(5 * 86_400));
    assert_eq!(run(&app, "pack").await["items"][0]["outcome"], "20 minutes in trades_20251231.ndjson.gz");
    assert_eq!(shown(&app, START - 4 * HOUR).await, from_files);
    let names: Vec<String> = std::fs::read_dir(day_path(dir.path()))
        .expect("files")
        .map(|entry| entry.expect("a file").file_name().to_string_lossy().into_owned())
        .collect();
    assert_eq!(names.len(), 3, "{names:?}");
    let sums =
        std::process::Command::new("sha256sum").arg("-c").arg("SHA256SUMS").current_dir(day_path(dir.path())).output();
    assert!(sums.expect("sha256sum").status.success());
    let verified = app.post("/trades/archive/verify", json!({ "symbol": "GRID" })).await.expect(200).json();
    assert_eq!(verified, json!({ "days": 1, "findings": [], "next_from": null }));
    let files = app.get("/trades/archive/files?symbol=GRID&day=2025-12-31&limit=5").await.expect(200).json();
    assert_eq!((files["items"].as_array().map(Vec::len), &files["next_cursor"]), (Some(5), &json!("5")));
    assert_eq!(files["packs"][0]["minutes"], 20);
}

fn complete(mut item: Value) -> Value {
    item["complete"] = json!(true);
    item
}

#[tokio::test]
async fn late_trades_become_versions() {
    let dir = directory();
    let app = app_with(dir.path()).spawn().await;
    let minute = START - 3 * HOUR;
    let get = async || app.get(&format!("/trades/windows/GRID/{minute}")).await.expect(200).json();
    report(&app, "GRID", &[trade("a", minute, "3", "1", "buy")]).await.expect(201);
    archive(&app).await;
    assert_eq!(hot_minutes(&app), 0);
    for n in 1..=3 {
        report(&app, "GRID", &[trade(&format!("late{n}"), minute + n, "3", "0.5", "sell")]).await.expect(201);
        assert_eq!(get().await["sum"]["trades"], n + 1, "before the archive ran");
        archive(&app).await;
        assert_eq!(get().await["sum"]["trades"], n + 1, "after it ran");
        assert_eq!(hot_minutes(&app), 0);
    }
    let version = async |n: u32| app.get(&format!("/trades/windows/GRID/{minute}?version={n}")).await;
    for n in 1..=4 {
        let found = version(n).await.expect(200).json();
        assert_eq!((&found["version"], &found["sum"]["trades"]), (&json!(n), &json!(n)));
    }
    version(5).await.expect_problem(404, "minute-version-not-found");
    app.get(&format!("/trades/windows/GRID/{minute}?version=x")).await.expect_problem(422, "invalid-query");
    let name = day_path(dir.path()).join("trades_20251231_2100.v4.json");
    let file: Value = serde_json::from_slice(&std::fs::read(name).expect("a file")).expect("JSON");
    assert_eq!(file["timestamp"], "2025-12-31T21:00:00.000000Z");
    assert_eq!(file["price_levels"]["3"]["total_volume"], 2.5);
    let too_late = trade("old", START - 31 * DAY, "3", "1", "buy");
    report(&app, "GRID", &[too_late]).await.expect_violation(422, "too-late", "/trades/0/timestamp");
}

#[tokio::test]
async fn a_window_whose_state_is_lost_counts_no_trade_twice() {
    let dir = directory();
    let app = app_with(dir.path()).spawn().await;
    // The first one leaves Redis, the second one stays for two hours.
    let minutes = [START - 3 * HOUR, START - HOUR];
    let counts = async |expected: [i64; 2]| {
        for (minute, count) in minutes.iter().zip(expected) {
            let found = app.get(&format!("/trades/windows/GRID/{minute}")).await.expect(200).json();
            assert_eq!((&found["sum"]["trades"], &found["sum"]["volume"]), (&json!(count), &json!(count.to_string())));
        }
    };
    let lose = async || assert_eq!(app.redis().command::<i64>(&["DEL", "trades_window:{GRID}:state"]), 1);
    report(&app, "GRID", &minutes.map(|minute| trade(&minute.to_string(), minute, "3", "1", "buy"))).await.expect(201);
    archive(&app).await;
    assert_eq!(hot_minutes(&app), 1);
    lose().await;
    counts([1, 1]).await;
    archive(&app).await;
    counts([1, 1]).await;
    let late = minutes.map(|minute| trade(&format!("late-{minute}"), minute + 1, "3", "1", "sell"));
    report(&app, "GRID", &late).await.expect(201);
    counts([2, 2]).await;
    archive(&app).await;
    lose().await;
    counts([2, 2]).await;
    app.clock().advance(Duration::from_secs(3 * 3_600));
    archive(&app).await;
    assert_eq!(hot_minutes(&app), 0);
    counts([2, 2]).await;
}

#[tokio::test]
async fn two_replicas_write_each_minute_once() {
    let dir = directory();
    let app = app_with(dir.path()).spawn().await;
    let other = app_with(dir.path()).beside(&app).spawn().await;
    for n in 0..30 {
        report(&app, "GRID", &[trade(&format!("{n}"), START - 3 * HOUR + n * MINUTE, "3", "1", "buy")])
            .await
            .expect(201);
    }
    let both = async || {
        futures_util::join!(run(&app, "archive"), run(&other, "archive"));
        hot_minutes(&app) == 0
    };
    eventually("all minutes are in files", both).await;
    let files = app.get("/trades/archive/files?symbol=GRID&day=2025-12-31").await.expect(200).json();
    let files = files["items"].as_array().expect("files");
    assert_eq!(files.len(), 30);
    assert!(files.iter().all(|file| file["version"] == 1), "{files:?}");
    assert_eq!(shown(&other, START - 4 * HOUR).await.len(), 30);
}

#[tokio::test]
async fn a_damaged_file_is_a_gap_and_never_a_wrong_number() {
    let dir = directory();
    let app = app_with(dir.path()).spawn().await;
    let times = [START - 3 * HOUR, START - 3 * HOUR + MINUTE, START - HOUR];
    for (n, time) in times.into_iter().enumerate() {
        report(&app, "GRID", &[trade(&format!("{n}"), time, "3", "1", "buy")]).await.expect(201);
    }
    archive(&app).await;
    for name in ["trades_20251231_2100.json", "trades_20251231_2300.json"] {
        let path = day_path(dir.path()).join(name);
        let text = std::fs::read_to_string(&path).expect("a file").replace("\"volume\": 1", "\"volume\": 2");
        std::fs::write(&path, text).expect("written");
    }
    let path = format!("/trades/windows?symbol=GRID&from={}", START - 4 * HOUR);
    let page = app.get(&path).await.expect(200).json();
    assert_eq!(page["items"].as_array().map(Vec::len), Some(2), "{page}");
    assert_eq!(page["items"][1]["sum"]["volume"], "1", "Redis still has this minute");
    assert_eq!(page["coverage"]["gaps"], json!([{ "from": times[0], "to": times[0] + MINUTE, "reason": "damaged" }]));
    app.get(&format!("/trades/windows/GRID/{}", times[0])).await.expect_problem(503, "archive-unavailable");
    let findings = app.post("/trades/archive/verify", json!({ "symbol": "GRID" })).await.expect(200).json();
    assert_eq!(findings["findings"].as_array().map(Vec::len), Some(2), "{findings}");
    assert_eq!(findings["findings"][0]["file"], "GRID/2025-12-31/trades_20251231_2100.json");
    // The minute that Redis has gets a new file before it leaves.
    app.clock().advance(Duration::from_secs(2 * 3_600));
    archive(&app).await;
    assert_eq!(hot_minutes(&app), 0);
    let minute = app.get(&format!("/trades/windows/GRID/{}", times[2])).await.expect(200).json();
    assert_eq!((&minute["version"], &minute["sum"]["volume"]), (&json!(2), &json!("1")));
    std::fs::remove_file(day_path(dir.path()).join("trades_20251231_2101.json")).expect("removed");
    let gaps =
        app.get(&format!("/trades/archive/gaps?symbol=GRID&from={}&to={}", times[0], times[0] + 3 * MINUTE)).await;
    let reasons: Vec<Value> =
        gaps.expect(200).json()["items"].as_array().expect("gaps").iter().map(|gap| gap["reason"].clone()).collect();
    assert_eq!(reasons, ["missing_file", "before_start"]);
}

#[tokio::test]
async fn another_directory_removes_nothing_until_it_is_adopted() {
    let (dir, empty) = (directory(), directory());
    let app = app_with(dir.path()).spawn().await;
    report(&app, "GRID", &[trade("a", START - 3 * HOUR, "3", "1", "buy")]).await.expect(201);
    archive(&app).await;
    let other = app_with(empty.path()).beside(&app).spawn().await;
    // Its background work would move the minute that follows.
    drop(app);
    report(&other, "GRID", &[trade("b", START - 3 * HOUR + MINUTE, "3", "1", "buy")]).await.expect(201);
    run(&other, "archive").await;
    assert_eq!(hot_minutes(&other), 1);
    let status = other.get("/trades/archive/status").await.expect(200).json();
    assert_eq!(
        status["items"][0]["troubles"][0]["reason"], "another directory keeps the files of the symbol",
        "{status}"
    );
    let page = other.get(&format!("/trades/windows?symbol=GRID&from={}", START - 4 * HOUR)).await.expect(200).json();
    assert_eq!(
        (&page["coverage"]["partial"], &page["coverage"]["gaps"][0]["reason"]),
        (&json!(true), &json!("other_store"))
    );
    eventually("readiness says so", async || {
        other.get("/health/ready").await.text().contains("another directory keeps the files")
    })
    .await;
    other.post("/trades/archive/run", json!({ "step": "adopt" })).await.expect_violation(
        422,
        "invalid-body",
        "/symbol",
    );
    other.post("/trades/archive/run", json!({ "step": "adopt", "symbol": "GRID" })).await.expect(200);
    other.clock().advance(Duration::from_secs(60));
    archive(&other).await;
    assert_eq!(hot_minutes(&other), 0);
}

#[tokio::test]
async fn a_directory_that_cannot_be_used_keeps_minutes_in_redis() {
    let dir = directory();
    let path = dir.path().join("later");
    let archive_config = format!(
        "orderbook.require_fence = false\n[archive]\ndir = \"{}\"\narchive_after = \"1m\"\nwindow = \"1m\"\nwindow_max = \"3m\"",
        path.display()
    );
    let app = TestApp::builder().config(&archive_config).spawn().await;
    let book = "/orderbooks/GRID";
    let settings = json!({ "mode": "store", "kind": "orders", "price_decimals": 2, "quantity_decimals": 3 });
    app.put(&format!("{book}/settings"), settings).await.expect(201);
    for (id, side) in [("b", "buy"), ("s", "sell")] {
        let order = json!({ "order_id": id, "owner": "alice", "side": side, "price": "3", "quantity": "5" });
        app.post(&format!("{book}/orders"), order).await.expect(201);
    }
    let fill = async |id: &str| {
        let fill = json!({ "trade_id": id, "buy_order_id": "b", "sell_order_id": "s", "price": "3", "quantity": "1",
            "timestamp": START - 3 * HOUR });
        app.post(&format!("{book}/fills"), json!({ "fills": [fill] })).await
    };
    fill("f").await.expect(200);
    let first = trade("a", START - 3 * HOUR, "3", "1", "buy");
    report(&app, "GRID", std::slice::from_ref(&first)).await.expect(201);
    app.post("/trades/archive/run", json!({ "step": "archive" })).await.expect_problem(503, "archive-unavailable");
    eventually("readiness names the directory", async || app.get("/health/ready").await.text().contains("later")).await;
    let status = app.get("/trades/archive/status").await.expect(200).json();
    assert!(status["directory"]["error"].as_str().is_some_and(|error| error.contains("cannot create")), "{status}");
    let page = app.get(&format!("/trades/windows?symbol=GRID&from={}", START - 4 * HOUR)).await.expect(200).json();
    assert_eq!(
        (page["items"].as_array().map(Vec::len), &page["coverage"]["sources"]["cold"]),
        (Some(1), &json!("unavailable"))
    );
    // Nothing is dropped: at the limit, new trades are refused, and known ones are known.
    for n in 1..3 {
        report(&app, "GRID", &[trade(&n.to_string(), START - n * HOUR, "3", "1", "buy")]).await.expect(201);
    }
    app.get("/trades/windows/GRID/now").await.expect(200);
    let refused = report(&app, "GRID", &[trade("z", START, "3", "1", "buy")]).await;
    assert_eq!(refused.expect_problem(507, "archive-behind")["outcome"], "not_applied");
    fill("g").await.expect_problem(507, "archive-behind");
    assert_eq!(report(&app, "GRID", &[first]).await.expect(200).json()["replayed"], 1);
    assert_eq!(fill("f").await.expect(200).json()["fills"][0]["replayed"], true);
    assert_eq!(hot_minutes(&app), 3);
    std::fs::create_dir(&path).expect("a directory");
    archive(&app).await;
    assert_eq!(hot_minutes(&app), 0);
    report(&app, "GRID", &[trade("z", START, "3", "1", "buy")]).await.expect(201);
    fill("g").await.expect(200);
    assert_eq!(shown(&app, START - 4 * HOUR).await.len(), 4);
}

#[tokio::test]
async fn files_are_read_while_redis_is_away() {
    let dir = directory();
    let app = app_with(dir.path()).behind_proxy().spawn().await;
    report(&app, "GRID", &[trade("a", START - 3 * HOUR, "3", "1", "buy")]).await.expect(201);
    archive(&app).await;
    app.proxy().cut();
    let page = app.get(&format!("/trades/windows?symbol=GRID&from={}", START - 4 * HOUR)).await.expect(200).json();
    assert_eq!(page["items"][0]["sum"]["volume"], "1");
    assert_eq!(
        (&page["coverage"]["partial"], &page["coverage"]["sources"]["hot"]),
        (&json!(true), &json!("unavailable"))
    );
    let hot = app.get(&format!("/trades/windows?symbol=GRID&from={}", START - HOUR)).await;
    assert!(hot.is(503), "{}", hot.text());
}

#[tokio::test]
async fn without_a_directory_there_is_no_archive() {
    let app = TestApp::spawn().await;
    app.get("/trades/archive/status").await.expect_problem(404, "no-archive");
    app.get("/trades/archive/files?symbol=GRID").await.expect_problem(404, "no-archive");
    app.get("/trades/archive/gaps?symbol=GRID").await.expect_problem(404, "no-archive");
    app.post("/trades/archive/verify", json!({ "symbol": "GRID" })).await.expect_problem(404, "no-archive");
    app.post("/trades/archive/run", json!({ "step": "pack" })).await.expect_problem(404, "no-archive");
    app.get(&format!("/trades/windows/GRID/{START}?version=1")).await.expect_problem(404, "no-archive");
    for (body, field) in [
        (json!({ "symbol": "..%2f" }), "/symbol"),
        (json!({ "symbol": "GRID", "from": START / 1_000 }), "/from"),
        (json!({ "symbol": "GRID", "from": START, "to": START - 1 }), "/from"),
    ] {
        app.post("/trades/archive/verify", body).await.expect_violation(422, "invalid-body", field);
    }
    app.post("/trades/archive/run", json!({ "step": "trim" })).await.expect_problem(422, "invalid-body");
    app.get("/trades/archive/gaps?symbol=GRID&from=-32d").await.expect_violation(422, "invalid-query", "/from");
    app.get("/trades/archive/status?limit=0").await.expect_violation(422, "invalid-query", "/limit");
    app.get("/trades/archive/files?symbol=GRID&day=5").await.expect_violation(422, "invalid-query", "/day");
}
