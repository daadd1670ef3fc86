//! Documents are stored, read, changed and deleted, whole and at paths; conditions, TTLs, invalid input.

use axum::http::Method;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::support::{Reply, TestApp, eventually, facade};

const JSON: (&str, &str) = ("content-type", "application/json");
const MERGE: (&str, &str) = ("content-type", "application/merge-patch+json");

/// A request with a literal body, so that numbers are sent as they are written.
async fn put(app: &TestApp, path: &str, body: &str) -> Reply {
    app.send(Method::PUT, path, &[JSON], body.to_owned()).await
}

async fn text(app: &TestApp, path: &str) -> String {
    app.get(path).await.expect(200).text()
}

fn etag(reply: &Reply) -> String {
    reply.header("etag").expect("an etag").to_owned()
}

#[tokio::test]
async fn a_document_is_stored_as_one_compact_string() {
    let app = TestApp::builder().config("json.backend = \"native\"").spawn().await;
    let created = put(&app, "/json/profile:7", " { \"z\" : 1.50, \"a\" : [ 1 , 2 ] } ").await.expect(201);
    assert_eq!(app.redis().command::<String>(&["GET", "json:profile:7"]), "{\"z\":1.50,\"a\":[1,2]}");
    let read = app.get("/json/profile:7").await.expect(200);
    assert_eq!(read.text(), "{\"z\":1.50,\"a\":[1,2]}");
    assert_eq!(read.header("content-type"), Some("application/json"));
    assert_eq!(etag(&read), etag(&created));
    put(&app, "/json/user_preferences:7", "{\"theme\":\"dark\"}").await.expect(201);
    assert_eq!(app.redis().command::<String>(&["GET", "user_preferences:7"]), "{\"theme\":\"dark\"}");
    assert_eq!(app.delete("/json/profile:7").await.expect(200).json(), json!({ "deleted": 1 }));
    app.get("/json/profile:7").await.expect_problem(404, "json-missing");
    assert_eq!(app.delete("/json/profile:7").await.expect(200).json(), json!({ "deleted": 0 }));
}

#[tokio::test]
async fn a_change_keeps_the_digits_and_order_of_other_values() {
    let app = TestApp::spawn().await;
    let document =
        "{\"big\":123456789012345678901234567890,\"money\":10.10,\"e\":1E+2,\"zero\":-0,\"n\":1,\"list\":[0.1000]}";
    put(&app, "/json/a", document).await.expect(201);
    app.post("/json/a/number/increment", json!({ "path": "$.n", "by": 1 })).await.expect(200);
    put(&app, "/json/a?path=$.new", "9007199254740993").await.expect(201);
    app.post("/json/a/array/append", json!({ "path": "$.list", "values": [2] })).await.expect(200);
    app.send(Method::PATCH, "/json/a", &[MERGE], "{\"z\":0.10,\"n\":null}").await.expect(204);
    let expected = "{\"big\":123456789012345678901234567890,\"money\":10.10,\"e\":1E+2,\"zero\":-0,\"list\":[0.1000,2],\
                    \"new\":9007199254740993,\"z\":0.10}";
    assert_eq!(text(&app, "/json/a").await, expected);
    assert_eq!(
        text(&app, "/json/a?path=$.big&path=$.money").await,
        "{\"$.big\":[123456789012345678901234567890],\"$.money\":[10.10]}"
    );
    app.delete("/json/a?path=$.big").await.expect(200);
    assert_eq!(text(&app, "/json/a?path=$.*").await, "[10.10,1E+2,-0,[0.1000,2],9007199254740993,0.10]");
}

#[tokio::test]
async fn paths_return_lists_and_legacy_paths_return_values() {
    let app = TestApp::spawn().await;
    put(&app, "/json/a", "{\"x\":[1,2,{\"y\":3}],\"y\":4}").await.expect(201);
    for (query, expected) in [
        ("path=$..y", "[4,3]"),
        ("path=..y", "4"),
        ("path=$.nope", "[]"),
        ("path=.x%5B2%5D.y", "3"),
        ("path=.y&path=.x%5B0%5D", "{\".y\":4,\".x[0]\":1}"),
        ("path=.y&path=$.y", "{\".y\":[4],\"$.y\":[4]}"),
        ("path=$.y&path=$.y", "{\"$.y\":[4]}"),
        ("path=$.x%5B?(@%3E1)%5D", "[2]"),
    ] {
        assert_eq!(text(&app, &format!("/json/a?{query}")).await, expected, "{query}");
    }
    app.get("/json/a?path=.nope").await.expect_problem(404, "json-path-missing");
    app.get("/json/a?path=.y&path=.nope").await.expect_problem(404, "json-path-missing");
    app.get("/json/b?path=$.y").await.expect_problem(404, "json-missing");
}

