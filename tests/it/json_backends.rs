//! Both storage backends, strings and RedisJSON, return identical replies.

use axum::http::Method;
use serde_json::{Value, json};

use crate::json_golden::translate::{History, Translation, translate};
use crate::json_golden::vectors::{self, Step};
use crate::support::{Reply, TestApp, clear, command, eventually, module_redis_url, on_module_redis};

const FAMILIES: [&str; 10] = [
    "json_set",
    "json_get",
    "json_filter",
    "json_del",
    "json_arr",
    "json_num",
    "json_str",
    "json_obj_type",
    "json_mget_mset_merge",
    "json_fuzz",
];

/// Two services, one on each backend.
struct Pair {
    native: TestApp,
    module: TestApp,
}

impl Pair {
    async fn spawn(config: &str) -> Self {
        let url = module_redis_url();
        let native = TestApp::builder().config("json.backend = \"native\"").config(config).spawn().await;
        Self { module: Self::on_module(&url, config).await, native }
    }

    async fn on_module(url: &str, config: &str) -> TestApp {
        TestApp::builder().config(&on_module_redis(url)).config(config).spawn().await
    }

    /// Sends a request to both services and compares the replies, except for the parts that differ with every request.
    async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: &str) -> [Reply; 2] {
        let send = async |app: &TestApp| app.send(method.clone(), path, headers, body.to_owned()).await;
        let (native, module) = (send(&self.native).await, send(&self.module).await);
        assert_eq!(native.status, module.status, "{method} {path} {body}: {} {}", native.text(), module.text());
        assert_eq!(lasting(&native), lasting(&module), "{method} {path} {body}");
        for name in ["content-type", "document-ttl-ms"] {
            assert_eq!(native.header(name).is_some(), module.header(name).is_some(), "{method} {path}: {name}");
        }
        assert_eq!(native.header("etag").is_some(), module.header("etag").is_some(), "{method} {path}");
        [native, module]
    }

    async fn put(&self, path: &str, body: &str) -> [Reply; 2] {
        self.send(Method::PUT, path, &[("content-type", "application/json")], body).await
    }

    async fn post(&self, path: &str, body: &Value) -> [Reply; 2] {
        self.send(Method::POST, path, &[("content-type", "application/json")], &body.to_string()).await
    }

    async fn get(&self, path: &str) -> [Reply; 2] {
        self.send(Method::GET, path, &[], "").await
    }
}

/// Both replies, if they have the status.
#[track_caller]
fn both(replies: [Reply; 2], status: u16) -> [Reply; 2] {
    replies.map(|reply| reply.expect(status))
}

