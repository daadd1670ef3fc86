//! Export and erasure of a person: what is found, what goes, what stays, and what a restore does.

use std::collections::HashMap;

use axum::http::Method;
use gridtokenx_redis::features::audit::api as audit;
use gridtokenx_redis::features::subjects::api::{apply_tombstones, tombstones};
use gridtokenx_redis::holdings::Owners;
use serde_json::{Value, json};

use crate::audit::KeyFile;
use crate::support::{ADMIN_KEY, Cluster, NDJSON, RedisServer, ServiceProcess, TestApp, eventually};

const PERSON: &str = "person-0b5e";
const WALLET: &str = "wallet-9f3c";
const METER: &str = "MTR-7712";
const JSON: (&str, &str) = ("content-type", "application/json");

fn ids() -> Value {
    json!([WALLET, METER])
}

/// Stores the person's ids in every capability, and data of another person beside them.
pub async fn plant(app: &TestApp) -> String {
    let put = async |path: &str, body: &str| app.send(Method::PUT, path, &[JSON], body.to_owned()).await.expect(201);
    for key in [format!("user:profile:{PERSON}"), format!("own:{PERSON}:cart"), format!("token:balance:{WALLET}:7")] {
        put(&format!("/cache/{key}"), "1").await;
    }
    put("/cache/user:profile:person-0b5e-other", "1").await;
    let _: String = app.redis().command(&["SET", &format!("user:wallet:{PERSON}"), WALLET]);
    app.put(&format!("/json/notes:{PERSON}"), json!({ "text": "a" })).await.expect(201);
    app.put("/json/claims:1", json!({ "user_id": PERSON, "text": "a" })).await.expect(201);
    app.put("/json/claims:2", json!({ "user_id": "another", "text": "a" })).await.expect(201);
    app.put(&format!("/users/{PERSON}/preferences"), json!({ "theme": "dark" })).await.expect(201);
    app.post(&format!("/users/{PERSON}/activity"), json!({ "n": 1 })).await.expect(201);
    let reading = json!({ "readings": [{ "timestamp": 1_767_225_600_000_i64, "energy_consumed": 1.5 }] });
    app.post(&format!("/energy/meters/{METER}/readings"), reading).await.expect(200);
    app.put("/timeseries/power", json!({ "labels": { "user": PERSON } })).await.expect(201);
    app.put("/timeseries/grid", json!({ "labels": { "zone": "1" } })).await.expect(201);
    let check = json!({ "limiter": "orders", "key": PERSON });
    app.post("/ratelimit/check", check).await.expect(200);
    app.put(&format!("/ratelimit/limiters/orders/exceptions/{PERSON}"), json!({ "action": "deny" })).await.expect(200);
    let headers = [JSON, ("idempotency-key", "one")];
    let lock = format!("/locks/settlement:{PERSON}");
    let held = app.send(Method::POST, &lock, &headers, r#"{"ttl_ms":60000}"#).await.expect(201).json();
    app.post(
        &format!("/pubsub/user:{PERSON}"),
        json!({ "message_type": "TokenMinted", "data": { "amount": "1", "timestamp": 1 } }),
    )
    .await
    .expect(201);
    let settings = json!({ "mode": "store", "kind": "orders", "price_decimals": 2, "quantity_decimals": 3 });
    app.put("/orderbooks/GRID/settings", settings).await.expect(201);
    let order = json!({ "order_id": "o-1", "owner": PERSON, "side": "buy", "price": "1.00", "quantity": "1" });
    app.post("/orderbooks/GRID/orders", order).await.expect(201);
    app.post("/admin/redis/inventory", json!({})).await.expect(202);
    eventually("the inventory is complete", async || {
        app.get("/admin/redis/inventory").await.json()["status"] == "done"
    })
    .await;
    held["token"].as_str().expect("a token").to_owned()
}

/// The keys whose names or values contain an id.
fn hits(redis: &RedisServer) -> Vec<String> {
    let mut found = Vec::new();
    for key in redis.command::<Vec<String>>(&["KEYS", "*"]) {
        let kind: String = redis.command(&["TYPE", &key]);
        let content = match kind.as_str() {
            "string" => text(redis, &["GET", &key]),
            "hash" => text(redis, &["HGETALL", &key]),
            "zset" => text(redis, &["ZRANGE", &key, "0", "-1"]),
            "set" => text(redis, &["SMEMBERS", &key]),
            "list" => text(redis, &["LRANGE", &key, "0", "-1"]),
            _ => text(redis, &["XRANGE", &key, "-", "+"]),
        };
        let all = format!("{key} {content}").replace("person-0b5e-other", "");
        if [PERSON, WALLET, METER].iter().any(|id| all.contains(id)) {
            found.push(key);
        }
    }
    found
}

/// The reply with its texts readable.
fn text(redis: &RedisServer, command: &[&str]) -> String {
    fn words(value: &redis::Value) -> String {
        match value {
            redis::Value::BulkString(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            redis::Value::Array(items) => items.iter().map(words).collect::<Vec<_>>().join("\n"),
            other => format!("{other:?}"),
        }
    }
    words(&redis.command::<redis::Value>(command))
}

async fn receipt(app: &TestApp, id: &str) -> Value {
    app.get(&format!("/admin/erasures/{id}")).await.expect(200).json()
}

async fn erase(app: &TestApp, body: Value) -> String {
    let started = app.post(&format!("/admin/subjects/{PERSON}/erase"), body).await.expect(202).json();
    assert_eq!((&started["receipt"]["status"], &started["signed"]), (&json!("running"), &Value::Null), "{started}");
    started["receipt"]["id"].as_str().expect("an id").to_owned()
}

async fn completed(app: &TestApp, id: &str) -> Value {
    eventually("the erasure is complete", async || receipt(app, id).await["receipt"]["status"] == "complete").await;
    receipt(app, id).await
}

#[tokio::test]
async fn an_erased_person_leaves_nothing_but_what_is_kept_for_a_stated_reason() {
    let key = KeyFile::new();
    let app = key.builder().spawn().await;
    let token = plant(&app).await;
    let kept = |keys: &[String]| keys.iter().all(|key| key.starts_with("orderbook"));
    assert!(hits(&app.redis()).len() > 15, "{:?}", hits(&app.redis()));

    let dry = erase(&app, json!({ "aliases": ids(), "reason": "a request", "dry_run": true })).await;
    let counted = completed(&app, &dry).await;
    let before = hits(&app.redis()).len();
    assert!(before > 15, "a dry run changes nothing");

    let id = erase(&app, json!({ "aliases": ids(), "reason": "a request" })).await;
    eventually("it waits for the lock", async || receipt(&app, &id).await["receipt"]["status"] == "waiting").await;
    let lock = format!("/locks/settlement:{PERSON}");
    assert_eq!(app.get(&lock).await.expect(200).json()["held"], true, "a held lock is not broken");
    app.send(Method::DELETE, &lock, &[("lock-token", &token)], "").await.expect(204);
    let done = completed(&app, &id).await;
    let left = hits(&app.redis());
    assert!(kept(&left), "{left:?}: {done}");
    let capabilities = &done["receipt"]["capabilities"];
    for capability in ["cache", "json", "timeseries", "ratelimit", "locks", "pubsub", "idempotency"] {
        let counts = &capabilities[capability];
        assert!(
            counts["erased"].as_u64() >= Some(1) && counts["kept"] == 0 && counts["waiting"] == 0,
            "{capability}: {done}"
        );
        assert!(counted["receipt"]["capabilities"][capability]["found"].as_u64() >= Some(1), "{capability}: {counted}");
    }
    assert!(capabilities["orderbook"]["kept"].as_u64() >= Some(1), "{done}");
    assert!(capabilities["orderbook"]["reason"].as_str().is_some_and(|reason| reason.contains("law")), "{done}");
    // Others keep their data.
    app.get("/cache/user:profile:person-0b5e-other").await.expect(200);
    app.get("/json/claims:2").await.expect(200);
    app.get("/timeseries/grid").await.expect(200);
    app.get("/timeseries/power").await.expect(404);
    app.get("/json/claims:1").await.expect(404);

    assert!(!done.to_string().contains(PERSON), "{done}");
    let ring = audit::service(&app.app().deps).expect("the service").ring().expect("keys").clone();
    assert_eq!(done["receipt"]["subject"], ring.pseudonym(PERSON), "{done}");
    let signed: audit::Signed = serde_json::from_value(done["signed"].clone()).expect("a signature");
    let whole = app.get(&format!("/admin/erasures/{id}")).await.text();
    let signed_text = whole.split_once(r#"{"receipt":"#).and_then(|(_, rest)| rest.split_once(r#","signed""#));
    assert!(ring.verify(signed_text.expect("a receipt").0, &signed), "{whole}");
    assert_eq!(key.verify(&app.redis(), &[]).0, 0);
}

#[tokio::test]
async fn a_restored_backup_does_not_bring_an_erased_person_back() {
    let key = KeyFile::new();
    let app = key.builder().spawn().await;
    let token = plant(&app).await;
    app.send(Method::DELETE, &format!("/locks/settlement:{PERSON}"), &[("lock-token", &token)], "").await.expect(204);
    let copy: HashMap<String, Vec<u8>> = {
        let redis = app.redis();
        let names: Vec<String> = redis.command(&["KEYS", "*"]);
        names.into_iter().map(|name| (name.clone(), redis.command(&["DUMP", &name]))).collect()
    };
    let id = erase(&app, json!({ "aliases": ids(), "reason": "a request" })).await;
    completed(&app, &id).await;
    let ring = audit::service(&app.app().deps).expect("the service").ring().expect("keys").clone();
    let beside = tombstones(app.state(), &ring).await.expect("tombstones");
    assert_eq!(beside.erased.len(), 3);
    assert!(!serde_json::to_string(&beside).expect("JSON").contains(PERSON));

    // Another deployment with the key restores the backup that was made before, and has the copy beside it.
    let other = key.builder().spawn().await;
    let mut connection = other.redis().connect().expect("a connection");
    for (name, payload) in &copy {
        let _: () =
            redis::cmd("RESTORE").arg(name).arg(0).arg(payload).arg("REPLACE").query(&mut connection).expect("ok");
    }
    assert!(hits(&other.redis()).len() > 15);
    let owners = Owners::new(&other.app().deps.config, "").expect("valid");
    let forged = gridtokenx_redis::features::subjects::api::Tombstones {
        erased: [("00".repeat(32), 1)].into(),
        signed: beside.signed.clone(),
    };
    apply_tombstones(other.state(), &owners, &ring, Some(&forged)).await.expect_err("not signed");
    let erased = apply_tombstones(other.state(), &owners, &ring, Some(&beside)).await.expect("applied");
    assert!(erased > 15, "{erased}");
    let left = hits(&other.redis());
    assert!(left.iter().all(|key| key.starts_with("orderbook")), "{left:?}");
    other.get("/cache/user:profile:person-0b5e-other").await.expect(200);
    assert_eq!(
        apply_tombstones(other.state(), &owners, &ring, None).await.expect("applied"),
        0,
        "nothing is left to erase"
    );
}

#[tokio::test]
async fn data_below_configured_prefixes_are_exported_and_erased() {
    let key = KeyFile::new();
    let family = |prefix: &str| format!("[[timeseries.families]]\nprefix = \"{prefix}\"\nretention = \"30d\"\n");
    let config = [
        "[[json.collections]]\nprefix = \"kyc:\"\n".to_owned(),
        family("wind:*"),
        family("influx:*") + "tagged = true\n",
        "[[cache.policies]]\nprefix = \"market:seen:\"\nplatform = true\n".to_owned(),
        "[[ratelimit.limiters]]\nname = \"own\"\nkey = \"user_limit:{id}\"\n\
         strategy = { kind = \"sliding_window\", limit = 5, window = \"1h\" }\n"
            .to_owned(),
    ];
    let app = key.builder().config(&config.concat()).spawn().await;
    app.put(&format!("/json/kyc:{PERSON}"), json!({ "name": "a" })).await.expect(201);
    app.put("/json/kyc:1", json!({ "owner": PERSON })).await.expect(201);
    app.put("/json/kyc:2", json!({ "owner": "another" })).await.expect(201);
    let samples = json!({ "samples": [{ "value": 1 }] });
    app.post(&format!("/timeseries/wind:{PERSON}/samples"), samples).await.expect(200);
    let line = format!("power,user={PERSON} value=1");
    app.send(Method::POST, "/api/v2/write", &[], line).await.expect(204);
    app.post("/ratelimit/check", json!({ "limiter": "own", "key": PERSON })).await.expect(200);
    let text = [("content-type", "text/plain")];
    app.send(Method::PUT, "/cache/market:seen:1", &text, format!("seen by {PERSON}")).await.expect(201);
    // Keys of another program stay.
    let _: String = app.redis().command(&["SET", &format!("session:{PERSON}"), "1"]);
    for name in ["kyc:", "wind:", "influx:", "user_limit:", "market:seen:"] {
        assert!(hits(&app.redis()).iter().any(|key| key.starts_with(name)), "{name}: {:?}", hits(&app.redis()));
    }
    let export = app.post(&format!("/admin/subjects/{PERSON}/export"), json!({})).await.expect(200).text();
    for key in [format!("kyc:{PERSON}"), format!("user_limit:{PERSON}"), "market:seen:1".to_owned()] {
        assert!(export.contains(&format!("\"key\":\"{key}\"")), "{key}: {export}");
    }
    let id = erase(&app, json!({ "reason": "a request" })).await;
    let done = completed(&app, &id).await;
    assert_eq!(hits(&app.redis()), [format!("session:{PERSON}")], "{done}");
    app.get("/json/kyc:2").await.expect(200);
}

#[tokio::test]
async fn an_export_has_everything_and_a_last_line() {
    let key = KeyFile::new();
    let app = key.builder().spawn().await;
    plant(&app).await;
    let reply = app.post(&format!("/admin/subjects/{PERSON}/export"), json!({ "aliases": ids() })).await.expect(200);
    assert_eq!(reply.header("content-type"), Some(NDJSON.1));
    let lines: Vec<Value> = reply.text().lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines.last().map(|line| &line["capability"]), Some(&json!("end")), "{}", reply.text());
    for capability in ["cache", "json", "timeseries", "ratelimit", "locks", "pubsub", "orderbook", "idempotency"] {
        assert!(lines.iter().any(|line| line["capability"] == capability), "{capability}: {}", reply.text());
    }
    let notes = lines.iter().find(|line| line["key"] == format!("json:notes:{PERSON}")).expect("the document");
    assert!(notes["value"].as_str().is_some_and(|text| text.contains("\"text\":\"a\"")), "{notes}");
    assert!(!reply.text().contains("claims:2") && !reply.text().contains("person-0b5e-other"), "{}", reply.text());
    let none = app.post("/admin/subjects/unknown-person/export", json!({})).await.expect(200);
    assert_eq!(none.text().lines().count(), 1, "{}", none.text());
}

#[tokio::test]
async fn without_redis_nothing_begins() {
    // Actions that must be recorded are refused by the audit log.
    let key = KeyFile::new();
    let app = key.builder().behind_proxy().spawn().await;
    app.proxy().cut();
    for (action, body) in [("export", json!({})), ("erase", json!({ "reason": "a request" }))] {
        let reply = app.post(&format!("/admin/subjects/{PERSON}/{action}"), body).await;
        reply.expect_problem(503, "audit-unavailable");
    }
    let without = TestApp::builder().behind_proxy().spawn().await;
    without.proxy().cut();
    let reply = without.post(&format!("/admin/subjects/{PERSON}/export"), json!({})).await;
    reply.expect_problem(503, "redis-unavailable");
}

#[tokio::test]
async fn bad_requests_name_their_fields_and_store_nothing() {
    let key = KeyFile::new();
    let app = key.builder().spawn().await;
    let erase = async |id: &str, body: Value| app.post(&format!("/admin/subjects/{id}/erase"), body).await;
    let reason = json!({ "reason": "a" });
    for id in ["ab", "1234567", "a%3Abcd", "a%20bcd"] {
        erase(id, reason.clone()).await.expect_violation(422, "invalid-path", "/id");
    }
    erase(PERSON, json!({})).await.expect_problem(422, "invalid-body");
    erase(PERSON, json!({ "reason": "" })).await.expect_violation(422, "invalid-body", "/reason");
    erase(PERSON, json!({ "reason": format!("for {PERSON}") })).await.expect_violation(422, "invalid-body", "/reason");
    let alias = json!({ "reason": "a", "aliases": ["valid-id", "*"] });
    erase(PERSON, alias).await.expect_violation(422, "invalid-body", "/aliases/1");
    let many = json!({ "reason": "a", "aliases": vec!["valid-id"; 101] });
    erase(PERSON, many).await.expect_violation(422, "invalid-body", "/aliases");
    app.get("/admin/erasures/0123456789abcdef0123456789abcdef").await.expect_problem(404, "erasure-not-found");
    assert!(!app.redis().command::<bool>(&["EXISTS", "custody:{erasures}"]));

    let without = TestApp::spawn().await;
    let reply = without.post(&format!("/admin/subjects/{PERSON}/erase"), reason).await;
    reply.expect_problem(409, "subjects-need-key");
}

#[tokio::test]
async fn a_person_is_erased_from_every_node_of_a_cluster() {
    let (key, cluster) = (KeyFile::new(), Cluster::start().await);
    let app = TestApp::builder().config(&cluster.config()).config(&key.config()).spawn().await;
    for nth in 0..40 {
        let note = json!({ "user_id": if nth % 2 == 0 { PERSON } else { "another" } });
        app.put(&format!("/json/notes:{nth}"), note).await.expect(201);
    }
    let left = || {
        let count = |node: &RedisServer| node.command::<Vec<String>>(&["KEYS", "json:notes:*"]).len();
        cluster.nodes.iter().map(count).collect::<Vec<_>>()
    };
    assert!(left().iter().all(|notes| *notes > 0), "every node has notes");
    let export = app.post(&format!("/admin/subjects/{PERSON}/export"), json!({})).await.expect(200).text();
    assert_eq!(export.matches("notes:").count(), 20, "{export}");
    let id = erase(&app, json!({ "reason": "a request" })).await;
    let receipt = completed(&app, &id).await;
    assert_eq!(receipt["receipt"]["capabilities"]["json"]["erased"], 20, "{receipt}");
    assert_eq!(left().iter().sum::<usize>(), 20);
    assert!(cluster.nodes.iter().all(|node| hits(node).is_empty()));
}

#[test]
fn an_erasure_continues_after_its_replica_was_killed() {
    let (key, redis) = (KeyFile::new(), RedisServer::start());
    for n in 0..3_000 {
        let _: String = redis.command(&["SET", &format!("json:{PERSON}:{n}"), "{}"]);
    }
    let file = key.directory().join("service.toml");
    let digest = gridtokenx_redis::http::auth::api_key::digest(ADMIN_KEY.as_bytes());
    let digest = gridtokenx_redis::http::auth::api_key::hex(&digest);
    let keys = format!("[[auth.keys]]\nid = \"admin\"\nsha256 = \"{digest}\"\nscopes = [\"admin\"]\n");
    std::fs::write(&file, key.config() + &keys).expect("written");
    let mut first = ServiceProcess::start_with(&file, &[("REDIS_URL", &redis.url())]);
    first.ready();
    let body = r#"{"reason":"a request"}"#;
    let head = format!(
        "x-api-key: {ADMIN_KEY}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let (status, started) = first.send("POST", &format!("/admin/subjects/{PERSON}/erase"), &head);
    assert_eq!(status, 202, "{started}");
    drop(first);
    let mut second = ServiceProcess::start_with(&file, &[("REDIS_URL", &redis.url())]);
    second.ready();
    // The turn of a replica that was killed expires after 30 seconds.
    let _: i64 = redis.command(&["DEL", "custody:{erasures}:turn"]);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    loop {
        let jobs: Vec<String> = redis.command(&["HVALS", "custody:{erasures}"]);
        if jobs[0].contains(r#""status":"complete""#) {
            assert!(!jobs[0].contains(PERSON), "{jobs:?}");
            break;
        }
        assert!(std::time::Instant::now() < deadline, "{jobs:?} {}", second.output());
        // Polls a process; `eventually` needs a runtime.
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    assert_eq!(redis.command::<Vec<String>>(&["KEYS", "json:*0b5e*"]), Vec::<String>::new());
}