#[tokio::test]
async fn etags_are_never_used_twice() {
    let app = TestApp::spawn().await;
    let mut seen = Vec::new();
    for _ in 0..3 {
        seen.push(etag(&put(&app, "/json/a", "1").await));
        seen.push(etag(&put(&app, "/json/a", "2").await));
        app.delete("/json/a").await.expect(200);
    }
    let _: String = app.redis().command(&["FLUSHALL"]);
    seen.push(etag(&put(&app, "/json/a", "1").await));
    seen.push(etag(&app.post("/json/a/number/increment", json!({ "by": 1 })).await.expect(200)));
    let count = seen.len();
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), count, "each version has its own etag");
    let version: u64 = app.redis().command(&["GET", "json:version:{json:a}"]);
    assert!(version > 1_700_000_000_000_000, "Redis's clock in microseconds: {version}");
}

#[tokio::test]
async fn a_version_grows_even_if_the_clock_is_set_back() {
    let app = TestApp::spawn().await;
    let far = 4_000_000_000_000_000_u64;
    put(&app, "/json/a", "1").await.expect(201);
    let _: String = app.redis().command(&["SET", "json:version:{json:a}", &far.to_string()]);
    put(&app, "/json/a", "2").await.expect(204);
    assert_eq!(app.redis().command::<u64>(&["GET", "json:version:{json:a}"]), far + 1);
    app.delete("/json/a").await.expect(200);
    put(&app, "/json/a", "3").await.expect(201);
    assert_eq!(app.redis().command::<u64>(&["GET", "json:version:{json:a}"]), far + 3);
}

#[tokio::test]
async fn entity_tags_apply_to_the_document_and_stars_apply_to_the_path() {
    let app = TestApp::spawn().await;
    let created = app.send(Method::PUT, "/json/a", &[JSON, ("if-none-match", "*")], "{\"n\":1}").await.expect(201);
    let first = etag(&created);
    app.send(Method::PUT, "/json/a", &[JSON, ("if-none-match", "*")], "{}")
        .await
        .expect_problem(412, "precondition-failed");
    app.send(Method::PUT, "/json/b", &[JSON, ("if-match", "*")], "{}").await.expect_problem(412, "precondition-failed");
    app.get("/json/b").await.expect_problem(404, "json-missing");
    app.send(Method::PUT, "/json/a?path=$.m", &[JSON, ("if-match", "*")], "1")
        .await
        .expect_problem(412, "precondition-failed");
    app.send(Method::PUT, "/json/a?path=$.m", &[JSON, ("if-none-match", "*")], "1").await.expect(201);
    app.send(Method::PUT, "/json/a?path=$.m", &[JSON, ("if-none-match", "*")], "2")
        .await
        .expect_problem(412, "precondition-failed");
    let current = etag(&app.send(Method::PUT, "/json/a?path=$.m", &[JSON, ("if-match", "*")], "2").await.expect(204));
    for (method, path, body) in [
        (Method::PUT, "/json/a", "{}"),
        (Method::PUT, "/json/a?path=$.n", "5"),
        (Method::DELETE, "/json/a", ""),
        (Method::DELETE, "/json/a?path=$.n", ""),
        (Method::POST, "/json/a/number/increment", "{\"path\":\"$.n\",\"by\":1}"),
        (Method::POST, "/json/a/clear", "{}"),
    ] {
        let stale = app.send(method.clone(), path, &[JSON, ("if-match", &first)], body).await;
        let problem = stale.expect_problem(412, "precondition-failed");
        assert_eq!(problem["outcome"], "not_applied", "{method} {path}");
    }
    app.send(Method::PATCH, "/json/a", &[MERGE, ("if-match", &first)], "{}")
        .await
        .expect_problem(412, "precondition-failed");
    let listed = format!("\"other\", {current}");
    let changed = app.send(Method::PATCH, "/json/a", &[MERGE, ("if-match", &listed)], "{\"n\":7}").await.expect(204);
    assert_eq!(text(&app, "/json/a").await, "{\"n\":7,\"m\":2}");
    let unchanged =
        app.send(Method::GET, "/json/a?path=$.n", &[("if-none-match", &etag(&changed))], "").await.expect(304);
    assert_eq!(etag(&unchanged), etag(&changed));
    app.send(Method::GET, "/json/a", &[("if-none-match", &first)], "").await.expect(200);
    app.send(Method::GET, "/json/a", &[("if-match", &first)], "").await.expect_problem(412, "precondition-failed");
}