/// A body without the members that identify a request or a version.
fn lasting(reply: &Reply) -> String {
    let changing = regex::Regex::new(r#""(etag|request_id|ttl_ms)":("[^"]*\\?"?[^"]*"|\d+)"#).expect("a pattern");
    changing.replace_all(&reply.text(), "\"$1\":0").into_owned()
}

/// A document's name in Redis.
fn name(app: &TestApp, key: &str) -> String {
    app.state().keys().key(format_args!("json:{key}")).as_str().to_owned()
}

#[tokio::test]
#[ignore = "needs a Redis with modules: make test-modules"]
async fn recorded_programs_have_equal_replies_on_both_backends() {
    let pair = Pair::spawn("").await;
    let mut compared = 0;
    for family in FAMILIES {
        for scenario in vectors::load(family) {
            clear(&pair.native).await;
            clear(&pair.module).await;
            let setup: Vec<Step> = scenario.setup.iter().map(|command| Step::setup(command)).collect();
            for step in setup.iter().chain(&scenario.steps) {
                if let Translation::Requests { requests, .. } = translate(step, &mut History::default()) {
                    for request in requests {
                        pair.send(request.method, &request.path, &request.headers, &request.body).await;
                        compared += 1;
                    }
                }
            }
        }
    }
    assert!(compared > 3_000, "only {compared} requests were compared");
}

/// Numbers that the module rounds, text that it formats differently, and values that it does not change.
const DOCUMENTS: [&str; 7] = [
    r#"{"plain":1,"list":[true,null,"x"],"float":2.5}"#,
    r#"{"long":123456789012345678901234567890,"money":10.10,"exponent":1E2,"zero":-0,"list":[1]}"#,
    r#"{"digits":9664.148145403773,"tiny":1e-320,"list":[]}"#,
    "{\"b\":\"\\u0000\\u001f\\/é😀\\\"\",\"\":{\"a b\":1},\"list\":[[[]]]}",
    "[1.0,1,{\"z\":1,\"a\":2,\"list\":[3]}]",
    "10.10",
    "\"\\u00e9\"",
];

#[tokio::test]
#[ignore = "needs a Redis with modules: make test-modules"]
async fn both_backends_return_documents_as_they_were_written() {
    let pair = Pair::spawn("").await;
    for (number, document) in DOCUMENTS.into_iter().enumerate() {
        let path = format!("/json/d{number}");
        let [stored, in_module] = both(pair.put(&path, document).await, 201);
        let [native, module] = both(pair.get(&path).await, 200);
        assert_eq!(native.header("etag"), stored.header("etag"));
        assert_eq!(module.header("etag"), in_module.header("etag"), "{document}");
        pair.get(&format!("{path}?path=$..*&path=$.list")).await;
        pair.post(&format!("{path}/array/append"), &json!({ "path": "$..list", "values": [7.50] })).await;
        pair.post(&format!("{path}/number/increment"), &json!({ "path": "$.plain", "by": 1 })).await;
        pair.send(Method::PATCH, &path, &[("content-type", "application/merge-patch+json")], "{\"new\":0.10}").await;
        let [_, module] = pair.get(&path).await;
        let etag = module.header("etag").expect("a version").to_owned();
        let stale = pair.module.send(Method::DELETE, &path, &[("if-match", "\"0\"")], "").await;
        stale.expect_problem(412, "precondition-failed");
        let current = [("if-match", etag.as_str()), ("content-type", "application/json")];
        pair.module.send(Method::PUT, &path, &current, document).await.expect(204);
        pair.native.send(Method::PUT, &path, &current[1..], document).await.expect(204);
        both(pair.get(&path).await, 200);
        both(pair.send(Method::DELETE, &path, &[], "").await, 200);
        both(pair.get(&path).await, 404);
    }
}

#[tokio::test]
#[ignore = "needs a Redis with modules: make test-modules"]
async fn ttls_and_conditions_work_on_both_backends() {
    let pair = Pair::spawn("").await;
    both(pair.put("/json/a?ttl_ms=60000", "{\"money\":10.10}").await, 201);
    both(pair.put("/json/a?path=$.money", "10.20").await, 204);
    for reply in pair.get("/json/a").await {
        let left: u64 = reply.header("document-ttl-ms").and_then(|text| text.parse().ok()).expect("a TTL");
        assert!((50_000..=60_000).contains(&left), "{left}");
    }
    both(pair.post("/json/a/touch", &json!({ "ttl_ms": null })).await, 204);
    for reply in pair.get("/json/a").await {
        assert_eq!((reply.header("document-ttl-ms"), reply.text()), (None, "{\"money\":10.20}".to_owned()));
    }
    both(pair.post("/json/a/touch", &json!({ "ttl_ms": 1 })).await, 204);
    eventually("the document ends", async || pair.module.get("/json/a").await.is(404)).await;
    eventually("the document ends", async || pair.native.get("/json/a").await.is(404)).await;
    both(pair.post("/json/a/touch", &json!({ "ttl_ms": 1 })).await, 404);
    let create = [("if-none-match", "*"), ("content-type", "application/json")];
    both(pair.send(Method::PUT, "/json/a", &create, "1").await, 201);
    both(pair.send(Method::PUT, "/json/a", &create, "2").await, 412);
    let repeated = [("idempotency-key", "one"), ("content-type", "application/json")];
    for _ in 0..2 {
        let body = json!({ "path": "$", "by": 1 }).to_string();
        both(pair.send(Method::POST, "/json/a/number/increment", &repeated, &body).await, 200);
    }
    assert_eq!(both(pair.get("/json/a").await, 200)[0].text(), "2");
}

#[tokio::test]
#[ignore = "needs a Redis with modules: make test-modules"]
async fn concurrent_writers_of_a_module_document_lose_no_update() {
    let url = module_redis_url();
    let app = Pair::on_module(&url, "").await;
    app.put("/json/hot", json!({ "n": 0, "money": 0.10, "log": [] })).await.expect(201);
    let write = async |writer: usize| {
        app.post("/json/hot/number/increment", json!({ "path": "$.n", "by": 1 })).await.expect(200);
        app.post("/json/hot/array/append", json!({ "path": "$.log", "values": [writer] })).await.expect(200);
    };
    futures_util::future::join_all((0..64).map(write)).await;
    let hot = app.get("/json/hot").await.expect(200).json();
    assert_eq!((&hot["n"], hot["log"].as_array().map(Vec::len)), (&json!(64), Some(64)));
}

#[tokio::test]
#[ignore = "needs a Redis with modules: make test-modules"]
async fn other_programs_can_use_the_modules_commands_on_documents() {
    let url = module_redis_url();
    let app = Pair::on_module(&url, "").await;
    app.send(Method::PUT, "/json/a", &[("content-type", "application/json")], "{\"n\":10.10,\"m\":1}")
        .await
        .expect(201);
    let key = name(&app, "a");
    assert_eq!(command::<String>(&app, &["JSON.GET", &key, "$.n"]).await, "[10.1]");
    let before = app.get("/json/a").await.expect(200);
    assert_eq!(before.text(), "{\"n\":10.10,\"m\":1}");
    let _: String = command(&app, &["JSON.SET", &key, "$.m", "2"]).await;
    let after = app.get("/json/a").await.expect(200);
    assert_eq!(after.text(), "{\"n\":10.1,\"m\":2}", "the other program's value counts, as the module shows it");
    assert_ne!(before.header("etag"), after.header("etag"));
    app.post("/json/a/number/increment", json!({ "path": "$.m", "by": 1 })).await.expect(200);
    assert_eq!(command::<String>(&app, &["JSON.GET", &key, "$.m"]).await, "[3]");
    let _: String = command(&app, &["SET", &name(&app, "b"), "{}"]).await;
    app.get("/json/b").await.expect_problem(409, "wrong-type");
    app.put("/json/b", json!(1)).await.expect_problem(409, "wrong-type");
    app.post("/json/b/touch", json!({ "ttl_ms": 1 })).await.expect_problem(409, "wrong-type");
    assert_eq!(command::<String>(&app, &["GET", &name(&app, "b")]).await, "{}");
}

#[tokio::test]
#[ignore = "needs a Redis with modules: make test-modules"]
async fn the_module_is_used_if_redis_has_it() {
    let url = module_redis_url();
    let app = Pair::on_module(&url, "").await;
    app.put("/json/a", json!({})).await.expect(201);
    assert_eq!(command::<String>(&app, &["TYPE", &name(&app, "a")]).await, "ReJSON-RL");
    documents_are(&app, "module").await;
}

async fn documents_are(app: &TestApp, state: &str) {
    eventually("readiness tells where documents are", async || {
        app.get("/health/ready").await.json()["parts"]["documents"][0]["state"] == state
    })
    .await;
}

#[tokio::test]
async fn all_replicas_use_the_recorded_backend() {
    let first = TestApp::builder().config("redis.check_interval = \"50ms\"").spawn().await;
    first.put("/json/a", json!({ "n": 1 })).await.expect(201);
    documents_are(&first, "native").await;
    assert_eq!(first.redis().command::<String>(&["GET", "json:{backend}"]), "native");
    let other = "redis.check_interval = \"50ms\"\njson.backend = \"module\"";
    let second = TestApp::builder().config(other).beside(&first).spawn().await;
    assert_eq!(second.get("/json/a").await.expect(200).json(), json!({ "n": 1 }), "what is written down counts");
    eventually("readiness tells that the setting does not fit", async || {
        let ready = second.get("/health/ready").await;
        ready.is(200) && ready.text().contains("json.backend is `module`, but documents are kept `native`")
    })
    .await;
}

#[tokio::test]
async fn the_backend_record_is_restored_after_redis_loses_its_data() {
    let app = TestApp::builder().config("redis.check_interval = \"50ms\"").spawn().await;
    documents_are(&app, "native").await;
    let _: String = app.redis().command(&["FLUSHALL"]);
    let recorded = || app.redis().command::<Option<String>>(&["GET", "json:{backend}"]);
    eventually("it is written down again", async || recorded().as_deref() == Some("native")).await;
}

#[tokio::test]
async fn readiness_reports_a_missing_module() {
    let app = TestApp::builder().config("redis.check_interval = \"50ms\"").spawn().await;
    let _: String = app.redis().command(&["SET", "json:{backend}", "module"]);
    eventually("readiness tells that the module is missing", async || {
        let ready = app.get("/health/ready").await;
        ready.is(200) && ready.text().contains("RedisJSON, which this Redis does not have")
    })
    .await;
    app.get("/json/a").await.expect_problem(503, "redis-unavailable");
    app.put("/json/a", json!(1)).await.expect_problem(503, "redis-unavailable");
    assert_eq!(app.redis().command::<i64>(&["EXISTS", "json:a"]), 0, "no document is stored as a string");
}
