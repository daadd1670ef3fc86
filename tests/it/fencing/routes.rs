//! Every route: those with a fence reject stale tokens, and the others reject the header.

use std::collections::BTreeSet;

use axum::http::Method;
use gridtokenx_redis::app::access_table;
use gridtokenx_redis::http::access::{Access, Fencing, Guard};
use serde_json::json;

use super::{JSON, SERIES, append, highest, put, send, snapshot, token_after};
use crate::support::{Reply, TestApp, eventually};

/// A guarded request, and the status of its response if its token is not stale.
struct Write {
    row: (&'static str, &'static str),
    path: &'static str,
    headers: &'static [(&'static str, &'static str)],
    body: &'static str,
    status: u16,
}

const fn write(
    row: (&'static str, &'static str),
    path: &'static str,
    headers: &'static [(&'static str, &'static str)],
    body: &'static str,
    status: u16,
) -> Write {
    Write { row, path, headers, body, status }
}

const PUT: (&str, &str) = ("PUT", "/cache/{key}");
const DELETE: (&str, &str) = ("DELETE", "/cache/{key}");
const ABSENT: (&str, &str) = ("if-none-match", "*");
const OTHER: (&str, &str) = ("if-match", "\"other\"");
const LEASE: (&str, &str) = ("cache-lease", "00112233445566778899aabbccddeeff");

/// Every write to a single target. The value is the number 1 with a tag, a stale copy and a TTL of a minute; the series
/// has one sample and a rollup.
const WRITES: &[Write] = &[
    write(PUT, "/cache/market:stats:24h?ttl_ms=5000", &[], "2", 204),
    write(PUT, "/cache/market:stats:24h?keep_ttl=true&tags=u", &[], "2", 204),
    write(PUT, "/cache/market:stats:24h", &[ABSENT], "2", 412),
    write(PUT, "/cache/market:stats:24h", &[OTHER], "2", 412),
    write(PUT, "/cache/market:stats:24h", &[LEASE], "2", 409),
    write(DELETE, "/cache/market:stats:24h", &[], "", 204),
    write(DELETE, "/cache/market:stats:24h", &[OTHER], "", 412),
    write(DELETE, "/cache/market:stats:24h?take=true", &[], "", 200),
    write(DELETE, "/cache/market:stats:24h?take=true", &[OTHER], "", 412),
    write(("POST", "/cache/{key}/touch"), "/cache/market:stats:24h/touch", &[], "{\"ttl_ms\":9000}", 204),
    write(("POST", "/cache/{key}/increment"), "/cache/market:stats:24h/increment", &[], "{\"by\":2}", 409),
    write(("POST", "/cache/{key}/increment"), "/cache/counter/increment", &[], "{\"by\":2}", 200),
    write(("DELETE", "/cache/tags/{tag}"), "/cache/tags/t", &[], "", 204),
    write(("PUT", "/timeseries/{key}"), SERIES, &[], "{}", 200),
    write(("PUT", "/timeseries/{key}"), SERIES, &[], "{\"retention_ms\":1000}", 409),
    write(("PATCH", "/timeseries/{key}"), SERIES, &[], "{\"retention_ms\":1000}", 200),
    write(("DELETE", "/timeseries/{key}"), SERIES, &[], "", 204),
    write(
        ("POST", "/timeseries/{key}/samples"),
        "/timeseries/energy:generation:m1/samples",
        &[],
        "{\"samples\":[{\"timestamp\":2,\"value\":2}]}",
        200,
    ),
    write(
        ("DELETE", "/timeseries/{key}/samples"),
        "/timeseries/energy:generation:m1/samples?from=0&to=9",
        &[],
        "",
        200,
    ),
    write(
        ("POST", "/timeseries/{key}/rollups"),
        "/timeseries/energy:generation:m1/rollups",
        &[],
        "{\"bucket\":\"1d\",\"agg\":\"sum\"}",
        201,
    ),
    write(
        ("DELETE", "/timeseries/{key}/rollups/{rollup}"),
        "/timeseries/energy:generation:m1/rollups/max:1h",
        &[],
        "",
        204,
    ),
];

impl Write {
    async fn send_with(&self, app: &TestApp, token: &str) -> Reply {
        let mut headers = vec![JSON, ("fencing-token", token)];
        headers.extend(self.headers);
        app.send(self.row.0.parse().expect("a method"), self.path, &headers, self.body).await
    }
}

/// Adds a rollup to the series and waits until it is filled.
async fn add_rollup(app: &TestApp) {
    let path = format!("{SERIES}/rollups");
    send(app, 20, Method::POST, &path, "{\"bucket\":\"1h\",\"agg\":\"max\"}").await.expect(201);
    let complete = async || app.get(&path).await.expect(200).json()["items"][0]["complete"] == true;
    eventually("the rollup is filled", complete).await;
}

