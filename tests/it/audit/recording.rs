//! Which requests are recorded, and what happens if they cannot be.

use axum::http::Method;
use serde_json::{Value, json};

use super::{KeyFile, LOG, entries};
use crate::support::{ADMIN_KEY, RedisServer, Reply, ServiceProcess, TestApp, eventually};

async fn send(app: &TestApp, method: Method, path: &str) -> Reply {
    app.send(method, path, &[("x-api-key", ADMIN_KEY), ("x-request-id", "order-17")], "").await
}

/// Waits for entries with this action, and returns them.
async fn of_action(app: &TestApp, action: &str, count: usize) -> Vec<Value> {
    let found = || {
        let all = entries(&app.redis());
        all.into_iter().filter(|entry| entry["action"] == action).collect::<Vec<_>>()
    };
    eventually("the entries are there", async || found().len() >= count).await;
    found()
}

#[tokio::test]
async fn an_action_is_recorded_before_it_acts_and_its_outcome_afterwards() {
    let key = KeyFile::new();
    let app = key.builder().admin_key().spawn().await;
    send(&app, Method::DELETE, "/ratelimit/api/canary-person").await.expect(204);
    send(&app, Method::DELETE, "/ratelimit/none/canary-person").await.expect_problem(404, "unknown-limiter");
    let found = of_action(&app, "DELETE /ratelimit/{limiter}/{key}", 4).await;
    let [intent, outcome, .., refused] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!((&intent["phase"], &outcome["phase"]), (&json!("intent"), &json!("outcome")), "{found:?}");
    assert_eq!((&outcome["outcome"], &outcome["details"]), (&json!("done"), &json!({ "status": 204 })));
    assert_eq!((&refused["outcome"], &refused["details"]), (&json!("unknown-limiter"), &json!({ "status": 404 })));
    for entry in &found {
        assert_eq!((&entry["actor"], &entry["request_id"]), (&json!("key:admin"), &json!("order-17")), "{entry}");
        assert!(entry["target"].as_str().is_some_and(|target| target.contains("key=hmac:")), "{entry}");
    }
    let text = app.redis().command::<ReplyText>(&["XRANGE", LOG, "-", "+"]).0;
    assert!(!text.contains("canary"), "what may name a person is a pseudonym: {text}");

    let list = async |query: &str| {
        let reply = send(&app, Method::GET, &format!("/admin/audit?{query}")).await.expect(200);
        reply.json()["items"].as_array().expect("a list").clone()
    };
    assert_eq!(list("target=canary-person").await.len(), 4);
    assert_eq!(list("target=api").await.len(), 2);
    assert_eq!(list("actor=nothing").await.len(), 0);
    assert_eq!(list("action=service.start").await.len(), 1);
    assert_eq!(list("to=2025-01-01").await.len(), 0);
    assert_eq!(list("from=-1h").await.len(), 5);
    let page = send(&app, Method::GET, "/admin/audit?limit=2").await.expect(200).json();
    assert_eq!((&page["items"][0]["seq"], &page["items"][1]["seq"]), (&json!(5), &json!(4)), "{page}");
    let cursor = page["next_cursor"].as_str().expect("a cursor");
    let next = send(&app, Method::GET, &format!("/admin/audit?limit=9&cursor={cursor}")).await.expect(200).json();
    assert_eq!((next["items"].as_array().map(Vec::len), &next["next_cursor"]), (Some(3), &Value::Null), "{next}");
    send(&app, Method::GET, "/admin/audit?limit=0").await.expect_problem(422, "invalid-query");
    send(&app, Method::GET, "/admin/audit?from=soon").await.expect_problem(422, "invalid-query");
    let verified = send(&app, Method::GET, "/admin/audit/verify").await.expect(200).json();
    assert_eq!((&verified["checked"], &verified["first_break"]), (&json!(5), &Value::Null), "{verified}");
    send(&app, Method::GET, "/admin/audit/verify?from=0x").await.expect_problem(422, "invalid-query");
}

/// Any reply as text.
struct ReplyText(String);

impl redis::FromRedisValue for ReplyText {
    fn from_redis_value(value: redis::Value) -> Result<Self, redis::ParsingError> {
        Ok(Self(format!("{value:?}")))
    }
}

