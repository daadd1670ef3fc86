//! Looks into Redis: what administrators see, and what they do not.

use axum::http::Method;
use serde_json::Value;

use crate::support::{TestApp, eventually};

/// Redis logs every command as slow.
const SLOW: &[&str] =
    &["--save", "900 1", "--appendonly", "no", "--slowlog-log-slower-than", "0", "--latency-monitor-threshold", "1"];

fn items(list: &Value) -> Vec<Value> {
    list["items"].as_array().expect("a list").clone()
}

#[tokio::test]
async fn slow_commands_show_their_script_and_capability_and_no_data() {
    let app = TestApp::builder().redis_options(SLOW).spawn().await;
    app.send(Method::PUT, "/cache/canary-key", &[], "canary-value").await.expect(201);
    app.post("/locks/canary-lock", serde_json::json!({ "ttl_ms": 1_000 })).await.expect(201);
    let reply = app.get("/admin/redis/slowlog").await.expect(200);
    let all = items(&reply.json());
    assert!(all.len() <= 256);
    let of = |script: &str| all.iter().find(|entry| entry["script"] == script).unwrap_or_else(|| panic!("{all:?}"));
    assert_eq!(
        (&of("cache/put.lua")["holding"], &of("locks/acquire.lua")["holding"]),
        (&"cache".into(), &"locks".into())
    );
    assert!(of("cache/put.lua")["duration_us"].as_i64().is_some_and(|us| us >= 0));
    assert!(!reply.text().contains("canary"), "{}", reply.text());
    for path in ["/metrics", "/metrics/redis", "/admin/redis/commands", "/admin/redis/clients"] {
        assert!(!app.get(path).await.expect(200).text().contains("canary"), "{path}");
    }
    app.get("/admin/redis/slowlog?role=none").await.expect_problem(422, "invalid-query");
}

#[tokio::test]
async fn slow_commands_that_redis_has_dropped_are_kept() {
    let app = TestApp::builder().redis_options(SLOW).spawn().await;
    app.send(Method::PUT, "/cache/a", &[], "b").await.expect(201);
    eventually("the replica has read the log", async || {
        app.get("/health/ready").await.json()["tasks"]["inspect.slow_log"]["last_run"].is_number()
    })
    .await;
    let _: String = app.redis().command(&["SLOWLOG", "RESET"]);
    for at in 0..5 {
        app.send(Method::PUT, &format!("/json/doc:{at}"), &[("content-type", "application/json")], "{}").await;
    }
    let list = async || items(&app.get("/admin/redis/slowlog").await.expect(200).json());
    let all = list().await;
    let of = |script: &str| all.iter().filter(|entry| entry["script"] == script).count();
    assert!(of("cache/put.lua") == 1 && of("json/write.lua") == 5, "{all:?}");
    for _ in 0..3 {
        list().await;
        let _: Vec<String> = (0..130).map(|_| app.redis().command(&["ECHO", "x"])).collect();
    }
    assert_eq!(list().await.len(), 256);
}

#[tokio::test]
async fn latency_clients_and_commands_are_shown() {
    let app = TestApp::builder()
        .redis_options(&[SLOW, &["--enable-debug-command", "yes"]].concat())
        .config("redis.check_interval = \"50ms\"")
        .spawn()
        .await;
    let _: String = app.redis().command(&["DEBUG", "SLEEP", "0.02"]);
    let events = items(&app.get("/admin/redis/latency?role=cache").await.expect(200).json());
    assert!(
        events.iter().any(|event| event["event"] == "command" && event["max_ms"].as_i64() >= Some(20)),
        "{events:?}"
    );
    let clients = items(&app.get("/admin/redis/clients").await.expect(200).json());
    assert!(clients.iter().any(|group| group["connections"].as_u64() >= Some(1)), "{clients:?}");
    eventually("the commands are known", async || {
        let commands = items(&app.get("/admin/redis/commands").await.expect(200).json());
        commands.iter().any(|command| {
            command["command"] == "info" && command["calls"].as_u64() >= Some(1) && command["mean_us"].is_u64()
        })
    })
    .await;
}