#[tokio::test]
async fn a_stale_token_is_rejected_and_changes_nothing() {
    let app = TestApp::spawn().await;
    for (number, write) in WRITES.iter().enumerate() {
        let _: () = app.redis().command(&["FLUSHALL"]);
        put(&app, 20, "/cache/market:stats:24h?ttl_ms=60000&tags=t", "1").await.expect(201);
        put(&app, 20, "/cache/counter", "1").await.expect(201);
        send(&app, 20, Method::DELETE, "/cache/tags/t", "").await.expect(204);
        app.send(Method::PUT, "/cache/market:stats:24h?ttl_ms=60000&tags=t", &[JSON], "1").await.expect(204);
        append(&app, 20, SERIES, 1).await.expect(200);
        add_rollup(&app).await;

        let before = snapshot(&app.redis());
        let case = format!("{number}: {:?} {} {:?}", write.row, write.path, write.headers);
        let problem = write.send_with(&app, "19").await.expect_problem(409, "stale-fence");
        assert_eq!(problem["outcome"], "not_applied", "{case}");
        let forged = token_after(&app.redis(), 3_660_000).to_string();
        let refused = write.send_with(&app, &forged).await;
        let problem = refused.expect_violation(422, "invalid-header", "/Fencing-Token");
        assert_eq!(problem["outcome"], "not_applied", "{case}");
        let mut after = snapshot(&app.redis());
        // A tag is created before its value is written; a tag without values has no effect.
        after.remove("cache:tag:{u}");
        assert_eq!(after, before, "{case}");

        let reply = write.send_with(&app, "20").await;
        assert!(reply.is(write.status), "{case}: {} {}", reply.status, reply.text());
        let reply = write.send_with(&app, "22").await;
        assert!(!reply.text().contains("stale-fence"), "{case}: {}", reply.text());
        write.send_with(&app, "21").await.expect_problem(409, "stale-fence");
    }
}

#[tokio::test]
async fn every_guarded_route_is_tested() {
    let tested: BTreeSet<_> = WRITES.iter().map(|write| write.row).collect();
    let is_guarded = |row: &Access| ["/cache", "/timeseries"].iter().any(|prefix| row.path.starts_with(prefix));
    let rows: Vec<Access> = access_table().into_iter().filter(is_guarded).collect();
    let declared: BTreeSet<_> =
        rows.iter().filter(|row| row.fencing == Fencing::Target).map(|row| (row.method, row.path)).collect();
    assert_eq!(declared, tested, "add the route to WRITES");
    let items: Vec<_> =
        rows.iter().filter(|row| row.fencing == Fencing::Items).map(|row| (row.method, row.path)).collect();
    assert_eq!(items, [("POST", "/cache/batch"), ("POST", "/timeseries/samples")], "test the route in batches.rs");
    for row in rows {
        let reads = row.method == "GET" || matches!(row.guard, Guard::Scope(scope) if scope.ends_with(":read"));
        let has_fence = row.fencing != Fencing::None || row.method == "HEAD";
        assert!(has_fence || reads, "{} {} has no fence", row.method, row.path);
    }
}

#[tokio::test]
async fn an_unguarded_write_rejects_the_header_and_a_read_ignores_it() {
    let app = TestApp::spawn().await;
    // The responses of these routes end only with the service.
    let ends = |row: &Access| !["/alerts/events", "/ui/events"].contains(&row.path);
    for row in access_table().into_iter().filter(|row| row.fencing == Fencing::None && ends(row)) {
        let parts = row.path.split('/').map(|part| if part.starts_with('{') { "a" } else { part });
        let path = parts.collect::<Vec<_>>().join("/");
        let method: Method = row.method.parse().expect("a method");
        let reply = app.send(method.clone(), &path, &[JSON, ("fencing-token", "7")], "{}").await;
        if method.is_safe() {
            assert!(!reply.text().contains("Fencing-Token"), "{method} {path}: {}", reply.text());
        } else {
            reply.expect_violation(422, "invalid-header", "/Fencing-Token");
        }
    }
    assert_eq!(app.redis().command::<i64>(&["EXISTS", "lock:a"]), 0, "a rejected request acquired a lock");
    app.post("/locks/a", json!({ "ttl_ms": 1_000 })).await.expect(201);
}

#[tokio::test]
async fn the_api_prefix_uses_the_same_fences() {
    let app = TestApp::spawn().await;
    put(&app, 2, "/api/cache/a", "1").await.expect(201);
    put(&app, 1, "/cache/a", "2").await.expect_problem(409, "stale-fence");
    assert_eq!(highest(&app.redis(), "cache:fence:{cache:a}"), Some(2));
}

#[tokio::test]
async fn a_write_without_the_header_leaves_fences_unchanged() {
    const FENCES: [&str; 2] = ["cache:fence:{cache:a}", "ts:fence:{energy:generation:m1}"];
    let app = TestApp::spawn().await;
    put(&app, 20, "/cache/a", "1").await.expect(201);
    append(&app, 20, SERIES, 1).await.expect(200);
    let fences = || FENCES.map(|fence| app.redis().command::<i64>(&["PEXPIRETIME", fence]));
    let before = fences();

    let _: () = app.redis().command(&["CONFIG", "RESETSTAT"]);
    app.put("/cache/a", json!(2)).await.expect(204);
    let stats: String = app.redis().command(&["INFO", "commandstats"]);
    // Apart from these, only the test's own commands and the background check of the server run.
    let ours = ["evalsha", "get", "pttl", "set", "strlen", "unlink", "zadd"];
    let calls = ours.map(|command| {
        let line = stats.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
        line.and_then(|line| line.split(',').next()?.parse().ok()).unwrap_or(0)
    });
    // put.lua, and the index of keys behind it.
    assert_eq!(calls, [1, 0, 0, 1, 1, 1, 1], "{stats}");

    let samples = json!({ "samples": [{ "timestamp": 2, "value": 2 }] });
    app.post("/timeseries/energy:generation:m1/samples", samples).await.expect(200);
    app.delete("/cache/a").await.expect(204);
    app.delete(SERIES).await.expect(204);
    assert_eq!(fences(), before);
    assert_eq!(FENCES.map(|fence| highest(&app.redis(), fence)), [Some(20), Some(20)]);
}