#[tokio::test]
async fn direct_writes_of_other_programs_are_detected() {
    let app = TestApp::spawn().await;
    let before = etag(&put(&app, "/json/user_preferences:1", "{\"a\":1}").await);
    app.redis().put_document("user_preferences:1", "{\"a\":2}");
    let read = app.send(Method::GET, "/json/user_preferences:1", &[("if-none-match", &before)], "").await.expect(200);
    assert_eq!(read.text(), "{\"a\":2}");
    app.redis().put_document("user_preferences:2", "{ \"b\": 1 }");
    app.post("/json/user_preferences:2/number/increment", json!({ "path": "$.b", "by": 1 })).await.expect(200);
    assert_eq!(text(&app, "/json/user_preferences:2").await, "{\"b\":2}");
    app.redis().put_document("user_preferences:3", "{\"c\":1}");
    put(&app, "/json/user_preferences:3", "{\"c\":2}").await.expect(204);
    let _: String = app.redis().command(&["SET", "user_preferences:4", "no document"]);
    let _: i64 = app.redis().command(&["HSET", "user_preferences:5", "f", "v"]);
    for key in ["user_preferences:4", "user_preferences:5"] {
        app.get(&format!("/json/{key}")).await.expect_problem(409, "wrong-type");
        put(&app, &format!("/json/{key}"), "{}").await.expect_problem(409, "wrong-type");
        app.delete(&format!("/json/{key}")).await.expect_problem(409, "wrong-type");
        app.post(&format!("/json/{key}/clear"), json!({})).await.expect_problem(409, "wrong-type");
    }
    app.post("/json/user_preferences:5/touch", json!({ "ttl_ms": 1 })).await.expect_problem(409, "wrong-type");
    for text in [r#"{"a":1,"a":2}"#, r#"{"a":"\ud800"}"#, r#"{"a":1e999}"#] {
        let _: String = app.redis().command(&["SET", "user_preferences:6", text]);
        for path in ["/json/user_preferences:6", "/json/user_preferences:6?path=$.b", "/users/6/preferences"] {
            app.get(path).await.expect_problem(409, "wrong-type");
        }
        let batch = app.post("/json/batch", json!({ "get": [{ "key": "user_preferences:6" }] })).await;
        assert_eq!(batch.expect(200).json()["get"][0]["status"], 409);
    }
    assert_eq!(app.redis().command::<String>(&["GET", "user_preferences:4"]), "no document");
}

#[tokio::test]
async fn a_ttl_is_set_kept_reset_and_removed() {
    let app = TestApp::spawn().await;
    let stored = put(&app, "/json/a?ttl_ms=60000", "{\"n\":1}").await.expect(201);
    assert_eq!(stored.header("document-ttl-ms"), Some("60000"));
    let left = |name: &str| app.redis().command::<i64>(&["PTTL", name]);
    app.post("/json/a/number/increment", json!({ "path": "$.n", "by": 1 })).await.expect(200);
    put(&app, "/json/a", "{\"n\":5}").await.expect(204);
    assert!((1..=60_000).contains(&left("json:a")), "a change keeps the TTL");
    let week = 7 * 86_400_000;
    assert!((week..=week + 60_000).contains(&left("json:version:{json:a}")), "the version outlives the document");
    app.post("/json/a/touch", json!({ "ttl_ms": 120_000 })).await.expect(204);
    assert!((60_001..=120_000).contains(&left("json:a")));
    let read = app.get("/json/a").await.expect(200);
    assert!(read.header("document-ttl-ms").is_some());
    app.post("/json/a/touch", json!({ "ttl_ms": null })).await.expect(204);
    assert_eq!((left("json:a"), left("json:version:{json:a}")), (-1, -1));
    assert!(app.get("/json/a").await.expect(200).header("document-ttl-ms").is_none());
    app.post("/json/b/touch", json!({ "ttl_ms": 1 })).await.expect_problem(404, "json-missing");
    put(&app, "/json/a?ttl_ms=20", "1").await.expect(204);
    eventually("it expires", async || app.get("/json/a").await.is(404)).await;
    app.delete("/json/a").await.expect(200);
    assert!(left("json:version:{json:a}") > 0, "every key expires");
}

