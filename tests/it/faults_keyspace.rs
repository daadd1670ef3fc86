//! A write that Redis refuses, wholly or in part, claims `not_applied` only if nothing in Redis has changed.

use std::collections::{BTreeMap, BTreeSet};

use axum::http::Method;
use serde_json::{Value, json};

use crate::support::{Reply, TestApp};

/// A write of one route, on the data of [`seed`].
struct Write {
    method: Method,
    path: String,
    headers: Vec<(&'static str, String)>,
    body: String,
}

impl Write {
    #[expect(clippy::needless_pass_by_value, reason = "callers pass literals")]
    fn new(method: Method, path: &str, body: impl ToString) -> Self {
        let headers = vec![("content-type", "application/json".to_owned())];
        Self { method, path: path.to_owned(), headers, body: body.to_string() }
    }

    fn post(path: &str, body: Value) -> Self {
        Self::new(Method::POST, path, body)
    }

    fn put(path: &str, body: Value) -> Self {
        Self::new(Method::PUT, path, body)
    }

    fn patch(path: &str, body: Value) -> Self {
        let write = Self::new(Method::PATCH, path, body);
        Self { headers: vec![("content-type", "application/merge-patch+json".to_owned())], ..write }
    }

    fn delete(path: &str) -> Self {
        Self { headers: Vec::new(), ..Self::new(Method::DELETE, path, "") }
    }

    fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.retain(|(other, _)| *other != name);
        self.headers.push((name, value.to_owned()));
        self
    }

    async fn send(&self, app: &TestApp) -> Reply {
        let headers: Vec<(&str, &str)> = self.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        app.send(self.method.clone(), &self.path, &headers, self.body.clone()).await
    }
}

const AT: i64 = crate::support::START - 60_000;

/// Data of every capability.
fn seeds() -> Vec<Write> {
    let samples = json!({ "samples": [{ "timestamp": AT, "value": 1.5 }] });
    vec![
        Write::put("/cache/a?tags=t&ttl_ms=60000", json!({ "a": 1 })),
        Write::put("/cache/b?tags=t&ttl_ms=60000", json!({ "b": 1 })),
        Write::post("/cache/n/increment", json!({ "by": 1, "ttl_ms": 60_000 })),
        Write::post("/ratelimit/check", json!({ "limiter": "orders", "key": "k" })),
        Write::post("/ratelimit/check", json!({ "limiter": "orders", "key": "k2" })),
        Write::put("/ratelimit/limiters/orders/exceptions/denied", json!({ "action": "deny" })),
        Write::put("/json/d", json!({ "n": 1, "s": "x", "b": true, "a": [1, 2, 3], "o": { "x": 1 } })),
        Write::put("/json/e", json!({ "n": 1 })),
        Write::put("/users/u/preferences", json!({ "language": "th", "theme": "dark" })),
        Write::post("/users/u/activity", json!({ "action": "login" })),
        Write::put("/config/market/grid", json!({ "symbol": "GRID", "base_currency": "THBC" })),
        Write::put("/forms/f", json!({ "meter": "MTR-001" })),
        Write::put("/timeseries/energy:consumption:M", json!({ "labels": { "zone": "1" } })),
        Write::post("/timeseries/energy:consumption:M/samples", samples),
    ]
}

