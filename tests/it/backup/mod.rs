//! Backups: what goes in, what comes out, and what is refused.

mod commands;
mod copies;
mod damage;
mod operations;
mod point_in_time;
mod restoring;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use age::secrecy::ExposeSecret;
use age::x25519::Identity;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{RedisServer, output_text};

/// A directory for backups with the keys of an operator.
pub struct Vault {
    directory: TempDir,
    pub identity: Identity,
}

impl Vault {
    pub fn new() -> Self {
        let vault = Self { directory: tempfile::tempdir().expect("a directory"), identity: Identity::generate() };
        std::fs::write(vault.identity_file(), vault.identity.to_string().expose_secret()).expect("written");
        vault
    }

    pub fn identity_file(&self) -> PathBuf {
        self.directory.path().join("identity.txt")
    }

    pub fn backups(&self) -> PathBuf {
        self.directory.path().join("backups")
    }

    pub fn config(&self) -> String {
        format!("[backup]\ndir = \"{}\"\nrecipients = [\"{}\"]\n", self.backups().display(), self.identity.to_public())
    }

    /// The binary with this configuration, on a server.
    pub fn command(&self, redis: &str, more: &str, words: &[&str]) -> Command {
        let file = self.directory.path().join("config.toml");
        std::fs::write(&file, format!("{}{more}", self.config())).expect("written");
        let mut command = Command::new(env!("CARGO_BIN_EXE_gridtokenx-redis"));
        command.args(words).arg("--config").arg(file).env_clear().env("REDIS_URL", redis);
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command
    }

    pub fn run(&self, redis: &RedisServer, words: &[&str]) -> Output {
        self.command(&redis.url(), "", words).output().expect("the binary runs")
    }

    /// Makes a backup, and returns its file.
    pub fn back_up(&self, redis: &RedisServer) -> PathBuf {
        self.back_up_with(redis, "")
    }

    pub fn back_up_with(&self, redis: &RedisServer, more: &str) -> PathBuf {
        let made = self.command(&redis.url(), more, &["backup"]).output().expect("the binary runs");
        assert!(made.status.success(), "{}", output_text(&made));
        let text = String::from_utf8_lossy(&made.stdout).into_owned();
        let id = text.split(' ').next().expect("an id");
        self.backups().join(format!("{id}.tar.zst.age"))
    }

    /// The manifest of a backup's file.
    pub fn manifest(&self, file: &Path) -> Value {
        let name = file.file_name().expect("a name").to_string_lossy().replace(".tar.zst.age", ".json");
        let text = std::fs::read(self.backups().join(name)).expect("a manifest");
        serde_json::from_slice::<Value>(&text).expect("JSON")["manifest"].clone()
    }

    pub fn restore(&self, redis: &RedisServer, file: &Path, words: &[&str]) -> Output {
        let (file, identity) = (file.display().to_string(), self.identity_file().display().to_string());
        let words = [&["restore", file.as_str(), "--identity", identity.as_str()], words].concat();
        self.run(redis, &words)
    }
}

/// Fills a server with each type in each encoding, below names of capabilities, and with keys of other services.
pub fn fill(redis: &RedisServer) {
    let run = |words: &[&str]| redis.command::<redis::Value>(words);
    let long = "x".repeat(5_000);
    run(&["SET", "json:text", "hello"]);
    run(&["SET", "json:number", "12345"]);
    run(&["SET", "json:negative", "-7"]);
    run(&["SET", "json:large", "70000000000"]);
    run(&["SET", "json:packed", &long]);
    run(&["SET", "json:binary", "\u{0}\u{1}\u{7f}é"]);
    run(&["SET", &format!("json:{}", "k".repeat(300)), "a compressed key"]);
    run(&["SET", "json:expiring", "1", "PX", "3600000"]);
    run(&["HSET", "metrics:small", "a", "1", "b", "-200", "c", "30000", "d", "-8000000", "e", "99999999999", "f", "x"]);
    run(&["HSET", "metrics:words", "field", &long, "middle", &"m".repeat(100)]);
    run(&["SADD", "metrics:integers", "1", "-2", "70000", "99999999999"]);
    run(&["SADD", "metrics:set", "a", "b", "1"]);
    run(&["ZADD", "metrics:scores", "1.5", "a", "-3", "b", "inf", "c", "0", "d"]);
    run(&["ZADD", "metrics:long", "0.1", &long]);
    run(&["RPUSH", "alerts:{history}", "1", "two", "-3", &long, &"y".repeat(20_000)]);
    for nth in 0..300 {
        let nth = nth.to_string();
        run(&["HSET", "metrics:hash", &nth, &format!("value {nth}")]);
        run(&["ZADD", "metrics:zset", &format!("{nth}.25"), &format!("member {nth}")]);
        run(&["SADD", "metrics:table", &format!("member {nth}")]);
        run(&["RPUSH", "alerts:list", &nth]);
        run(&["XADD", "tape:{E}", "*", "price", &nth, "amount", "1"]);
    }
    run(&["XADD", "tape:{E}", "*", "other", "fields", "more", &long]);
    run(&["XTRIM", "tape:{E}", "MAXLEN", "250"]);
    run(&["XGROUP", "CREATE", "tape:{E}", "readers", "0"]);
    run(&["XREADGROUP", "GROUP", "readers", "one", "COUNT", "3", "STREAMS", "tape:{E}", ">"]);
    run(&["SET", "lock:fence:{lock:a}", "500"]);
    run(&["SET", "lock:a", "token", "PX", "3600000"]);
    run(&["SET", "json:{backend}", "native"]);
    run(&["SET", "market:fold_turn", "1"]);
    run(&["SET", "session:7", "of another service"]);
    run(&["HSET", "iam:user:7", "password", "secret"]);
}