#[tokio::test]
async fn types_lengths_and_member_names_are_returned() {
    let app = TestApp::spawn().await;
    put(&app, "/json/a", "{\"s\":\"é\",\"l\":[1,2.0],\"o\":{\"b\":1,\"a\":2},\"z\":null}").await.expect(201);
    let results = async |path: &str| app.get(path).await.expect(200).json()["results"].clone();
    assert_eq!(results("/json/a/type?path=$.*").await, json!(["string", "array", "object", "null"]));
    assert_eq!(results("/json/a/type?path=$.l%5B*%5D").await, json!(["integer", "number"]));
    assert_eq!(results("/json/a/type").await, json!(["object"]));
    assert_eq!(results("/json/a/length?path=$.*").await, json!([2, 2, 2, null]));
    assert_eq!(results("/json/a/length?path=$.*&of=array").await, json!([null, 2, null, null]));
    assert_eq!(results("/json/a/length?path=.s").await, json!([2]));
    assert_eq!(results("/json/a/keys?path=$.*").await, json!([null, null, ["b", "a"], null]));
    assert_eq!(results("/json/a/keys").await, json!([["s", "l", "o", "z"]]));
    let problem = app.get("/json/a/keys?path=.l").await.expect_problem(409, "json-wrong-type");
    assert_eq!(problem["detail"], "`.l` must be an object, got array");
    app.get("/json/a/length?path=.s&of=array").await.expect_problem(409, "json-wrong-type");
    app.get("/json/a/type?path=.nope").await.expect_problem(404, "json-path-missing");
    app.get("/json/b/type").await.expect_problem(404, "json-missing");
    app.get("/json/a/length?of=number").await.expect_violation(422, "invalid-query", "/of");
}

#[tokio::test]
async fn a_new_member_needs_a_path_that_names_it() {
    let app = TestApp::spawn().await;
    put(&app, "/json/a", "{\"l\":[{},{}],\"o\":{}}").await.expect(201);
    put(&app, "/json/a?path=$.o%5B%22a%20b%22%5D", "1").await.expect(201);
    put(&app, "/json/a?path=$.l%5B*%5D", "2").await.expect(204);
    assert_eq!(text(&app, "/json/a").await, "{\"l\":[2,2],\"o\":{\"a b\":1}}");
    for path in ["$.l%5B*%5D.x", "$..x", "$.l%5B9%5D", "$%5B'x','y'%5D"] {
        put(&app, &format!("/json/a?path={path}"), "1").await.expect_problem(422, "json-not-settable");
    }
    for path in ["$.x.y", "$.l.x", ".x.y"] {
        put(&app, &format!("/json/a?path={path}"), "1").await.expect_problem(404, "json-path-missing");
    }
    put(&app, "/json/b?path=$.x", "1").await.expect_problem(422, "json-not-settable");
    assert_eq!(text(&app, "/json/a").await, "{\"l\":[2,2],\"o\":{\"a b\":1}}", "nothing was half-applied");
    app.get("/json/b").await.expect_problem(404, "json-missing");
}

