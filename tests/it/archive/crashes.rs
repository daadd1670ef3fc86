//! The service is killed, paused and starved of disk space while trades come in.

use std::cell::RefCell;
use std::path::Path;

use gridtokenx_redis::clock::Clock;
use serde_json::Value;

use super::{MINUTE, all_items};
use crate::support::{RedisServer, START, ServiceProcess, TestApp, eventually};

pub(super) const TRADES: usize = 300;

/// Puts trades on a tape: one in each of `count` minutes.
pub(super) fn fill(redis: &RedisServer, first: i64, count: usize) {
    let mut connection = redis.connect().expect("a connection");
    let mut pipeline = redis::pipe();
    for n in 0..i64::try_from(count).expect("few") {
        let time = (first + n * MINUTE).to_string();
        let entry = ["id", &n.to_string(), "t", &time, "p", "3", "q", "0.1", "side", "buy"].map(str::to_owned);
        pipeline.cmd("XADD").arg("tape:{GRID}").arg("*").arg(&entry).ignore();
    }
    pipeline.query::<()>(&mut connection).expect("the trades");
    let _: () = redis.command(&["ZADD", "market:symbols", "4102444800000", "GRID"]);
}

pub(super) fn settings(dir: &Path) -> Vec<(String, String)> {
    let dir = dir.display().to_string();
    [("GTX__ARCHIVE__DIR", dir.as_str()), ("GTX__ARCHIVE__ARCHIVE_AFTER", "1s"), ("GTX__ARCHIVE__WINDOW", "1h")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
}

pub(super) fn start(redis: &RedisServer, dir: &Path) -> ServiceProcess {
    let settings = settings(dir);
    let settings: Vec<(&str, &str)> = settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    ServiceProcess::start_on(redis, &settings)
}

/// Whether all minutes are in files, and none is in Redis.
pub(super) fn is_done(redis: &RedisServer) -> bool {
    let position: Option<String> = redis.command(&["HGET", "tape:{GRID}:positions", "folded"]);
    position.is_some() && redis.command::<i64>(&["ZCARD", "trades_window:{GRID}"]) == 0
}

/// A service on the same Redis and directory.
async fn service_on(redis: RedisServer, dir: &Path) -> TestApp {
    let config = format!("[archive]\ndir = \"{}\"\nwindow = \"1h\"", dir.display());
    TestApp::builder().config(&config).on(redis).system_clock().spawn().await
}

/// Every minute is there once, with its one trade.
async fn check(app: &TestApp, first: i64, count: usize) {
    let items = all_items(app, &format!("/trades/windows?symbol=GRID&from={first}&limit=100")).await;
    assert_eq!(items.len(), count);
    for (n, item) in items.iter().enumerate() {
        assert_eq!(item["minute"], first + i64::try_from(n).expect("few") * MINUTE);
        assert_eq!((&item["sum"]["volume"], &item["sum"]["trades"]), (&Value::from("0.1"), &Value::from(1)));
    }
}

/// No file is damaged or missing. A crash may leave one without a line, and a line that is not whole; neither counts.
pub(super) async fn verify(app: &TestApp) {
    let body = serde_json::json!({ "symbol": "GRID" });
    let verified = app.post("/trades/archive/verify", body).await.expect(200).json();
    let findings = verified["findings"].as_array().expect("findings");
    let is_harmless = |finding: &Value| ["extra", "torn"].contains(&finding["kind"].as_str().expect("a kind"));
    assert!(findings.iter().all(is_harmless), "{verified}");
}

#[tokio::test]
async fn a_service_that_is_killed_again_and_again_loses_no_minute() {
    let (redis, dir) = (RedisServer::start(), tempfile::tempdir().expect("a directory"));
    let first = Clock::System.now() / MINUTE * MINUTE - 4_320 * MINUTE;
    fill(&redis, first, TRADES);
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
    let app = service_on(redis, dir.path()).await;
    check(&app, first, TRADES).await;
    verify(&app).await;
}

#[tokio::test]
async fn a_replica_that_slept_through_its_turn_changes_nothing() {
    let (redis, dir) = (RedisServer::start(), tempfile::tempdir().expect("a directory"));
    let first = Clock::System.now() / MINUTE * MINUTE - 4_320 * MINUTE;
    fill(&redis, first, TRADES);
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
    let app = service_on(redis, dir.path()).await;
    check(&app, first, TRADES).await;
    verify(&app).await;
}

#[tokio::test]
async fn the_end_of_summer_time_gives_each_minute_a_file_in_any_zone() {
    let (redis, dir) = (RedisServer::start(), tempfile::tempdir().expect("a directory"));
    // 2025-10-26T00:30:00Z: the hour before and the hour after are both 02:30 in Berlin.
    let first = 1_761_438_600_000;
    fill(&redis, first, TRADES);
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
    let app = service_on(redis, dir.path()).await;
    check(&app, first, TRADES).await;
    verify(&app).await;
}

/// What a crash after a step leaves: the steps that follow it are taken back.
type Undo = fn(&RedisServer, &Path);

const MANIFEST: &str = "manifest_20251026.ndjson";

fn unmark(redis: &RedisServer) {
    let _: i64 = redis.command(&["DEL", "trades_window:{GRID}:archived"]);
    let _: i64 = redis.command(&["ZUNIONSTORE", "trades_window:{GRID}:dirty", "1", "trades_window:{GRID}"]);
}

fn rewrite(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(path).expect("a file");
    change(&mut bytes);
    std::fs::write(path, bytes).expect("written");
}

const STEPS: &[(&str, Undo)] = &[
    ("the turn is taken", |redis, dir| {
        unmark(redis);
        std::fs::remove_dir_all(dir.join("GRID")).expect("removed");
    }),
    ("a temporary file is written", |redis, dir| {
        unmark(redis);
        std::fs::remove_dir_all(dir.join("GRID")).expect("removed");
        std::fs::write(dir.join(".tmp/1761438600000-a"), "{\"timestamp\": ").expect("written");
    }),
    ("the files have their names", |redis, dir| {
        unmark(redis);
        std::fs::remove_file(dir.join("GRID/2025-10-26").join(MANIFEST)).expect("removed");
    }),
    ("a part of the manifest is written", |redis, dir| {
        unmark(redis);
        rewrite(&dir.join("GRID/2025-10-26").join(MANIFEST), |bytes| bytes.truncate(bytes.len() * 2 / 3));
    }),
    ("the manifest is written", |redis, _| unmark(redis)),
    ("the minutes are marked", |_, _| {}),
    // A writer that has lost its turn has taken a name.
    ("another replica has written other trades", |redis, dir| {
        unmark(redis);
        std::fs::remove_file(dir.join("GRID/2025-10-26").join(MANIFEST)).expect("removed");
        rewrite(&dir.join("GRID/2025-10-26/trades_20251026_0030.json"), |bytes| bytes.push(b' '));
    }),
];

#[tokio::test]
async fn what_a_crash_leaves_after_any_step_is_completed_by_two_replicas() {
    const COUNT: usize = 20;
    let first = 1_761_438_600_000;
    for (step, undo) in STEPS {
        let (redis, dir) = (RedisServer::start(), tempfile::tempdir().expect("a directory"));
        fill(&redis, first, COUNT);
        let mut settings = settings(dir.path());
        settings.extend(
            [("GTX__ARCHIVE__WINDOW", "36499d"), ("GTX__ARCHIVE__WINDOW_MAX", "36500d")]
                .map(|(name, value)| (name.to_owned(), value.to_owned())),
        );
        let settings: Vec<(&str, &str)> =
            settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let service = ServiceProcess::start_on(&redis, &settings);
        let marked = || redis.command::<usize>(&["HLEN", "trades_window:{GRID}:archived"]);
        eventually("all minutes are marked", async || marked() == COUNT).await;
        service.signal("KILL");
        drop(service);
        let _: i64 = redis.command(&["DEL", "trades_window:{GRID}:archiver"]);
        undo(&redis, dir.path());
        let app = service_on(redis, dir.path()).await;
        let config = format!("[archive]\ndir = \"{}\"\nwindow = \"1h\"", dir.path().display());
        let other = TestApp::builder().config(&config).beside(&app).system_clock().spawn().await;
        check(&other, first, COUNT).await;
        eventually(step, async || is_done(&app.redis())).await;
        check(&app, first, COUNT).await;
        check(&other, first, COUNT).await;
        verify(&app).await;
    }
}
