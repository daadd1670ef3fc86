//! The recipe of docs/custody.md that undoes a mistake: Redis as it was at a moment, and what is wanted of it restored.

use std::process::Command;

use super::Vault;
use crate::support::{RedisServer, output_text};

const SETTINGS: &[&str] = &["--save", "", "--appendonly", "yes", "--aof-timestamp-enabled", "yes"];

/// The commands of the page, which follow `cp`; `$1` is the directory of Redis, `$2` that of the copy and `$3` the moment.
const RECIPE: &str = r#"set -e
cp -R "$1/appendonlydir" "$2"
echo y | redis-check-aof --truncate-to-timestamp "$3" "$2/appendonlydir/appendonly.aof.manifest""#;

#[test]
fn what_was_deleted_by_mistake_comes_back() {
    let (redis, vault) = (RedisServer::with_options(SETTINGS), Vault::new());
    let seconds = || redis.command::<(u64, u64)>(&["TIME"]).0;
    redis.command::<()>(&["SET", "json:terms", "first"]);
    redis.command::<()>(&["SET", "trading_config:fees", "1"]);
    let moment = seconds();
    while seconds() < moment + 2 {
        std::thread::yield_now();
    }
    let _: i64 = redis.command(&["DEL", "json:terms"]);
    redis.command::<()>(&["SET", "trading_config:fees", "2"]);

    let page = std::fs::read_to_string(crate::support::in_repository("docs/custody.md")).expect("the page");
    assert!(page.contains("redis-check-aof --truncate-to-timestamp"), "the page has the recipe");
    let directory = tempfile::tempdir().expect("a directory");
    let cut = Command::new("sh")
        .args(["-c", RECIPE, "recipe"])
        .args([redis.directory(), directory.path()])
        .arg(moment.to_string())
        .output()
        .expect("sh runs");
    assert!(cut.status.success(), "{}", output_text(&cut));
    let path = directory.path().display().to_string();
    let past = RedisServer::with_options(&[SETTINGS, &["--dir", &path]].concat());
    while past.try_command::<String>(&["PING"]).is_err() {
        // It loads the copy.
        std::thread::yield_now();
    }
    assert_eq!(past.keys(), ["json:terms", "trading_config:fees"]);
    assert_eq!(past.command::<String>(&["GET", "trading_config:fees"]), "1");

    // Below another prefix the old values are beside the new ones.
    let file = vault.back_up(&past);
    let restored = vault.restore(&redis, &file, &["--only", "json", "--prefix", "past:", "--apply"]);
    assert!(restored.status.success(), "{}", output_text(&restored));
    let key = redis.keys().into_iter().find(|key| key.starts_with("past:")).expect("restored");
    assert_eq!((key.as_str(), redis.command::<String>(&["GET", &key])), ("past:json:terms", "first".to_owned()));
    assert_eq!(redis.command::<String>(&["GET", "trading_config:fees"]), "2");
}