#[tokio::test]
async fn only_a_forced_release_of_a_lock_is_recorded() {
    let key = KeyFile::new();
    let app = key.builder().spawn().await;
    let grant = app.post("/locks/minting", json!({ "ttl_ms": 60_000 })).await.expect(201).json();
    let token = grant["token"].as_str().expect("a token").to_owned();
    app.send(Method::DELETE, "/locks/minting", &[("lock-token", &token)], "").await.expect(204);
    app.post("/locks/minting", json!({ "ttl_ms": 60_000 })).await.expect(201);
    app.delete("/locks/minting?force=true").await.expect(204);
    let found = of_action(&app, "DELETE /locks/{resource}", 2).await;
    assert_eq!((found.len(), &found[0]["actor"]), (2, &json!("anonymous")), "{found:?}");
}

#[tokio::test]
async fn an_action_that_cannot_be_recorded_does_not_happen() {
    let key = KeyFile::new();
    let app = key.builder().spawn().await;
    let grant = app.post("/locks/minting", json!({ "ttl_ms": 60_000 })).await.expect(201).json();
    eventually("the start is recorded", async || !entries(&app.redis()).is_empty()).await;
    // Another program has put its own value there.
    let _: i64 = app.redis().command(&["DEL", LOG]);
    let _: String = app.redis().command(&["SET", LOG, "text"]);
    let problem = app.delete("/locks/minting?force=true").await.expect_problem(503, "audit-unavailable");
    assert_eq!(problem["outcome"], "not_applied", "{problem}");
    let held = app.get("/locks/minting").await.expect(200).json();
    assert_eq!((&held["held"], &held["fence"]), (&json!(true), &grant["fence"]), "{held}");
    let ready = app.get("/health/ready").await.expect(200).json();
    assert_eq!((&ready["status"], &ready["parts"]["audit"][0]["state"]), (&json!("degraded"), &json!("failing")));
    // Routes for data do not need the log.
    app.send(Method::PUT, "/cache/a", &[], "1").await.expect(201);

    let _: i64 = app.redis().command(&["DEL", LOG]);
    app.delete("/locks/minting?force=true").await.expect(204);
    let found = of_action(&app, "DELETE /locks/{resource}", 2).await;
    assert_eq!(found.len(), 2, "the refused action left no entry: {found:?}");
}

#[tokio::test]
async fn what_frees_memory_is_recorded_in_a_full_redis() {
    let key = KeyFile::new();
    let app = key.builder().spawn().await;
    app.post("/locks/minting", json!({ "ttl_ms": 60_000 })).await.expect(201);
    app.post("/ratelimit/check", json!({ "limiter": "orders", "key": "k" })).await.expect(200);
    app.put("/cache/user:profile:person-0b5e", json!(1)).await.expect(201);
    let _: String = app.redis().command(&["CONFIG", "SET", "maxmemory", "1"]);
    app.delete("/ratelimit/orders/k").await.expect(204);
    app.delete("/locks/minting?force=true").await.expect(204);
    app.post("/admin/subjects/person-0b5e/erase", json!({ "reason": "a request" })).await.expect(202);
    eventually("the person's value is gone", async || app.get("/cache/user:profile:person-0b5e").await.is(404)).await;
    let _: String = app.redis().command(&["CONFIG", "SET", "maxmemory", "0"]);
    for action in ["DELETE /ratelimit/{limiter}/{key}", "DELETE /locks/{resource}"] {
        assert_eq!(of_action(&app, action, 2).await[1]["outcome"], "done", "{action}");
    }
    assert_eq!(key.verify(&app.redis(), &[]).0, 0);
}

#[tokio::test]
async fn without_redis_actions_are_refused_at_once_and_what_happened_is_recorded_later() {
    let key = KeyFile::new();
    let app = key.builder().behind_proxy().spawn().await;
    eventually("the start is recorded", async || !entries(&app.redis()).is_empty()).await;
    app.proxy().cut();
    eventually("the connection is lost", async || app.get("/cache/a").await.is(503)).await;
    let before = entries(&app.redis()).len();
    for path in ["/ratelimit/api", "/locks/minting?force=true", "/hosts/h1/metrics"] {
        app.delete(path).await.expect_problem(503, "audit-unavailable");
    }
    app.get("/admin/audit").await.expect_problem(503, "redis-unavailable");
    app.get("/admin/redis/hot").await.expect(200);
    let audit = gridtokenx_redis::features::audit::service(&app.app().deps).expect("the service");
    audit.note("test.event", serde_json::Map::new());
    app.proxy().heal();
    let found = of_action(&app, "test.event", 1).await;
    assert_eq!(found.len(), 1);
    assert_eq!(entries(&app.redis()).len(), before + 1, "refused actions leave no entry");
}