#[tokio::test]
async fn an_inventory_finds_holdings_large_keys_and_keys_that_never_expire() {
    let app = TestApp::spawn().await;
    app.get("/admin/redis/inventory").await.expect_problem(404, "inventory-not-found");
    app.send(Method::PUT, "/cache/big", &[], "x".repeat(100_000)).await.expect(201);
    let _: String = app.redis().command(&["SET", "lock:forgotten", "token"]);
    for nth in 0..300 {
        let _: String = app.redis().command(&["SET", &format!("session:{nth}"), "y"]);
    }
    let begun = app.post("/admin/redis/inventory", Value::Null).await;
    assert_eq!(begun.expect(202).json()["status"], "running");
    app.post("/admin/redis/inventory", Value::Null).await.expect_problem(409, "inventory-running");
    let inventory = async || app.get("/admin/redis/inventory").await.expect(200).json();
    eventually("the inventory is done", async || inventory().await["status"] == "done").await;
    let found = inventory().await;
    assert!(found["keys"].as_u64() >= Some(302), "{found}");
    assert_eq!(found["largest"][0]["key"], "cache:big", "{found}");
    assert_eq!(found["never_expiring"][0]["key"], "lock:forgotten", "{found}");
    assert_eq!(
        (&found["unknown"][0]["names"], &found["unknown"][0]["keys"]),
        (&"session:*".into(), &300.into()),
        "{found}"
    );
    eventually("the next may begin", async || app.post("/admin/redis/inventory?role=cache", Value::Null).await.is(202))
        .await;
}

#[tokio::test]
async fn the_shipped_user_may_inspect_and_an_inventory_has_all_keys_of_a_cluster() {
    let app = TestApp::spawn().await;
    for path in ["/admin/redis/slowlog", "/admin/redis/latency", "/admin/redis/clients", "/admin/redis/commands"] {
        app.get(path).await.expect(200);
    }
    app.post("/admin/redis/inventory", Value::Null).await.expect(202);
    eventually("the inventory is done", async || app.get("/admin/redis/inventory").await.json()["status"] == "done")
        .await;
    let cluster = crate::support::Cluster::start().await;
    let app = TestApp::builder().config(&cluster.config()).spawn().await;
    for nth in 0..50 {
        app.put(&format!("/json/doc:{nth}"), serde_json::json!({})).await.expect(201);
    }
    app.post("/admin/redis/inventory", Value::Null).await.expect(202);
    let inventory = async || app.get("/admin/redis/inventory").await.json();
    eventually("the inventory is done", async || inventory().await["status"] == "done").await;
    let keys: usize = cluster.nodes.iter().map(|node| node.command::<usize>(&["DBSIZE"])).sum();
    // The inventory itself is written during its walk.
    let counted = inventory().await["keys"].as_u64().expect("a number");
    assert!(counted.abs_diff(keys as u64) <= 3 && counted >= 100, "{counted} of {keys}");
    app.get("/admin/redis/clients").await.expect_problem(409, "redis-cluster");
    app.get("/admin/redis/slowlog").await.expect(200);
    app.get("/admin/redis/latency").await.expect(200);
}

#[tokio::test]
async fn looks_need_redis_and_the_scope_admin() {
    let app = TestApp::builder().behind_proxy().spawn().await;
    app.proxy().cut();
    eventually("the service is not ready", async || app.get("/health/ready").await.is(503)).await;
    for path in ["/admin/redis/slowlog", "/admin/redis/latency", "/admin/redis/clients", "/admin/redis/inventory"] {
        app.get(path).await.expect_problem(503, "redis-unavailable");
    }
}

#[tokio::test]
async fn hot_keys_are_listed_with_their_error_and_age() {
    let app = TestApp::builder().behind_proxy().spawn().await;
    app.send(Method::PUT, "/cache/busy", &[], "x").await.expect(201);
    for _ in 0..50 {
        app.get("/cache/busy").await.expect(200);
    }
    app.get("/cache/idle").await.expect_problem(404, "cache-miss");
    app.post("/locks/settlement", serde_json::json!({ "ttl_ms": 1_000 })).await.expect(201);
    let list = app.get("/admin/redis/hot?holding=cache&role=cache&limit=200").await.expect(200).json();
    let all = items(&list);
    let of = |key: &str| all.iter().find(|item| item["key"] == key).cloned().unwrap_or_else(|| panic!("{list}"));
    // A GET is one exchange, although it reads value and TTL; the PUT is another one.
    assert_eq!(
        of("cache:busy"),
        serde_json::json!({ "key": "cache:busy", "holding": "cache", "uses": 51, "error": 0 }),
        "{list}"
    );
    assert_eq!(of("cache:idle")["uses"], 1, "{list}");
    assert_eq!((&list["sampled"], &list["uncounted"]), (&1.into(), &0.into()), "{list}");
    assert!(all.iter().all(|item| item["holding"] == "cache"), "{list}");
    assert!(list["uses"].as_u64() > Some(52), "the uses of other capabilities count as well: {list}");
    let locks = items(&app.get("/admin/redis/hot?holding=locks").await.expect(200).json());
    assert!(locks.iter().any(|item| item["key"] == "lock:settlement"), "{locks:?}");
    for query in ["limit=0", "limit=201", "limit=x", "holding=none", "holding=", "role=none", "more=1"] {
        app.get(&format!("/admin/redis/hot?{query}")).await.expect_problem(422, "invalid-query");
    }
    let refused = app.get("/admin/redis/hot?holding=none").await.text();
    assert!(refused.contains("holding") && refused.contains("orderbook"), "{refused}");
    app.proxy().cut();
    app.get("/admin/redis/hot").await.expect(200);
    app.clock().advance(std::time::Duration::from_secs(301));
    let later = app.get("/admin/redis/hot").await.expect(200).json();
    assert!(items(&later).iter().all(|item| item["key"] != "cache:busy"), "{later}");
}