/// One write of each route, and several where its parts may fail one by one.
fn writes(lock: &str, reservation: &str) -> Vec<Write> {
    let set = json!([{ "key": "a", "ttl_ms": 60_000, "value": 1 }, { "key": "c", "ttl_ms": 60_000, "value": 2 }]);
    let samples = json!({ "samples": [{ "timestamp": AT + 1, "value": 1.5 }] });
    let series = |key: &str| json!({ "series": key, "timestamp": AT + 1, "value": 1.5 });
    let line = format!("power,meter=M import=0.4,export=0 {}000000\n", AT + 1);
    let at = |path: &str| json!({ "path": path });
    let mut writes = vec![
        Write::put("/cache/a?tags=t2&ttl_ms=60000", json!(1)),
        Write::put("/cache/c?tags=t&ttl_ms=60000", json!(1)),
        Write::post("/cache/batch", json!({ "set": set, "delete": ["b"] })),
        Write::post("/cache/n/increment", json!({ "by": 1 })),
        Write::post("/cache/a/touch", json!({ "ttl_ms": 5_000 })),
        Write::delete("/cache/a"),
        Write::delete("/cache/a?take=true"),
        Write::delete("/cache/tags/t"),
        Write::post("/locks/r2", json!({ "ttl_ms": 30_000 })),
        Write::post("/locks/acquire-all", json!({ "resources": ["r3", "r4"], "ttl_ms": 30_000 })),
        Write::patch("/locks/r", json!({ "token": lock, "ttl_ms": 60_000 })).with("content-type", "application/json"),
        Write::delete("/locks/r").with("lock-token", lock),
        Write::delete("/locks/r?force=true"),
        Write::post("/ratelimit/check", json!({ "limiter": "orders", "key": "k" })),
        Write::post("/ratelimit/check", json!({ "limiter": "trading", "key": "k" })),
        Write::post("/ratelimit/check", json!({ "limiter": "sensitive", "key": "k", "cost": 3 })),
        Write::post(
            "/ratelimit/check-all",
            json!({ "checks": [{ "limiter": "orders", "key": "k" },
            { "limiter": "trading", "key": "k" }, { "limiter": "sensitive", "key": "k" }] }),
        ),
        Write::post("/ratelimit/enforce", json!({ "limiter": "orders", "key": "new" })),
        Write::post("/json", json!({ "domain": "gateway", "descriptors": [{ "entries": [{ "key": "user" }] }] })),
        Write::post("/ratelimit/reserve", json!({ "limiter": "trading", "key": "k", "cost": 1 })),
        Write::post(&format!("/ratelimit/reservations/{reservation}/settle"), json!({ "cost": 2 })),
        Write::post(&format!("/ratelimit/reservations/{reservation}/settle"), json!({ "cost": 60 })),
        Write::put("/ratelimit/limiters/orders/exceptions/k", json!({ "action": "allow" })),
        Write::delete("/ratelimit/limiters/orders/exceptions/denied"),
        Write::delete("/ratelimit/orders/k"),
        Write::delete("/ratelimit/orders?prefix=k"),
        Write::put("/json/d", json!({ "n": 2 })),
        Write::put("/json/d?path=$.n", json!(2)),
        Write::put("/json/new?ttl_ms=60000", json!({ "n": 2 })),
        Write::patch("/json/d", json!({ "n": 2, "s": null })),
        Write::patch("/json/d", json!([{ "op": "remove", "path": "/n" }]))
            .with("content-type", "application/json-patch+json"),
        Write::delete("/json/d"),
        Write::delete("/json/d?path=$.n"),
        Write::post(
            "/json/batch",
            json!({ "set": [{ "key": "d", "value": 1 }, { "key": "f", "value": 2 }], "delete": [{ "key": "e" }] }),
        ),
        Write::post("/json/d/array/append", json!({ "path": "$.a", "values": [4] })),
        Write::post("/json/d/array/insert", json!({ "path": "$.a", "index": 0, "values": [4] })),
        Write::post("/json/d/array/pop", at("$.a")),
        Write::post("/json/d/array/trim", json!({ "path": "$.a", "start": 0, "stop": 0 })),
        Write::post("/json/d/clear", at("$.o")),
        Write::post("/json/d/number/increment", json!({ "path": "$.n", "by": 1 })),
        Write::post("/json/d/number/multiply", json!({ "path": "$.n", "by": 2 })),
        Write::post("/json/d/string/append", json!({ "path": "$.s", "value": "y" })),
        Write::post("/json/d/toggle", at("$.b")),
        Write::post("/json/d/touch", json!({ "ttl_ms": 60_000 })),
        Write::put("/timeseries/energy:consumption:N", json!({ "labels": { "zone": "1" } })),
        Write::patch("/timeseries/energy:consumption:M", json!({ "labels": { "zone": "2" } }))
            .with("content-type", "application/json"),
        Write::delete("/timeseries/energy:consumption:M"),
        Write::post("/timeseries/energy:consumption:M/samples", samples.clone()),
        Write::post("/timeseries/energy:consumption:N/samples", samples.clone()),
        Write::post(
            "/timeseries/samples",
            json!({ "samples": [series("energy:consumption:M"), series("energy:consumption:N")] }),
        ),
        Write::delete(&format!("/timeseries/energy:consumption:M/samples?from={AT}&to={AT}")),
        Write::post("/timeseries/energy:consumption:M/rollups", json!({ "agg": "max", "bucket": "1h" })),
        Write::new(Method::POST, "/write", &line).with("content-type", "text/plain"),
        Write::post(
            "/energy/meters/M/readings",
            json!({ "readings": [{ "energy_consumed": 0.5, "energy_generated": 0.3, "timestamp": AT + 1 }] }),
        ),
        Write::post("/market/prices/GRID", json!({ "prices": [{ "price": 4.25, "timestamp": AT, "volume": 12.5 }] })),
        Write::post("/market/volume", samples.clone()),
        Write::post("/settlements/thbc", samples),
        Write::post("/users/u/activity", json!({ "action": "logout" })),
        Write::delete("/users/u/activity"),
        Write::put("/users/u/preferences/language", json!("en")),
        Write::delete("/users/u/preferences/language"),
    ];
    for (path, change) in [
        ("/users/u/preferences", json!({ "theme": "light" })),
        ("/config/market/grid", json!({ "symbol": "GRID", "base_currency": "THB" })),
        ("/forms/f", json!({ "meter": "MTR-002" })),
    ] {
        writes.extend([Write::put(path, change.clone()), Write::patch(path, change), Write::delete(path)]);
    }
    writes
}