#[tokio::test]
async fn an_entry_whose_reply_was_lost_is_recorded_once_and_the_next_one_too() {
    let key = KeyFile::new();
    let app = key.builder().behind_proxy().spawn().await;
    eventually("the start is recorded", async || !entries(&app.redis()).is_empty()).await;
    let audit = gridtokenx_redis::features::audit::service(&app.app().deps).expect("the service");
    let note = |n: usize| audit.note(&format!("test.event.{n}"), serde_json::Map::new());
    for n in 0..20 {
        note(n);
        // The entry may be there already, and its reply on the way.
        eventually("the entry is sent", async || {
            app.proxy().cut();
            app.delete("/locks/minting?force=true").await.is(503)
        })
        .await;
        note(n + 100);
        app.proxy().heal();
        of_action(&app, &format!("test.event.{}", n + 100), 1).await;
    }
    for n in (0..20).chain(100..120) {
        assert_eq!(of_action(&app, &format!("test.event.{n}"), 1).await.len(), 1, "{n}");
    }
    assert_eq!(key.verify(&app.redis(), &[]).0, 0);
}

#[tokio::test]
async fn without_a_key_nothing_is_recorded_and_health_says_so() {
    let app = TestApp::spawn().await;
    app.delete("/ratelimit/api?prefix=a").await.expect(200);
    app.get("/admin/audit").await.expect_problem(409, "audit-off");
    app.get("/admin/audit/verify").await.expect_problem(409, "audit-off");
    let ready = app.get("/health/ready").await.expect(200).json();
    assert_eq!((&ready["status"], &ready["parts"]["audit"][0]["state"]), (&json!("ok"), &json!("off")), "{ready}");
    assert!(!app.redis().command::<bool>(&["EXISTS", LOG]));
}

#[test]
fn denied_requests_and_reads_are_counted_with_the_start_and_the_stop() {
    let (key, redis) = (KeyFile::new(), RedisServer::start());
    let file = key.directory().join("service.toml");
    let digest = gridtokenx_redis::http::auth::api_key::digest(ADMIN_KEY.as_bytes());
    let digest = gridtokenx_redis::http::auth::api_key::hex(&digest);
    let keys = format!("[[auth.keys]]\nid = \"admin\"\nsha256 = \"{digest}\"\nscopes = [\"admin\"]\n");
    std::fs::write(&file, key.config() + &keys).expect("written");
    let mut service = ServiceProcess::start_with(&file, &[("REDIS_URL", &redis.url())]);
    service.ready();
    for _ in 0..3 {
        assert_eq!(service.send("DELETE", "/ratelimit/api", "").0, 401);
    }
    assert_eq!(service.send("GET", "/admin/redis/hot", &format!("x-api-key: {ADMIN_KEY}\r\n")).0, 200);
    let (status, output) = service.terminate();
    assert!(status.success(), "{output}");
    let found = entries(&redis);
    let counts: Vec<&Value> = found.iter().filter(|entry| entry["phase"] == "count").collect();
    let denied = counts.iter().find(|entry| entry["outcome"] == "unauthenticated").expect("denied requests");
    assert_eq!((&denied["count"], &denied["actor"]), (&json!(3), &json!("unknown")), "{denied}");
    assert_eq!((&denied["address"], &denied["action"]), (&json!("127.0.0.1"), &json!("DELETE /ratelimit/{limiter}")));
    let read = counts.iter().find(|entry| entry["outcome"] == "done").expect("a read");
    assert_eq!((&read["count"], &read["action"]), (&json!(1), &json!("GET /admin/redis/hot")), "{read}");
    assert_eq!(
        (&found[0]["action"], &found[found.len() - 1]["action"]),
        (&json!("service.start"), &json!("service.stop"))
    );
    assert_eq!(key.verify(&redis, &[]), (0, format!("{} entries are whole\n", found.len())));
}

#[test]
fn a_key_file_that_is_wrong_stops_the_start_and_is_not_quoted() {
    let (key, redis) = (KeyFile::new(), RedisServer::start());
    std::fs::write(key.path(), "5ec2e7").expect("written");
    let (code, printed) = key.verify(&redis, &[]);
    assert!(code == 64 && printed.contains("line 1") && !printed.contains("5ec2e7"), "{code}: {printed}");
    std::fs::remove_file(key.path()).expect("removed");
    let (code, printed) = key.verify(&redis, &[]);
    assert!(code == 64 && printed.contains("key cannot be read"), "{code}: {printed}");
}
