//! A Redis with modules. The harness does not start it: an environment variable gives its address.

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use gridtokenx_redis::redis::Effect;

use super::TestApp;

/// The address of a Redis with modules, if the environment variable is set.
///
/// `GTX_TEST_REQUIRE_MODULES=1` turns a missing address into a failure.
#[expect(clippy::disallowed_methods, reason = "settings of the tests")]
pub fn optional_module_redis_url() -> Option<String> {
    let url = std::env::var("GTX_TEST_MODULE_REDIS_URL").ok().filter(|url| !url.is_empty());
    let is_required = std::env::var("GTX_TEST_REQUIRE_MODULES").is_ok_and(|flag| flag == "1");
    assert!(url.is_some() || !is_required, "{MISSING}");
    url
}

/// The address of the Redis with modules that a test needs.
pub fn module_redis_url() -> String {
    optional_module_redis_url().expect(MISSING)
}

const MISSING: &str = "set GTX_TEST_MODULE_REDIS_URL to a Redis with RedisJSON and RedisTimeSeries, such as a Redis 8 or a \
                       Redis Stack server";

/// The configuration of a service on that Redis, with a unique key prefix.
pub fn on_module_redis(url: &str) -> String {
    static SERVICES: AtomicU32 = AtomicU32::new(0);
    let (process, service) = (std::process::id(), SERVICES.fetch_add(1, Ordering::Relaxed));
    let started = std::time::UNIX_EPOCH.elapsed().expect("a clock").as_micros();
    format!("redis.url = \"{url}\"\nredis.key_prefix = \"test-{started}-{process}-{service}:\"")
}

/// The command `migrate <what> --to <to>` for a Redis and a key prefix.
pub fn migration(what: &str, to: &str, url: &str, prefix: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gridtokenx-redis"));
    command.args(["migrate", what, "--to", to]).env_clear();
    command.env("REDIS_URL", url).env("GTX__REDIS__KEY_PREFIX", prefix);
    command
}

/// Runs a command on the Redis of a service.
pub async fn command<T: redis::FromRedisValue>(app: &TestApp, words: &[&str]) -> T {
    let mut command = redis::Cmd::new();
    for word in words {
        command.arg(word);
    }
    app.state().query(&command, Effect::Write).await.expect("a reply")
}

/// Deletes all keys of a service under test, and no others.
pub async fn clear(app: &TestApp) {
    let script = "for _, key in ipairs(redis.call('KEYS', ARGV[1])) do redis.call('UNLINK', key) end";
    let ours = format!("*{}*", app.state().keys().key("").as_str());
    let _: redis::Value = command(app, &["EVAL", script, "0", &ours]).await;
}
