//! A crash that tears a transaction in the append-only file: a part of it is never applied.

use std::fs::OpenOptions;
use std::io::Write as _;

use crate::support::{RedisServer, eventually};

const DURABLE: &[&str] = &["--appendonly", "yes", "--appendfsync", "always", "--save", ""];
const LOG: &str = "appendonlydir/appendonly.aof.1.incr.aof";

/// What the file has of a script that changed `a` and `b`.
const TORN: &str = "*1\r\n$5\r\nMULTI\r\n*3\r\n$3\r\nSET\r\n$1\r\na\r\n$4\r\npart\r\n*3\r\n$3\r\nSET\r\n$1\r\nb";

/// Starts the server again, and waits until it has read its files.
async fn restart(redis: &mut RedisServer) {
    redis.boot();
    eventually("the files are loaded", async || redis.try_command::<String>(&["PING"]).is_ok()).await;
}

#[tokio::test]
async fn a_torn_transaction_is_never_applied() {
    let mut redis = RedisServer::with_options(DURABLE);
    let _: String = redis.command(&["SET", "a", "whole"]);
    redis.kill();
    let mut log = OpenOptions::new().append(true).open(redis.directory().join(LOG)).expect("the file");
    log.write_all(TORN.as_bytes()).expect("written");
    restart(&mut redis).await;
    assert_eq!(redis.command::<String>(&["GET", "a"]), "whole");
    // Without the repair, Redis would find these changes within the torn transaction, and apply both.
    let script = "redis.call('SET', 'c', '1') return redis.call('SET', 'd', '1')";
    let _: String = redis.command(&["EVAL", script, "0"]);
    redis.kill();
    restart(&mut redis).await;
    assert_eq!(redis.command::<String>(&["GET", "a"]), "whole");
    assert_eq!(redis.command::<Vec<String>>(&["MGET", "c", "d"]), ["1", "1"]);
}

#[tokio::test]
async fn other_damage_is_left_to_people() {
    let mut redis = RedisServer::with_options(DURABLE);
    let _: String = redis.command(&["SET", "a", "whole"]);
    redis.kill();
    let path = redis.directory().join(LOG);
    // A torn transaction with others behind it: a repair would remove them.
    let damaged = format!(
        "{TORN}\r\n$1\r\n1\r\n*1\r\n$5\r\nMULTI\r\n*3\r\n$3\r\nSET\r\n$1\r\nc\r\n$1\r\n1\r\n*1\r\n$4\r\nEXEC\r\n"
    );
    let mut log = OpenOptions::new().append(true).open(&path).expect("the file");
    log.write_all(damaged.as_bytes()).expect("written");
    let before = std::fs::read(&path).expect("the file");
    restart(&mut redis).await;
    assert!(std::fs::read(&path).expect("the file").starts_with(&before));
}