#[tokio::test]
async fn invalid_input_is_rejected_and_nothing_is_stored() {
    let app = TestApp::builder().config("json.document_limit = \"1KiB\"").spawn().await;
    let deep = format!("{}{}", "[".repeat(65), "]".repeat(65));
    for (body, code) in [
        ("{\"a\":1,\"a\":2}", "invalid-json"),
        ("{\"a\"", "invalid-json"),
        ("", "invalid-json"),
        ("[1e999]", "invalid-json"),
        ("\u{feff}1", "invalid-json"),
        (deep.as_str(), "json-too-deep"),
    ] {
        put(&app, "/json/a", body).await.expect_problem(400, code);
    }
    let raw = app.send(Method::PUT, "/json/a", &[JSON], b"\"\xff\"".to_vec()).await;
    raw.expect_problem(400, "invalid-json");
    put(&app, "/json/a", &format!("\"{}\"", "x".repeat(1_100))).await.expect_problem(413, "body-too-large");
    app.send(Method::PUT, "/json/a", &[("content-type", "text/plain")], "1")
        .await
        .expect_problem(415, "unsupported-media-type");
    app.send(Method::PATCH, "/json/a", &[JSON], "{}").await.expect_problem(415, "unsupported-media-type");
    for path in ["/json/a?path=", "/json/a?path=$%5B", "/json/a?path=$..", "/json/a?path=a%20b"] {
        put(&app, path, "1").await.expect_violation(422, "invalid-query", "/path");
        app.get(path).await.expect_violation(422, "invalid-query", "/path");
    }
    let long = format!("/json/a?path=$.{}", "a".repeat(1_100));
    app.get(&long).await.expect_violation(422, "invalid-query", "/path");
    put(&app, "/json/a?ttl_ms=0", "1").await.expect_violation(422, "invalid-query", "/ttl_ms");
    put(&app, "/json/a?ttl_ms=999999999999999", "1").await.expect_violation(422, "invalid-query", "/ttl_ms");
    put(&app, "/json/a?ttl=5", "1").await.expect_violation(422, "invalid-query", "/ttl");
    app.get("/json/a?paths=$").await.expect_violation(422, "invalid-query", "/paths");
    app.get(&format!("/json/a?{}", ["path=$"; 17].join("&"))).await.expect_violation(422, "invalid-query", "/path");
    put(&app, &format!("/json/{}", "k".repeat(513)), "1").await.expect_violation(422, "invalid-path", "/key");
    put(&app, "/json/a%00b", "1").await.expect_violation(422, "invalid-path", "/key");
    app.send(Method::PUT, "/json/a", &[JSON, ("if-match", "abc")], "1").await.expect_violation(
        422,
        "invalid-header",
        "/if-match",
    );
    app.get("/json/a").await.expect_problem(404, "json-missing");

    put(&app, "/json/a", &("[".repeat(60) + &"]".repeat(60))).await.expect(201);
    app.get("/json/a?path=$..*..*..*..*..*").await.expect_problem(422, "json-path-too-complex");
    let text = "x".repeat(600);
    put(&app, "/json/b", &format!("[\"{text}\"]")).await.expect(201);
    let twice = app.post("/json/b/array/append", json!({ "values": [text] })).await;
    assert_eq!(twice.expect_problem(413, "json-too-large")["outcome"], "not_applied");
    let nested = "[".repeat(60) + &"]".repeat(60);
    put(&app, "/json/c", &nested).await.expect(201);
    let inner = format!("/json/c?path=${}", "%5B0%5D".repeat(59));
    put(&app, &inner, "[[[[[[1]]]]]]").await.expect_problem(400, "json-too-deep");
    assert_eq!(text_length(&app, "c").await, nested.len());
}

async fn text_length(app: &TestApp, key: &str) -> usize {
    text(app, &format!("/json/{key}")).await.len()
}

