//! The disk of the archive is full, and later has space again.

use std::process::Command;

use gridtokenx_redis::clock::Clock;
use serde_json::Value;

use super::MINUTE;
use super::crashes::{TRADES, fill, is_done, settings};
use crate::support::{RedisServer, ServiceProcess};

/// A file system in memory that only the service sees: nothing of it is left after the test.
const ON_A_SMALL_DISK: &str = r#"mount -t tmpfs -o size=64k none "$0" && exec "$@""#;

/// What the service says about its directory.
fn error_of_directory(service: &mut ServiceProcess) -> Value {
    let (_, status) = service.get("/trades/archive/status");
    let mut status: Value = serde_json::from_str(&status).unwrap_or_else(|error| panic!("{error}: {status}"));
    status["directory"]["error"].take()
}

/// How many minutes the service shows.
fn shown(service: &mut ServiceProcess, first: i64) -> usize {
    let (_, page) = service.get(&format!("/trades/windows?symbol=GRID&from={first}&limit=500"));
    let page: Value = serde_json::from_str(&page).unwrap_or_else(|error| panic!("{error}: {page}"));
    page["items"].as_array().map_or(0, Vec::len)
}

#[test]
fn a_full_disk_keeps_minutes_in_redis_until_there_is_space() {
    let (redis, dir) = (RedisServer::start(), tempfile::tempdir().expect("a directory"));
    let first = Clock::System.now() / MINUTE * MINUTE - 4_320 * MINUTE;
    fill(&redis, first, TRADES);
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", ON_A_SMALL_DISK]).arg(dir.path());
    command.arg(env!("CARGO_BIN_EXE_gridtokenx-redis"));
    let (url, settings) = (redis.url(), settings(dir.path()));
    let mut variables = vec![("REDIS_URL", url.as_str()), ("GTX__ARCHIVE__MIN_FREE", "1B")];
    variables.extend(settings.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    let mut service = ServiceProcess::start_by(command, &variables);
    while !service.get("/health/ready").1.contains("No space left on device") {
        std::thread::yield_now();
    }
    let error = error_of_directory(&mut service);
    assert!(error.as_str().is_some_and(|error| error.contains("No space left on device")), "{error}");
    assert_eq!(shown(&mut service, first), TRADES, "every minute is in Redis or in a file");
    let waiting: usize = redis.command(&["ZCARD", "trades_window:{GRID}"]);
    assert!(waiting > TRADES / 2, "{waiting} wait in Redis");
    let pid = service.pid().to_string();
    let grown = Command::new("nsenter")
        .args(["--user", "--mount", "--preserve-credentials", "--target", &pid, "mount", "-o", "remount,size=64m"])
        .arg(dir.path())
        .status();
    assert!(grown.expect("nsenter runs").success(), "the disk grows");
    while !is_done(&redis) {
        std::thread::yield_now();
    }
    while !error_of_directory(&mut service).is_null() {
        std::thread::yield_now();
    }
    assert_eq!(shown(&mut service, first), TRADES);
}
