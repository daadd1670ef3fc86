//! The service is killed at random moments while three symbols trade.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use gridtokenx_redis::clock::Clock;
use serde_json::json;

use super::crashes::{start, verify};
use super::{MINUTE, all_items};
use crate::support::{RedisServer, TestApp, eventually};

const SYMBOLS: [&str; 3] = ["GRID", "SOLAR", "zone-7:interval"];

/// The minutes of each symbol, three days ago: they leave Redis at once, so that most trades come late.
const MINUTES: u64 = 30;

/// Trades before each start of the service.
const TRADES: u64 = 30;

/// Numbers that are the same in each run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// The trades of each minute that Redis has taken.
type Told = BTreeMap<(&'static str, i64), u64>;

fn trade(redis: &RedisServer, first: i64, numbers: &mut Numbers, told: &mut Told) {
    let mut connection = redis.connect().expect("a connection");
    let mut pipeline = redis::pipe();
    for _ in 0..TRADES {
        let symbol = SYMBOLS[usize::try_from(numbers.below(3)).expect("few")];
        let minute = first + i64::try_from(numbers.below(MINUTES)).expect("few") * MINUTE;
        let id = told.values().sum::<u64>().to_string();
        let entry = ["id", &id, "t", &(minute + 7).to_string(), "p", "3", "q", "0.1", "side", "buy"].map(str::to_owned);
        pipeline.cmd("XADD").arg(format!("tape:{{{symbol}}}")).arg("*").arg(&entry).ignore();
        *told.entry((symbol, minute)).or_default() += 1;
    }
    for symbol in SYMBOLS {
        pipeline.cmd("ZADD").arg("market:symbols").arg("4102444800000").arg(symbol).ignore();
        // The turn of a killed replica would last 30 seconds.
        pipeline.cmd("DEL").arg(format!("trades_window:{{{symbol}}}:archiver")).ignore();
    }
    pipeline.query::<()>(&mut connection).expect("the trades");
}

/// The files in a directory and below, temporary ones included, and their bytes.
fn written(directory: &Path) -> (u64, u64) {
    let mut found = (0, 0);
    let mut open: Vec<PathBuf> = vec![directory.to_path_buf()];
    while let Some(directory) = open.pop() {
        // Temporary files may be gone.
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => open.push(entry.path()),
                Ok(metadata) => found = (found.0 + 1, found.1 + metadata.len()),
                Err(_) => {}
            }
        }
    }
    found
}

/// Waits until files or marks have changed so many times, or nothing changes any more.
fn wait_for_changes(redis: &RedisServer, dir: &Path, in_redis: bool, count: u64) {
    let state = || {
        let marks = |symbol: &str| redis.command::<u64>(&["HLEN", &format!("trades_window:{{{symbol}}}:archived")]);
        let left = |symbol: &str| redis.command::<u64>(&["ZCARD", &format!("trades_window:{{{symbol}}}")]);
        if in_redis { SYMBOLS.map(|symbol| marks(symbol) << 32 | left(symbol)).into() } else { vec![written(dir).1] }
    };
    let (mut last, mut seen, mut changed) = (state(), 0, Instant::now());
    while seen < count && changed.elapsed() < Duration::from_secs(3) {
        let next = state();
        if next != last {
            (last, seen, changed) = (next, seen + 1, Instant::now());
        }
    }
}

async fn survive(kills: u64, seed: u64) {
    let (redis, dir) = (RedisServer::start(), tempfile::tempdir().expect("a directory"));
    let first = Clock::System.now() / MINUTE * MINUTE - 4_320 * MINUTE;
    let (mut numbers, mut told) = (Numbers(seed), Told::new());
    for _ in 0..kills {
        trade(&redis, first, &mut numbers, &mut told);
        let service = start(&redis, dir.path());
        // More trades come while it works.
        trade(&redis, first, &mut numbers, &mut told);
        wait_for_changes(&redis, dir.path(), numbers.below(4) == 0, numbers.below(40));
        service.signal("KILL");
        drop(service);
    }
    trade(&redis, first, &mut numbers, &mut told);
    let config = format!("[archive]\ndir = \"{}\"\nwindow = \"1h\"\narchive_after = \"1s\"", dir.path().display());
    let app = TestApp::builder().config(&config).on(redis).system_clock().spawn().await;
    for symbol in SYMBOLS {
        eventually("everything is in files", async || {
            app.post("/trades/archive/run", json!({ "symbol": symbol, "step": "archive" })).await.expect(200);
            app.redis().command::<i64>(&["ZCARD", &format!("trades_window:{{{symbol}}}")]) == 0
        })
        .await;
        let items = all_items(&app, &format!("/trades/windows?symbol={symbol}&from={first}&limit=100")).await;
        let shown: Vec<(i64, u64)> = items
            .iter()
            .map(|item| (item["minute"].as_i64().expect("a time"), item["sum"]["trades"].as_u64().expect("a number")))
            .collect();
        let told: Vec<(i64, u64)> =
            told.iter().filter(|((of, _), _)| *of == symbol).map(|((_, minute), count)| (*minute, *count)).collect();
        assert_eq!(shown, told, "{symbol}, seed {seed}");
        assert!(items.iter().all(|item| item["complete"] == true));
    }
    verify(&app).await;
}

#[tokio::test]
async fn a_service_that_is_killed_at_random_moments_loses_and_doubles_no_trade() {
    survive(6, 1).await;
}

#[tokio::test]
#[ignore = "takes minutes; the shorter one above runs always"]
async fn a_service_that_is_killed_at_100_random_moments_loses_and_doubles_no_trade() {
    survive(100, 2).await;
}