#[tokio::test]
async fn each_item_of_a_batch_has_its_own_result() {
    let app = TestApp::spawn().await;
    put(&app, "/json/a", "{\"n\":1.50}").await.expect(201);
    put(&app, "/json/b", "[1,2]").await.expect(201);
    let body = "{\"get\":[{\"key\":\"a\",\"paths\":[\"$.n\"]},{\"key\":\"nope\"},{\"key\":\"b\"}],\
                \"delete\":[{\"key\":\"b\",\"path\":\"$[0]\"},{\"key\":\"nope\"}],\
                \"set\":[{\"key\":\"a\",\"path\":\"$.m\",\"value\":2.50},{\"key\":\"c\",\"value\":[1e2],\"ttl_ms\":60000},\
                         {\"key\":\"c\",\"path\":\"$[5]\",\"value\":1},{\"key\":\"a\",\"path\":\"$.m\",\"value\":3}]}";
    let reply = app.send(Method::POST, "/json/batch", &[JSON], body).await.expect(200);
    assert!(reply.text().contains("\"value\":[1.50]"), "{}", reply.text());
    let reply = reply.json();
    let statuses = |list: &str| -> Vec<u64> {
        let items = reply[list].as_array().cloned().unwrap_or_default();
        items.iter().filter_map(|item| item["status"].as_u64()).collect()
    };
    assert_eq!(statuses("get"), [200, 404, 200], "{reply}");
    assert_eq!(reply["get"][2]["value"], json!([1, 2]), "reads come first");
    assert_eq!(reply["get"][1]["error"]["code"], "json-missing");
    assert_eq!(
        reply["delete"],
        json!([{ "key": "b", "status": 200, "deleted": 1 }, { "key": "nope", "status": 200, "deleted": 0 }])
    );
    assert_eq!(statuses("set"), [201, 201, 422, 204], "{reply}");
    assert_eq!(reply["set"][2]["error"]["code"], "json-not-settable");
    assert_eq!(reply["set"][1]["ttl_ms"], 60_000);
    assert_eq!(text(&app, "/json/a").await, "{\"n\":1.50,\"m\":3}");
    assert_eq!(text(&app, "/json/b").await, "[2]");
    for (body, pointer) in [
        (json!({ "get": vec![json!({ "key": "a" }); 101] }), "/get"),
        (json!({ "get": [{ "key": "" }] }), "/get/0/key"),
        (json!({ "set": [{ "key": "x", "value": 1, "path": "$[" }] }), "/set/0/path"),
        (json!({ "get": [{ "key": "x", "paths": vec!["$"; 17] }] }), "/get/0/paths"),
        (json!({ "set": [{ "key": "x", "value": 1, "ttl_ms": u64::MAX >> 1 }] }), "/set/0/ttl_ms"),
        (json!({ "set": [{ "key": "x" }] }), "/set/0/value"),
        (json!({ "drop": [] }), "/drop"),
    ] {
        app.post("/json/batch", body).await.expect_violation(422, "invalid-body", pointer);
    }
    app.get("/json/x").await.expect_problem(404, "json-missing");
    // An invalid item does not stop the others.
    let batch = json!({
        "get": [{ "key": "a" }, { "key": "b", "paths": ["$["] }, ["a"]],
        "set": [{ "key": "y", "value": 1 }, { "key": "x", "value": 1, "path": "$[" }, { "key": "z", "value": 1 }],
        "delete": [{ "key": "b", "way": 1 }],
    });
    let reply = app.post("/json/batch", batch).await.expect(200).json();
    let results = |list: &str| -> Vec<(Value, Value)> {
        let items = reply[list].as_array().cloned().unwrap_or_default();
        items.iter().map(|item| (item["key"].clone(), item["status"].clone())).collect()
    };
    let expected = |results: &[(&str, u16)]| -> Vec<(Value, Value)> {
        results.iter().map(|(key, status)| (json!(key), json!(status))).collect()
    };
    assert_eq!(results("get"), expected(&[("a", 200), ("b", 422), ("", 422)]), "{reply}");
    assert_eq!(results("set"), expected(&[("y", 201), ("x", 422), ("z", 201)]), "{reply}");
    assert_eq!(results("delete"), expected(&[("b", 422)]), "{reply}");
    assert_eq!(text(&app, "/json/b").await, "[2]");
}

#[tokio::test]
async fn every_change_is_announced_with_its_versions() {
    let app = TestApp::spawn().await;
    let stop = CancellationToken::new();
    let (sender, mut news) = mpsc::unbounded_channel();
    let channel = app.state().keys().key("json:changes");
    let follower = app.state().clone();
    let following = facade::follow(&follower, channel, stop.clone(), sender);
    let changing = async {
        assert_eq!(news.recv().await, Some(None), "subscribed");
        put(&app, "/json/a", "{\"n\":1}").await.expect(201);
        app.post("/json/a/number/increment", json!({ "path": "$.n", "by": 1 })).await.expect(200);
        app.post("/json/a/toggle", json!({ "path": "$.n" })).await.expect(409);
        app.delete("/json/a").await.expect(200);
        let mut previous = 0;
        for (change, path) in [("set", "$"), ("increment", "$.n"), ("delete", "$")] {
            let Some(Some(payload)) = news.recv().await else { panic!("no message about {change}") };
            let event: Value = serde_json::from_str(&payload).expect("JSON");
            assert_eq!((&event["key"], &event["change"], &event["path"]), (&json!("a"), &json!(change), &json!(path)));
            assert_eq!(event["previous"], previous, "{event}");
            previous = event["version"].as_u64().expect("a version");
        }
        assert!(previous > 0);
        stop.cancel();
    };
    tokio::join!(following, changing);
}
