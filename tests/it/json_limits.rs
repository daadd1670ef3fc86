//! Limits on the work of one request: the visits of its paths, the bytes of its result, and the time on its thread.

use axum::http::Method;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use serde_json::{Value, json};

use crate::support::wire::{Request, Wire};
use crate::support::{RedisServer, ServiceProcess, TestApp};

/// Unoptimised code on a busy machine takes longer than a request may.
const NO_HURRY: &str = "http.request_deadline = \"30s\"";

/// `[0,0,..]`, `count` times 0.
fn zeros(count: usize) -> String {
    format!("[{}]", vec!["0"; count].join(","))
}

async fn store(app: &TestApp, key: &str, text: String) {
    let json = ("content-type", "application/json");
    app.send(Method::PUT, &format!("/json/{key}"), &[json], text).await.expect(201);
}

fn statuses(reply: &Value, list: &str) -> Vec<u64> {
    reply[list].as_array().expect("results").iter().map(|item| item["status"].as_u64().expect("a status")).collect()
}

#[tokio::test]
async fn a_path_that_repeats_values_does_not_multiply_the_response() {
    let app = TestApp::spawn().await;
    let member = format!("\"{}\":1", "n".repeat(10_000));
    store(&app, "a", format!("[[{{{member}}}]]")).await;
    // 6,400 times the same object.
    let path = format!("${0}{0}", zeros(80));
    for route in ["/json/a", "/json/a/keys"] {
        let problem = app.get(&format!("{route}?path={path}")).await.expect_problem(422, "json-result-too-large");
        assert_eq!(problem["outcome"], "not_applied", "{problem}");
    }
    let types = app.get(&format!("/json/a/type?path={path}")).await.expect(200).json();
    assert_eq!(types["results"].as_array().map(Vec::len), Some(6_400));
    let once = app.get("/json/a?path=$[0][0]").await.expect(200);
    assert!(once.text().len() > 10_000);
}

#[tokio::test]
async fn the_paths_of_one_request_share_the_bytes_of_a_result() {
    let app = TestApp::builder().config("json.document_limit = \"10KiB\"").spawn().await;
    store(&app, "a", format!("{{\"a\":\"{}\"}}", "x".repeat(9_500))).await;
    let repeated = |count: usize| {
        let paths: Vec<String> = (0..count).map(|n| format!("path=$.{}a", "%20".repeat(n))).collect();
        format!("/json/a?{}", paths.join("&"))
    };
    app.get(&repeated(8)).await.expect(200);
    app.get(&repeated(9)).await.expect_problem(422, "json-result-too-large");
    let items: Vec<Value> = (0..12).map(|_| json!({ "key": "a", "paths": ["$"] })).collect();
    let deletion = json!([{ "key": "b" }]);
    let reply = app.post("/json/batch", json!({ "get": items, "delete": deletion })).await.expect(200).json();
    assert_eq!(statuses(&reply, "get"), [[200; 8].as_slice(), &[422; 4]].concat(), "{reply}");
    assert_eq!(reply["get"][11]["error"]["code"], "json-result-too-large");
    assert_eq!(statuses(&reply, "delete"), [200], "the other items are processed");
    let whole: Vec<Value> = (0..12).map(|_| json!({ "key": "a" })).collect();
    let reply = app.post("/json/batch", json!({ "get": whole })).await.expect(200).json();
    assert_eq!(statuses(&reply, "get"), [[200; 8].as_slice(), &[422; 4]].concat());
}

#[tokio::test]
async fn the_paths_of_one_request_share_their_visits() {
    let app = TestApp::builder().config(NO_HURRY).spawn().await;
    store(&app, "a", zeros(70_000)).await;
    let paths: Vec<String> = (0..16).map(|n| format!("path=$[?(@=={n})]")).collect();
    let several = app.get(&format!("/json/a?{}", paths.join("&"))).await;
    several.expect_problem(422, "json-path-too-complex");
    app.get(&format!("/json/a?{}", paths[1..2].join("&"))).await.expect(200);
    // Every read visits 70,000 values.
    let items: Vec<Value> = (0..20).map(|_| json!({ "key": "a", "paths": ["$[1:]"] })).collect();
    let reply = app.post("/json/batch", json!({ "get": items })).await.expect(200).json();
    assert_eq!(statuses(&reply, "get"), [[200; 14].as_slice(), &[422; 6]].concat());
    assert_eq!(reply["get"][19]["error"]["code"], "json-path-too-complex");
    assert_eq!(reply["get"][19]["error"]["outcome"], "not_applied");
}

#[tokio::test]
async fn a_path_with_many_expressions_is_too_complex() {
    let app = TestApp::spawn().await;
    store(&app, "a", "[\"a\"]".to_owned()).await;
    let conditions: Vec<String> = (0..45).map(|n| format!("@=~'x{n}'")).collect();
    let path = format!("$[?({})]", conditions.join("||")).replace('|', "%7C");
    app.get(&format!("/json/a?path={path}")).await.expect_problem(422, "json-path-too-complex");
}

