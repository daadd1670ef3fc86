//! Attacks with bodies and heads that expand, are too long, or never end.

use super::Size;
use super::client::{Attack, GZIP, JSON, Manner, call, gzip};

pub fn attacks(size: &Size) -> Vec<Attack> {
    let types = ["application/json", "application/x-ndjson", "text/csv", "text/plain"];
    let posts = [
        "/cache/batch",
        "/cache/a/increment",
        "/json/batch",
        "/json/a/array/append",
        "/json",
        "/locks/a",
        "/locks/acquire-all",
        "/ratelimit/check",
        "/ratelimit/check-all",
        "/timeseries/a/samples",
        "/timeseries/query",
        "/hosts/a/metrics",
        "/agent/heartbeat",
        "/users/a/activity",
        "/energy/meters/a/readings",
    ];
    let bulk = ["/timeseries/samples", "/write", "/api/v2/write"];
    let bombs: Vec<_> = [b" ", b"0", b"["].iter().map(|byte| gzip(&byte.repeat(size.of_many(64 << 20)))).collect();
    let mut bodies: Vec<Vec<u8>> = bombs
        .iter()
        .flat_map(|bomb| {
            let headers = format!("{JSON}{GZIP}");
            let put = |path: &str| call("PUT", path, &headers, bomb);
            let puts = ["/cache/a", "/json/a", "/timeseries/a", "/users/a/preferences"].map(put);
            puts.into_iter().chain(posts.iter().map(|path| call("POST", path, &headers, bomb))).collect::<Vec<_>>()
        })
        .collect();
    let newlines = b"\n".repeat(4 << 20);
    let line = b"a".repeat(4 << 20);
    let mut loads = Vec::new();
    for path in bulk {
        for kind in types {
            let kind = format!("Content-Type: {kind}\r\n");
            loads.push(call("POST", path, &kind, &newlines));
            loads.push(call("POST", path, &kind, &line));
            let compressed = format!("{kind}{GZIP}");
            loads.push(call("POST", path, &compressed, gzip(&b"\n".repeat(size.of_many(64 << 20)))));
            bodies.extend(bombs.iter().map(|bomb| call("POST", path, &compressed, bomb)));
        }
    }
    let megabyte = format!("\"{}\"", "x".repeat(1_000_000));
    let unfinished = vec![
        call("PUT", "/cache/unfinished", JSON, &megabyte),
        call("PUT", "/json/unfinished", JSON, &megabyte),
        call("POST", "/json/batch", JSON, &megabyte),
        call("POST", "/timeseries/samples", JSON, &megabyte),
        call("POST", "/write", "Content-Type: text/plain\r\n", &megabyte),
    ];
    let long_header = format!("X-Long: {}\r\n", "x".repeat(300_000));
    let long_path = format!("/cache/{}", "x".repeat(60_000));
    let heads = vec![call("GET", "/cache/a", &long_header, ""), call("GET", &long_path, "", "")];
    vec![
        Attack::new("gzip bombs", Manner::Read, size.of_many(64), bodies),
        Attack::new("newlines, giant lines", Manner::Read, size.of_many(64), loads),
        Attack::new("unfinished bodies", Manner::Withhold, size.of_many(3_000), unfinished),
        Attack::new("unfinished heads", Manner::Withhold, size.of_many(3_000), heads),
    ]
}
