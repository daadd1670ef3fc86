//! A write that Redis refuses, wholly or in part, claims `not_applied` only if nothing in Redis has changed.

mod writes;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use self::writes::{Planted, freeing_posts, seeds, writes};
use crate::support::{Reply, TestApp};

/// Fills Redis.
async fn seed(app: &TestApp) -> Planted {
    for write in seeds() {
        let reply = write.send(app).await;
        assert!(reply.status.is_success(), "{} {}: {}", write.method, write.path, reply.text());
    }
    let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned();
    let post = async |path: &str, body: Value| {
        let reply: Reply = app.post(path, body).await;
        assert!(reply.status.is_success(), "{path}: {}", reply.text());
        reply.json()
    };
    let lock = post("/locks/r", json!({ "ttl_ms": 60_000 })).await;
    let reserved = post("/ratelimit/reserve", json!({ "limiter": "trading", "key": "k", "cost": 5 })).await;
    let claimed = post("/streams/orders/groups/g/claim", json!({ "consumer": "w", "count": 2 })).await;
    Planted {
        lock: text(&lock["token"]),
        reservation: text(&reserved["reservation"]),
        receipts: claimed["items"].as_array().expect("items").iter().map(|item| text(&item["receipt"])).collect(),
    }
}

/// Every key with its value and its TTL, milliseconds, as Redis serialises them.
type Dump = Vec<(Vec<u8>, Vec<u8>, i64)>;

fn dump(app: &TestApp) -> Dump {
    let script = "local reply = {} for _, key in ipairs(redis.call('KEYS', '*')) do \
                  reply[#reply + 1] = {key, redis.call('DUMP', key), redis.call('PTTL', key)} end return reply";
    app.redis().command(&["EVAL", script, "0"])
}

/// Makes Redis contain what it contained, but for the record of the storage backends.
fn restore(app: &TestApp, keys: &Dump) {
    let script = "redis.call('FLUSHALL') for at = 1, #ARGV, 3 do \
                  redis.call('RESTORE', ARGV[at], math.max(ARGV[at + 2], 0), ARGV[at + 1]) end";
    let mut command = redis::cmd("EVAL");
    command.arg(script).arg(0);
    for (key, value, life) in keys {
        command.arg(key).arg(value).arg(*life);
    }
    command.exec(&mut app.redis().connect().expect("a connection")).expect("restored");
}

/// The value of every key as Redis serialises it, but for what background tasks maintain.
pub fn digest(app: &TestApp) -> BTreeMap<String, Vec<u8>> {
    let name = |key: &[u8]| String::from_utf8_lossy(key).into_owned();
    let keys = dump(app).into_iter().map(|(key, value, _)| (name(&key), value));
    // The follower of books writes their metadata.
    let is_background =
        |key: &str| key.ends_with("}:metadata") || BACKGROUND.iter().any(|start| key.starts_with(start));
    keys.filter(|(key, _)| !is_background(key)).collect()
}

/// What keys begin with that background tasks write, and the claims of repeatable requests, which expire. The indexes of the cache
/// and of streams may name what does not exist: no list shows it, and it is removed later.
const BACKGROUND: &[&str] =
    &["rate_limit:list:", "locks:index", "orderbooks:follower", "idempotency:", "cache:{index}", "streams:index"];

/// Sends each write while Redis is in this condition. Returns how many were refused, and those of them that claim that
/// nothing was changed although something was.
async fn false_claims(app: &TestApp, kept: &(Planted, Dump), begin: &[&str], end: &[&str]) -> (usize, Vec<String>) {
    let (mut refused, mut claims) = (0, Vec::new());
    let (planted, stored) = kept;
    restore(app, stored);
    let mut before = digest(app);
    for write in writes(planted) {
        let _: String = app.redis().command(begin);
        let reply = write.send(app).await;
        let _: String = app.redis().command(end);
        let after = digest(app);
        let is_refused = !reply.status.is_success();
        refused += usize::from(is_refused);
        if before == after {
            continue;
        }
        if is_refused && reply.json()["outcome"] == "not_applied" {
            let differs = |key: &&String| before.get(*key) != after.get(*key);
            let changed: BTreeSet<&String> = before.keys().chain(after.keys()).filter(differs).collect();
            claims.push(format!("{begin:?}: {} {} changed {changed:?}: {}", write.method, write.path, reply.text()));
        }
        restore(app, stored);
        before = digest(app);
    }
    (refused, claims)
}