#[tokio::test]
async fn long_work_does_not_delay_other_requests_of_the_same_thread() {
    let app = TestApp::builder().config(NO_HURRY).spawn().await;
    app.put("/cache/a", json!(1)).await.expect(201);
    store(&app, "a", zeros(300_000)).await;
    let json = ("content-type", "application/json");
    let merge = ("content-type", "application/merge-patch+json");
    let text = zeros(150_000);
    let values = format!("{{\"path\":\"$\",\"values\":{text}}}");
    let sets =
        format!("{{\"set\":[{{\"key\":\"d\",\"value\":{text}}}],\"get\":[{{\"key\":\"a\",\"paths\":[\"$..*\"]}}]}}");
    for (method, path, header, body) in [
        (Method::GET, "/json/a?path=$..*", json, String::new()),
        (Method::PUT, "/json/b", json, text.clone()),
        (Method::PUT, "/json/b?path=$[0]", json, "1".to_owned()),
        (Method::PATCH, "/json/c", merge, text.clone()),
        (Method::POST, "/json/a/array/append", json, values),
        (Method::POST, "/json/batch", json, sets),
    ] {
        let name = format!("{method} {path}");
        let headers = [header];
        let long = app.send(method, path, &headers, body);
        let others = async {
            for _ in 0..4 {
                app.get("/cache/a").await.expect(200);
            }
        };
        tokio::pin!(others, long);
        // The long request starts first, and the others share its thread.
        tokio::select! {
            biased;
            reply = &mut long => panic!("{name} blocked its thread: {}", reply.status),
            () = &mut others => {}
        }
        let reply = long.await;
        assert!(reply.status.is_success(), "{name}: {}", reply.text());
    }
}

#[tokio::test]
async fn batches_of_one_credential_do_not_delay_those_of_others() {
    let scopes = ["json:read", "json:write"];
    let keys = ["ak_11111111111111111111111111111111", "ak_22222222222222222222222222222222"];
    let app = TestApp::builder().config(NO_HURRY).key(keys[0], &scopes).key(keys[1], &scopes).spawn().await;
    let headers = keys.map(|key| [("x-api-key", key), ("content-type", "application/json")]);
    app.send(Method::PUT, "/json/large", &headers[0], zeros(200_000)).await.expect(201);
    app.send(Method::PUT, "/json/small", &headers[1], "[1]").await.expect(201);
    let items: Vec<Value> = (0..8).map(|_| json!({ "key": "large", "paths": ["$..zz"] })).collect();
    let large = json!({ "get": items }).to_string();
    let long = (0..4).map(|_| app.send(Method::POST, "/json/batch", &headers[0], large.clone()));
    let small = async {
        for _ in 0..4 {
            app.send(Method::GET, "/json/small", &headers[1], "").await.expect(200);
        }
        let batch = json!({ "get": [{ "key": "small" }] }).to_string();
        app.send(Method::POST, "/json/batch", &headers[1], batch).await.expect(200).json()
    };
    // The long batches start first.
    tokio::pin!(small);
    let mut long: FuturesUnordered<_> = long.collect();
    let reply = tokio::select! {
        biased;
        Some(reply) = long.next() => panic!("a long batch was first: {}", reply.status),
        reply = &mut small => reply,
    };
    assert_eq!(statuses(&reply, "get"), [200]);
}

#[cfg(feature = "json-schema")]
#[tokio::test]
async fn a_long_document_that_breaks_its_schema_is_rejected_in_bounded_memory() {
    let schema = r##"{"$ref":"#/$defs/t","$defs":{"t":{"anyOf":[{"type":"array","items":{"$ref":"#/$defs/t"}}]}}}"##;
    let collection = format!("[[json.collections]]\nprefix = \"schema:\"\nschema = '''{schema}'''");
    let redis = RedisServer::start();
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("service.toml");
    let config = format!("[redis]\nurl = \"{}\"\n[http]\nrequest_deadline = \"30s\"\n{collection}", redis.url());
    std::fs::write(&file, config).expect("the configuration is written");
    let mut service = ServiceProcess::start_with(&file, &[]);
    service.ready();
    // Every number breaks the schema in each of its levels.
    let document = format!("[{}]", vec!["[[[[[1]]]]]"; 80_000].join(","));
    let request = Request { method: "PUT", path: "/json/schema:a".to_owned(), header: None, body: document };
    let response = Wire::patient(service.address().port()).send(&request).expect("a response");
    assert_eq!(response.problem(), "json-schema-violation");
    assert!(service.resident_kib() < 300 << 10, "{} KiB", service.resident_kib());
}
