//! The service is killed, paused and starved of disk space while trades come in.

use std::cell::RefCell;
use std::path::Path;

use gridtokenx_redis::clock::Clock;
use serde_json::Value;

use super::{MINUTE, all_items};
use crate::support::{RedisServer, START, ServiceProcess, TestApp, eventually};

const TRADES: usize = 300;

/// Puts trades on a tape: one in each of `TRADES` minutes, which began three days ago.
fn fill(redis: &RedisServer, first: i64) {
    let mut connection = redis.connect().expect("a connection");
    let mut pipeline = redis::pipe();
    for n in 0..i64::try_from(TRADES).expect("few") {
        let time = (first + n * MINUTE).to_string();
        let entry = ["id", &n.to_string(), "t", &time, "p", "3", "q", "0.1", "side", "buy"].map(str::to_owned);
        pipeline.cmd("XADD").arg("tape:{GRID}").arg("*").arg(&entry).ignore();
    }
    pipeline.query::<()>(&mut connection).expect("the trades");
    let _: () = redis.command(&["ZADD", "market:symbols", "4102444800000", "GRID"]);
}

fn settings(dir: &Path) -> Vec<(String, String)> {
    let dir = dir.display().to_string();
    [("GTX__ARCHIVE__DIR", dir.as_str()), ("GTX__ARCHIVE__ARCHIVE_AFTER", "1s"), ("GTX__ARCHIVE__WINDOW", "1h")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
}

fn start(redis: &RedisServer, dir: &Path) -> ServiceProcess {
    let settings = settings(dir);
    let settings: Vec<(&str, &str)> = settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    ServiceProcess::start_on(redis, &settings)
}

/// Whether all minutes are in files, and none is in Redis.
fn is_done(redis: &RedisServer) -> bool {
    let position: Option<String> = redis.command(&["HGET", "tape:{GRID}:positions", "folded"]);
    position.is_some() && redis.command::<i64>(&["ZCARD", "trades_window:{GRID}"]) == 0
}

/// Every minute is there once, with its one trade.
async fn check(redis: RedisServer, dir: &Path, first: i64) {
    let config = format!("[archive]\ndir = \"{}\"\nwindow = \"1h\"", dir.display());
    let app = TestApp::builder().config(&config).on(redis).system_clock().spawn().await;
    let path = format!("/trades/windows?symbol=GRID&from={first}&limit=100");
    let items = all_items(&app, &path).await;
    assert_eq!(items.len(), TRADES);
    for (n, item) in items.iter().enumerate() {
        assert_eq!(item["minute"], first + i64::try_from(n).expect("few") * MINUTE);
        assert_eq!((&item["sum"]["volume"], &item["sum"]["trades"]), (&Value::from("0.1"), &Value::from(1)));
    }
    let body = serde_json::json!({ "symbol": "GRID" });
    let verified = app.post("/trades/archive/verify", body).await.expect(200).json();
    let findings = verified["findings"].as_array().expect("findings");
    // A crash may leave a file without a line; it does not count.
    assert!(findings.iter().all(|finding| finding["kind"] == "extra"), "{verified}");
}

#[tokio::test]
async fn a_service_that_is_killed_again_and_again_loses_no_minute() {
    let (redis, dir) = (RedisServer::start(), tempfile::tempdir().expect("a directory"));
    let first = Clock::System.now() / MINUTE * MINUTE - 4_320 * MINUTE;
    fill(&redis, first);
    let mut kills = 0;
    let progress = || {
        let marked: i64 = redis.command(&["HLEN", "trades_window:{GRID}:archived"]);
        let left: i64 = redis.command(&["ZCARD", "trades_window:{GRID}"]);
        (marked, left)
    };
    while !is_done(&redis) {
        let before = progress();
        let service = start(&redis, dir.path());
        // Killed as soon as it has done anything.
        eventually("the archive moves", async || progress() != before || is_done(&redis)).await;
        service.signal("KILL");
        drop(service);
        // Its turn would last 30 seconds.
        let _: i64 = redis.command(&["DEL", "trades_window:{GRID}:archiver"]);
        kills += 1;
        assert!(kills < 100, "the archive makes no progress");
    }
    check(redis, dir.path(), first).await;
}

#[tokio::test]
async fn a_replica_that_slept_through_its_turn_changes_nothing() {
    let (redis, dir) = (RedisServer::start(), tempfile::tempdir().expect("a directory"));
    let first = Clock::System.now() / MINUTE * MINUTE - 4_320 * MINUTE;
    fill(&redis, first);
    let sleeper = RefCell::new(start(&redis, dir.path()));
    eventually("the archive moves", async || redis.command::<i64>(&["HLEN", "trades_window:{GRID}:archived"]) > 0)
        .await;
    sleeper.borrow().signal("STOP");
    // As if 30 seconds had passed.
    let _: i64 = redis.command(&["DEL", "trades_window:{GRID}:archiver"]);
    let other = start(&redis, dir.path());
    eventually("the other replica has done everything", async || is_done(&redis)).await;
    let woken = Clock::System.now();
    sleeper.borrow().signal("CONT");
    eventually("the sleeper has finished a round", async || {
        let (_, readiness) = sleeper.borrow_mut().get("/health/ready");
        let readiness: Value = serde_json::from_str(&readiness).expect("JSON");
        readiness["tasks"]["archive.round"]["last_run"].as_i64() > Some(woken)
    })
    .await;
    drop((sleeper, other));
    check(redis, dir.path(), first).await;
}

#[tokio::test]
async fn the_end_of_summer_time_gives_each_minute_a_file_in_any_zone() {
    let (redis, dir) = (RedisServer::start(), tempfile::tempdir().expect("a directory"));
    // 2025-10-26T00:30:00Z: the hour before and the hour after are both 02:30 in Berlin.
    let first = 1_761_438_600_000;
    fill(&redis, first);
    let mut settings = settings(dir.path());
    settings.push(("TZ".to_owned(), "Europe/Berlin".to_owned()));
    // Without this, minutes of last year do not enter the window.
    settings.push(("GTX__ARCHIVE__WINDOW_MAX".to_owned(), "36500d".to_owned()));
    let settings: Vec<(&str, &str)> = settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let service = ServiceProcess::start_on(&redis, &settings);
    eventually("all minutes are in files", async || is_done(&redis)).await;
    drop(service);
    let names = std::fs::read_dir(dir.path().join("GRID/2025-10-26")).expect("files");
    assert_eq!(names.count(), TRADES + 1, "a file for each minute, and the manifest");
    assert!(first < START);
    check(redis, dir.path(), first).await;
}