/// Empties Redis and fills it again; returns a lock's token and a reservation's id.
async fn seed(app: &TestApp) -> (String, String) {
    let delete = "for _, key in ipairs(redis.call('KEYS', '*')) do \
                  if not key:find(':{backend}', 1, true) then redis.call('DEL', key) end end";
    let _: Option<i64> = app.redis().command(&["EVAL", delete, "0"]);
    for write in seeds() {
        let reply = write.send(app).await;
        assert!(reply.status.is_success(), "{} {}: {}", write.method, write.path, reply.text());
    }
    let text = |reply: Reply, field: &str| {
        reply.json()[field].as_str().unwrap_or_else(|| panic!("no {field}: {}", reply.text())).to_owned()
    };
    let lock = app.post("/locks/r", json!({ "ttl_ms": 30_000 })).await.expect(201);
    let body = json!({ "limiter": "trading", "key": "k", "cost": 5 });
    let reserved = app.post("/ratelimit/reserve", body).await.expect(200);
    (text(lock, "token"), text(reserved, "reservation"))
}

/// The value of every key as Redis serialises it, but for the lists of limiters' keys and locks, which background tasks
/// maintain.
pub fn digest(app: &TestApp) -> BTreeMap<String, Vec<u8>> {
    let dump = "local reply = {} for _, key in ipairs(redis.call('KEYS', '*')) do \
                reply[#reply + 1] = key reply[#reply + 1] = redis.call('DUMP', key) end return reply";
    let flat: Vec<Vec<u8>> = app.redis().command(&["EVAL", dump, "0"]);
    let pairs = flat.chunks(2).map(|pair| (String::from_utf8_lossy(&pair[0]).into_owned(), pair[1].clone()));
    pairs.filter(|(key, _)| !key.starts_with("rate_limit:list:") && key != "locks:index").collect()
}

/// Sends each write while Redis is in this condition. Returns how many were refused, and those of them that claim that
/// nothing was changed although something was.
async fn false_claims(app: &TestApp, begin: &[&str], end: &[&str]) -> (usize, Vec<String>) {
    let (mut refused, mut claims) = (0, Vec::new());
    let (mut lock, mut reservation) = seed(app).await;
    let mut before = digest(app);
    for nth in 0..writes(&lock, &reservation).len() {
        let write = writes(&lock, &reservation).swap_remove(nth);
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
        (lock, reservation) = seed(app).await;
        before = digest(app);
    }
    (refused, claims)
}

async fn app() -> TestApp {
    let rules = "ratelimit.envoy = [{ domain = \"gateway\", entries = [{ key = \"user\" }], limiter = \"orders\" }]";
    // The tests change the permissions of the default user.
    TestApp::builder().redis_options(&["--save", ""]).config(rules).spawn().await
}

#[tokio::test]
async fn a_write_refused_as_a_whole_changes_nothing() {
    let app = app().await;
    let mut all = Vec::new();
    for (begin, end) in [
        // OOM, NOREPLICAS (which is checked as MISCONF is), READONLY.
        (["CONFIG", "SET", "maxmemory", "1"].as_slice(), ["CONFIG", "SET", "maxmemory", "0"].as_slice()),
        (&["CONFIG", "SET", "min-replicas-to-write", "1"], &["CONFIG", "SET", "min-replicas-to-write", "0"]),
        (&["REPLICAOF", "127.0.0.1", "1"], &["REPLICAOF", "NO", "ONE"]),
    ] {
        let (refused, claims) = false_claims(&app, begin, end).await;
        assert!(refused > 30, "{begin:?} refused {refused} writes only");
        all.extend(claims);
    }
    assert!(all.is_empty(), "{}", all.join("\n"));
}

#[tokio::test]
async fn a_write_that_redis_permits_in_part_claims_only_what_is_true() {
    let app = app().await;
    let mut all = Vec::new();
    for command in
        ["evalsha", "get", "set", "del", "unlink", "hset", "hdel", "hgetall", "zadd", "zrem", "pexpire", "exists"]
    {
        let (deny, allow) = (format!("-{command}"), format!("+{command}"));
        let (_, claims) =
            false_claims(&app, &["ACL", "SETUSER", "default", &deny], &["ACL", "SETUSER", "default", &allow]).await;
        all.extend(claims);
    }
    assert!(all.is_empty(), "{}", all.join("\n"));
}