#[tokio::test]
async fn thousands_of_keys_leave_the_list_bounded_and_the_busiest_key_in_it() {
    let app = TestApp::spawn().await;
    for at in 0..3_000 {
        app.get(&format!("/cache/rare-{at}")).await.expect(404);
        app.get("/cache/busy").await.expect(404);
    }
    let list = app.get("/admin/redis/hot?limit=200").await.expect(200).json();
    let (all, uses) = (items(&list), list["uses"].as_u64().expect("a number"));
    assert_eq!(all.len(), 200);
    let busiest = &all[0];
    let (count, error) = (busiest["uses"].as_u64().expect("a number"), busiest["error"].as_u64().expect("a number"));
    assert_eq!(busiest["key"], "cache:busy", "{list}");
    assert!((count - error..=count).contains(&3_000), "{busiest}");
    assert!(error <= uses / 1_024 && list["uncounted"].as_u64() <= Some(uses / 1_024), "{list}");
}

#[tokio::test]
async fn persistence_says_what_a_crash_loses() {
    let quick = "redis.check_interval = \"50ms\"";
    let app = TestApp::builder().redis_options(&["--save", "3600 1", "--appendonly", "no"]).config(quick).spawn().await;
    let read = async || app.get("/admin/persistence").await.expect(200).json()["items"][0].clone();
    eventually("the server is checked", async || !read().await.is_null()).await;
    let server = read().await;
    assert_eq!((&server["kind"], &server["save_points"]), (&"snapshots".into(), &"3600 1".into()), "{server}");
    assert!(server["loss"].as_str().is_some_and(|text| text.starts_with("everything since the last snapshot")));
    assert!(server["findings"].to_string().contains("append-only file is off"), "{server}");
    let _: String = app.redis().command(&["CONFIG", "SET", "appendonly", "yes"]);
    eventually("the check sees the file", async || read().await["append_only"]["is_enabled"] == true).await;
    let server = read().await;
    assert_eq!((&server["fsync"], &server["findings"]), (&"everysec".into(), &Value::Array(Vec::new())), "{server}");
    assert_eq!(server["loss"], "the last second, or two if the disk is slow", "{server}");
    let _: String = app.redis().command(&["CONFIG", "SET", "stop-writes-on-bgsave-error", "no"]);
    let _: String = app.redis().command(&["CONFIG", "SET", "appendfsync", "always"]);
    let server = read().await;
    assert_eq!(server["loss"], "nothing that was answered", "{server}");
    assert!(server["findings"].to_string().contains("stop-writes-on-bgsave-error"), "{server}");
    app.get("/admin/persistence?role=state").await.expect_problem(422, "invalid-query");
    // Redis is not needed to tell what was seen last.
    app.redis().stall();
    app.get("/admin/persistence").await.expect(200);
    app.redis().resume();
}

#[tokio::test]
async fn persistence_works_without_the_right_to_read_the_configuration() {
    let app = TestApp::spawn().await;
    eventually("the server was checked", async || {
        app.get("/admin/persistence").await.expect(200).json()["items"][0].is_object()
    })
    .await;
    let server = app.get("/admin/persistence").await.expect(200).json()["items"][0].clone();
    assert_eq!((&server["kind"], &server["fsync"]), (&"aof".into(), &Value::Null), "{server}");
    assert!(server["loss"].as_str().is_some_and(|text| text.contains("may not be read")), "{server}");
}
