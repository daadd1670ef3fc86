//! The audit log: what is recorded, what happens without it, and how tampering is found.

mod chain;
mod recording;

use std::collections::HashMap;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{RedisServer, TestApp, TestAppBuilder};

/// A key file in a temporary directory.
pub struct KeyFile(TempDir);

impl KeyFile {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::write(directory.path().join("key"), "5e".repeat(32)).expect("written");
        Self(directory)
    }

    pub fn path(&self) -> String {
        self.0.path().join("key").display().to_string()
    }

    pub fn directory(&self) -> &Path {
        self.0.path()
    }

    /// The setting of a service with the log.
    pub fn config(&self) -> String {
        format!("[audit]\nkey_file = \"{}\"\n", self.path())
    }

    /// A service with the log.
    pub fn builder(&self) -> TestAppBuilder {
        TestApp::builder().config(&self.config())
    }

    /// Runs `audit` of the command line on a Redis.
    pub fn command(&self, redis: &RedisServer, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gridtokenx-redis"));
        command.arg("audit").args(arguments).env_clear();
        command.env("REDIS_URL", redis.url()).env("GTX__AUDIT__KEY_FILE", self.path());
        command.output().expect("the binary runs")
    }

    /// What `audit verify` prints, and its exit code.
    pub fn verify(&self, redis: &RedisServer, arguments: &[&str]) -> (i32, String) {
        let output = self.command(redis, &[&["verify"], arguments].concat());
        let printed = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (output.status.code().expect("an exit code"), printed)
    }
}

pub const LOG: &str = "audit:{log}";
pub const HEAD: &str = "audit:{log}:head";

/// An entry of the stream: its id and its fields.
pub type Stored = (String, HashMap<String, String>);

pub fn stored(redis: &RedisServer) -> Vec<Stored> {
    redis.command(&["XRANGE", LOG, "-", "+"])
}

/// The texts of the entries in Redis, oldest first.
pub fn entries(redis: &RedisServer) -> Vec<Value> {
    stored(redis).iter().map(|(_, fields)| serde_json::from_str(&fields["e"]).expect("JSON")).collect()
}

/// Adds an entry as it was before.
pub fn put_back(redis: &RedisServer, (id, fields): &Stored) {
    let mut command = vec!["XADD", LOG, id];
    for (name, value) in fields {
        command.extend([name.as_str(), value.as_str()]);
    }
    let _: String = redis.command(&command);
}