/// A service, what its clients know, and what Redis contains.
async fn scene() -> (TestApp, (Planted, Dump)) {
    let config = "orderbook.require_fence = false\nratelimit.envoy = [{ domain = \"gateway\", entries = [{ key = \"user\" }], limiter = \"orders\" }]";
    // The tests change the permissions of the default user.
    let app = TestApp::builder().redis_options(&["--save", ""]).config(config).spawn().await;
    let planted = seed(&app).await;
    let stored = dump(&app);
    (app, (planted, stored))
}

#[tokio::test]
async fn a_write_refused_as_a_whole_changes_nothing() {
    let (app, kept) = scene().await;
    let mut all = Vec::new();
    for (begin, end) in [
        // OOM, NOREPLICAS (which is checked as MISCONF is), READONLY.
        (["CONFIG", "SET", "maxmemory", "1"].as_slice(), ["CONFIG", "SET", "maxmemory", "0"].as_slice()),
        (&["CONFIG", "SET", "min-replicas-to-write", "1"], &["CONFIG", "SET", "min-replicas-to-write", "0"]),
        (&["REPLICAOF", "127.0.0.1", "1"], &["REPLICAOF", "NO", "ONE"]),
    ] {
        let (refused, claims) = false_claims(&app, &kept, begin, end).await;
        assert!(refused > 60, "{begin:?} refused {refused} writes only");
        all.extend(claims);
    }
    assert!(all.is_empty(), "{}", all.join("\n"));
}

#[tokio::test]
async fn a_write_that_redis_permits_in_part_claims_only_what_is_true() {
    let (app, kept) = scene().await;
    let mut all = Vec::new();
    for command in [
        "evalsha", "get", "set", "del", "unlink", "hset", "hdel", "hgetall", "zadd", "zrem", "pexpire", "exists",
        "xadd", "incr", "rpush", "publish", "sadd", "srem", "xack",
    ] {
        let (deny, allow) = (format!("-{command}"), format!("+{command}"));
        let (_, claims) =
            false_claims(&app, &kept, &["ACL", "SETUSER", "default", &deny], &["ACL", "SETUSER", "default", &allow])
                .await;
        all.extend(claims);
    }
    assert!(all.is_empty(), "{}", all.join("\n"));
}

#[tokio::test]
async fn a_full_redis_permits_what_frees_memory_with_and_without_a_key() {
    let (app, (planted, stored)) = scene().await;
    let records = || app.redis().keys().into_iter().filter(|key| key.starts_with("idempotency:")).collect::<Vec<_>>();
    for write in freeing_posts(&planted) {
        let name = format!("{} {}", write.method, write.path);
        for write in [write.clone(), write.with_key()] {
            restore(&app, &stored);
            let _: String = app.redis().command(&["CONFIG", "SET", "maxmemory", "1"]);
            let reply = write.send(&app).await;
            assert!(reply.status.is_success(), "{name}: {}", reply.text());
            if let Some(record) = records().first() {
                let left: i64 = app.redis().command(&["PTTL", record]);
                assert!((1..=60_000).contains(&left), "{name} is kept for {left} ms");
                let again = write.send(&app).await;
                assert_eq!(again.status, reply.status, "{name}: {}", again.text());
            }
            let _: String = app.redis().command(&["CONFIG", "SET", "maxmemory", "0"]);
        }
    }
    restore(&app, &stored);
    let _: String = app.redis().command(&["CONFIG", "SET", "maxmemory", "1"]);
    // The same operation as a deletion, and one that never frees memory.
    let set = json!([{ "key": "c", "ttl_ms": 60_000, "value": 2 }]);
    for (path, body) in [("/cache/batch", json!({ "set": set })), ("/cache/n/increment", json!({ "by": 1 }))] {
        let headers = [("content-type", "application/json"), ("idempotency-key", "full")];
        let reply = app.send(axum::http::Method::POST, path, &headers, body.to_string()).await;
        assert!(reply.text().contains("redis-out-of-memory"), "{path}: {}", reply.text());
    }
    let _: String = app.redis().command(&["CONFIG", "SET", "maxmemory", "0"]);
}
