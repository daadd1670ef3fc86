//! `scripts/redis_health_check.sh`: its exit status for servers that work, work with less safety, or do not.

use std::process::Command;

use crate::support::{RedisServer, in_repository};

/// The exit status, and the line that the script prints.
fn check(server: &RedisServer) -> (Option<i32>, String) {
    let script = in_repository("scripts/redis_health_check.sh");
    let output = Command::new(script).arg("-s").arg(server.socket()).output().expect("the script runs");
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn a_server_that_works_is_0() {
    let (status, line) = check(&RedisServer::plain());
    assert_eq!(status, Some(0), "{line}");
    assert!(line.starts_with("redis: works, version "), "{line}");
}

#[test]
fn a_server_that_refuses_writes_is_1_although_ping_ends_well() {
    let server = RedisServer::with_options(&["--save", "900 1", "--appendonly", "no", "--dbfilename", "taken.rdb"]);
    let _: String = server.command(&["SET", "a", "b"]);
    // A directory cannot be replaced by a snapshot.
    std::fs::create_dir_all(server.directory().join("taken.rdb/x")).expect("a directory");
    let _: String = server.command(&["BGSAVE"]);
    let failed = || server.command::<String>(&["INFO", "persistence"]).contains("rdb_last_bgsave_status:err");
    while !failed() {
        std::thread::yield_now();
    }
    let (status, line) = check(&server);
    assert_eq!(status, Some(1), "{line}");
    assert!(line.contains("cannot save"), "{line}");
}

#[test]
fn a_server_that_is_nearly_full_is_1() {
    let server = RedisServer::plain();
    let _: String = server.command(&["CONFIG", "SET", "maxmemory", "1mb"]);
    let (status, line) = check(&server);
    assert_eq!(status, Some(1), "{line}");
    assert!(line.contains("% of maxmemory"), "{line}");
}

#[test]
fn a_server_without_room_for_clients_and_one_that_is_gone_are_2() {
    let mut server = RedisServer::plain();
    let _: String = server.command(&["CONFIG", "SET", "maxclients", "5"]);
    let connector = server.connector();
    let held: Vec<_> = (0..20).map_while(|_| connector().ok()).collect();
    let (status, line) = check(&server);
    assert_eq!(status, Some(2), "{line}");
    drop(held);
    server.kill();
    assert_eq!(check(&server).0, Some(2));
}
