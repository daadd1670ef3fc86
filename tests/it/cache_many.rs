//! Many values: batches, lists, and the index of keys.

use std::cell::Cell;
use std::collections::BTreeSet;

use axum::http::Method;
use serde_json::{Value, json};

use crate::support::{TestApp, eventually};

#[tokio::test]
async fn a_batch_reads_the_previous_state_and_has_one_result_per_item() {
    let app = TestApp::spawn().await;
    app.send(Method::PUT, "/cache/a", &[("content-type", "application/json")], r#"{"n":1.10}"#).await.expect(201);
    app.send(Method::PUT, "/cache/png", &[("content-type", "image/png")], vec![0, 255, 10]).await.expect(201);
    app.put("/cache/tagged?tags=t", json!("T")).await.expect(201);
    app.put("/cache/gone", json!(1)).await.expect(201);
    let _: () = app.redis().command(&["HSET", "cache:hash", "a", "1"]);
    let reply = app
        .post(
            "/cache/batch",
            json!({
                "get": ["a", "png", "tagged", "none", "hash"],
                "set": [
                    {"key": "a", "value": null, "ttl_ms": 5_000},
                    {"key": "new", "value_base64": "AP8K", "content_type": "image/gif", "tags": ["t"]},
                    {"key": "hash", "value": 1},
                ],
                "delete": ["gone", "none", "hash"],
            }),
        )
        .await
        .expect(200);
    assert!(reply.text().contains(r#""value":{"n":1.10}"#), "numbers keep their digits: {}", reply.text());
    let reply = reply.json();
    let statuses = |part: &str| -> Vec<Value> {
        reply[part].as_array().expect("results").iter().map(|item| item["status"].clone()).collect()
    };
    assert_eq!(statuses("get"), [200, 200, 200, 404, 409], "{reply}");
    assert_eq!(statuses("set"), [204, 201, 409], "{reply}");
    assert_eq!(statuses("delete"), [204, 204, 409], "{reply}");
    assert_eq!(
        (&reply["get"][1]["value_base64"], &reply["get"][1]["content_type"]),
        (&json!("AP8K"), &json!("image/png"))
    );
    assert_eq!(reply["get"][2]["value"], "T");
    assert_eq!(reply["get"][3]["error"]["code"], "cache-miss");
    assert_eq!(
        reply["get"][4]["error"],
        json!({"code": "wrong-type", "detail": "the key holds another kind of value", "outcome": "not_applied"})
    );
    assert_eq!(reply["set"][0]["ttl_ms"], 5_000);
    let set = app.get("/cache/a").await.expect(200);
    assert_eq!((set.text().as_str(), set.header("etag")), ("null", reply["set"][0]["etag"].as_str()));
    let new = app.get("/cache/new").await.expect(200);
    assert_eq!((&new.body[..], new.header("content-type")), (&[0, 255, 10][..], Some("image/gif")));
    app.get("/cache/gone").await.expect_problem(404, "cache-miss");
    app.delete("/cache/tags/t").await.expect(204);
    let after = app.post("/cache/batch", json!({"get": ["new", "tagged", "a"]})).await.expect(200).json();
    assert_eq!(
        (&after["get"][0]["status"], &after["get"][1]["status"], &after["get"][2]["status"]),
        (&json!(404), &json!(404), &json!(200))
    );
}

#[tokio::test]
async fn the_reads_of_a_batch_are_limited_together() {
    let app = TestApp::builder().config("cache.value_limit = \"1KiB\"").spawn().await;
    let keys: Vec<String> = (0..12).map(|n| format!("k{n}")).collect();
    for key in &keys {
        app.send(Method::PUT, &format!("/cache/{key}"), &[], vec![b'x'; 900]).await.expect(201);
    }
    app.put("/cache/small", json!(1)).await.expect(201);
    let _: i64 = app.redis().command(&["HSET", "cache:hash", "a", "1"]);
    let get = [keys.as_slice(), &["small".to_owned(), "none".to_owned(), "hash".to_owned()]].concat();
    let set = json!([{"key": "set", "value": 1}]);
    let reply = app.post("/cache/batch", json!({"get": get, "set": set, "delete": ["k0"]})).await.expect(200).json();
    let statuses: Vec<&Value> = reply["get"].as_array().expect("results").iter().map(|item| &item["status"]).collect();
    assert!(statuses[..8].iter().all(|status| **status == 200), "{statuses:?}");
    assert!(statuses[8..12].iter().all(|status| **status == 413), "{statuses:?}");
    assert_eq!(statuses[12..], [200, 404, 409], "{statuses:?}");
    let error = &reply["get"][8]["error"];
    assert_eq!((&error["code"], &error["outcome"]), (&json!("cache-batch-too-large"), &json!("not_applied")));
    assert_eq!((&reply["set"][0]["status"], &reply["delete"][0]["status"]), (&json!(201), &json!(204)), "{reply}");
    app.get("/problems/cache-batch-too-large").await.expect(200);
}

#[tokio::test]
async fn a_batch_applies_deletions_before_writes() {
    let app = TestApp::spawn().await;
    let set = json!([{"key": "a", "value": 1}, {"key": "a", "value": 2}]);
    app.post("/cache/batch", json!({"delete": ["a"], "set": set})).await.expect(200);
    assert_eq!(app.get("/cache/a").await.expect(200).json(), json!(2));
}

#[tokio::test]
async fn a_batch_without_a_valid_item_is_rejected_as_a_whole() {
    let app = TestApp::builder().config("cache.batch_limit = 3\ncache.value_limit = \"8B\"").spawn().await;
    for (bad, pointer) in [
        (json!({"key": "a"}), "/set/0"),
        (json!({"key": "a", "value": 1, "value_base64": "AA=="}), "/set/0"),
        (json!({"key": "a", "value_base64": "?"}), "/set/0"),
        (json!({"key": "a", "value": 1, "content_type": ""}), "/set/0"),
        (json!({"key": "", "value": 1}), "/set/0/key"),
        (json!({"key": "a\n", "value": 1}), "/set/0/key"),
        (json!({"key": "a", "value": 1, "ttl_ms": 0}), "/set/0/ttl_ms"),
        (json!({"key": "a", "value": 1, "ttl_ms": 31_536_000_001_u64}), "/set/0/ttl_ms"),
        (json!({"key": "a", "value": 1, "tll": 1}), "/set/0/tll"),
        (json!({"key": "a", "value": 1, "tags": [""]}), "/set/0/tags/0"),
        (json!({"key": "a", "value": 1, "tags": ["a,b"]}), "/set/0/tags/0"),
        (json!({"key": "a", "value": "123456789"}), "/set/0"),
    ] {
        let rejected = app.post("/cache/batch", json!({"set": [bad]})).await;
        rejected.expect_violation(422, "invalid-body", pointer);
    }
    for list in ["get", "delete"] {
        let rejected = app.post("/cache/batch", json!({list: ["a", "b", "c", "d"]})).await;
        rejected.expect_violation(422, "invalid-body", &format!("/{list}"));
    }
    app.post("/cache/batch", json!({"get": ["batch"]})).await.expect_violation(422, "invalid-body", "/get/0");
    app.post("/cache/batch", json!({"got": []})).await.expect_violation(422, "invalid-body", "/got");
    app.get("/cache/good").await.expect_problem(404, "cache-miss");
    let empty = app.post("/cache/batch", json!({})).await.expect(200).json();
    assert_eq!(empty, json!({"get": [], "set": [], "delete": []}));
}

/// Lists every key, page by page.
async fn list_all(app: &TestApp, query: &str) -> Vec<String> {
    let mut keys = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = app.get(&format!("/cache?{query}{cursor}")).await.expect(200).json();
        for item in page["items"].as_array().expect("items") {
            keys.push(item["key"].as_str().expect("a key").to_owned());
        }
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return keys,
        }
    }
}

#[tokio::test]
async fn a_list_returns_every_key_once() {
    let app = TestApp::spawn().await;
    let mut expected = BTreeSet::new();
    for n in 0..25 {
        let key = format!("s:{n:02}");
        app.put(&format!("/cache/{key}"), json!(n)).await.expect(201);
        expected.insert(key);
    }
    for other in ["r", "s", "t:1", "user:profile:1", "%C3%A9%20x"] {
        app.put(&format!("/cache/{other}"), json!(1)).await.expect(201);
    }
    app.post("/cache/s:n/increment", json!({})).await.expect(200);
    app.post("/cache/batch", json!({"set": [{"key": "s:b", "value": 1}]})).await.expect(200);
    app.delete("/cache/s:03").await.expect(204);
    expected.extend(["s:n".to_owned(), "s:b".to_owned()]);
    expected.remove("s:03");
    let expected: Vec<String> = expected.into_iter().collect();
    for limit in [1, 7, 26, 27, 1_000] {
        assert_eq!(list_all(&app, &format!("prefix=s:&limit={limit}")).await, expected, "{limit}");
    }
    let all = list_all(&app, "").await;
    assert_eq!(all.len(), expected.len() + 5);
    assert!(all.contains(&"é x".to_owned()) && all.contains(&"user:profile:1".to_owned()), "{all:?}");
    let page = app.get("/cache?prefix=r").await.expect(200).json();
    assert_eq!((&page["items"][0]["key"], &page["items"][0]["size"]), (&json!("r"), &json!(1)));
    assert!(page["items"][0]["ttl_ms"].as_u64().is_some_and(|ttl| (1..=3_600_000).contains(&ttl)), "{page}");
}

#[tokio::test]
async fn invalid_list_parameters_are_rejected() {
    let app = TestApp::spawn().await;
    for n in 0..3 {
        app.put(&format!("/cache/a{n}"), json!(n)).await.expect(201);
    }
    let page = app.get("/cache?prefix=a&limit=1").await.expect(200).json();
    let cursor = page["next_cursor"].as_str().expect("a next page");
    let past_prefix = app.get(&format!("/cache?prefix=b&cursor={cursor}")).await.expect(200).json();
    assert_eq!(past_prefix, json!({"items": [], "next_cursor": null}));
    let before_prefix = app.get("/cache?prefix=a&cursor=00").await.expect(200).json();
    assert_eq!(before_prefix["items"].as_array().map(Vec::len), Some(3));
    let long = "p".repeat(513);
    for (query, name) in [
        ("cursor=%00".to_owned(), "/cursor"),
        (format!("cursor={}", cursor.to_uppercase() + "A"), "/cursor"),
        ("cursor=".to_owned(), "/cursor"),
        ("limit=0".to_owned(), "/limit"),
        ("limit=1001".to_owned(), "/limit"),
        ("limit=-1".to_owned(), "/limit"),
        (format!("prefix={long}"), "/prefix"),
        ("page=1".to_owned(), "/page"),
    ] {
        app.get(&format!("/cache?{query}")).await.expect_violation(422, "invalid-query", name);
    }
}

#[tokio::test]
async fn a_list_removes_expired_keys_from_the_index() {
    let app = TestApp::spawn().await;
    for n in 0..50 {
        app.put(&format!("/cache/short:{n}?ttl_ms=1"), json!(n)).await;
    }
    app.put("/cache/short:z", json!(1)).await.expect(201);
    eventually("the values expire", async || app.redis().keys().len() == 2).await;
    assert_eq!(list_all(&app, "prefix=short:&limit=5").await, ["short:z"]);
    assert_eq!(app.redis().command::<i64>(&["ZCARD", "cache:{index}"]), 1);
}

#[tokio::test]
async fn the_sweep_removes_expired_keys_from_the_index() {
    let app = TestApp::spawn().await;
    for n in 0..60 {
        app.put(&format!("/cache/k{n}?ttl_ms=1"), json!(n)).await;
    }
    app.put("/cache/stays", json!(1)).await.expect(201);
    eventually("only the key that exists is left", async || {
        app.redis().command::<Vec<String>>(&["ZRANGE", "cache:{index}", "0", "-1"]) == ["stays"]
    })
    .await;
    let state = app.get("/health/ready").await.expect(200).json()["tasks"]["cache.sweep"].clone();
    assert_eq!(state["running"], 1, "{state}");
}

#[tokio::test]
async fn rewritten_keys_stay_listed_while_two_replicas_remove_expired_entries() {
    let app = TestApp::spawn().await;
    let other = TestApp::builder().beside(&app).spawn().await;
    let is_done = Cell::new(false);
    let rewrite = async {
        for round in 0..40 {
            for n in 0..5 {
                let replica = if round % 2 == 0 { &app } else { &other };
                replica.delete(&format!("/cache/k{n}")).await.expect(204);
                replica.put(&format!("/cache/k{n}"), json!(round)).await.expect(201);
            }
        }
        is_done.set(true);
    };
    // A list removes the entries of deleted values, as the sweep does once a second.
    let list = async |replica: &TestApp| {
        while !is_done.get() {
            replica.get("/cache").await.expect(200);
        }
    };
    tokio::join!(rewrite, list(&app), list(&other));
    eventually("all keys are listed", async || list_all(&app, "").await.len() == 5).await;
}

#[tokio::test]
async fn operations_are_counted_by_result() {
    let app = TestApp::spawn().await;
    app.get("/cache/a").await.expect_problem(404, "cache-miss");
    app.put("/cache/a", json!(1)).await.expect(201);
    app.get("/cache/a").await.expect(200);
    app.send(Method::PUT, "/cache/a", &[("if-none-match", "*")], "1").await.expect_problem(412, "precondition-failed");
    app.post("/cache/a/increment", json!({})).await.expect(200);
    app.post("/cache/a/touch", json!({"ttl_ms": 1_000})).await.expect(204);
    app.delete("/cache/a?take=true").await.expect(200);
    app.delete("/cache/a").await.expect(204);
    app.get("/cache/a?lease_ms=1000").await.expect_problem(404, "cache-miss");
    let text = app.get("/metrics").await.expect(200).text();
    for (operation, result, count) in [
        ("get", "hit", 1),
        ("get", "miss", 2),
        ("set", "ok", 1),
        ("set", "refused", 1),
        ("increment", "ok", 1),
        ("touch", "ok", 1),
        ("take", "hit", 1),
        ("delete", "ok", 1),
        ("lease", "ok", 1),
    ] {
        let line = format!("cache_operations_total{{operation=\"{operation}\",result=\"{result}\"}} {count}\n");
        assert!(text.contains(&line), "{line}{text}");
    }
}

#[tokio::test]
async fn an_invalid_item_does_not_stop_the_others() {
    let app = TestApp::spawn().await;
    app.put("/cache/a", json!(1)).await.expect(201);
    app.put("/cache/d", json!(1)).await.expect(201);
    let long = "k".repeat(513);
    let batch = json!({
        "get": [long, "a", 5, {"key": "object"}],
        "set": [
            {"key": "b", "value": 2},
            {"key": "c", "value": 1, "ttl_ms": 0},
            {"key": "c", "value": 1, "ttl_ms": 31_536_000_001_u64},
            {"key": "c", "value_base64": "*"},
            {"key": "c", "value": 1, "tll": 1},
            {"value": 1},
            {"key": "e", "value": 3},
        ],
        "delete": ["d", ""],
    });
    let reply = app.post("/cache/batch", batch).await.expect(200).json();
    let statuses = |list: &str| -> Vec<(String, u64)> {
        let results = reply[list].as_array().expect("results").iter();
        let status = |result: &Value| result["status"].as_u64().expect("a status");
        results.map(|result| (result["key"].as_str().expect("a key").to_owned(), status(result))).collect()
    };
    let named = |results: &[(&str, u64)]| -> Vec<(String, u64)> {
        results.iter().map(|(key, status)| ((*key).to_owned(), *status)).collect()
    };
    assert_eq!(statuses("get"), named(&[(&long, 422), ("a", 200), ("", 422), ("object", 422)]), "{reply}");
    let set = [("b", 201), ("c", 422), ("c", 422), ("c", 422), ("c", 422), ("", 422), ("e", 201)];
    assert_eq!(statuses("set"), named(&set), "{reply}");
    assert_eq!(statuses("delete"), named(&[("d", 204), ("", 422)]), "{reply}");
    let error = &reply["set"][2]["error"];
    assert_eq!((&error["code"], &error["outcome"]), (&json!("invalid-body"), &json!("not_applied")), "{reply}");
    assert_eq!(error["detail"], "ttl_ms must be at most 31536000000, got 31536000001", "{reply}");
    app.get("/cache/c").await.expect(404);
    // Nothing hides behind a 200: without a valid item, the batch fails.
    let nothing = json!({ "set": [{"key": "c", "value": 1, "ttl_ms": 0}], "delete": [""] });
    app.post("/cache/batch", nothing).await.expect_violation(422, "invalid-body", "/set/0/ttl_ms");
}

#[tokio::test]
async fn a_batch_returns_only_json_that_every_parser_reads_alike() {
    let app = TestApp::spawn().await;
    let headers = [("content-type", "application/json")];
    for text in [r#"{"a":1,"a":2}"#, r#""\ud800""#, "1e400", "NaN", "[1,]"] {
        app.send(Method::PUT, "/cache/a", &headers, text).await;
        assert_eq!(app.get("/cache/a").await.expect(200).text(), text, "the value is the body");
        let reply = app.post("/cache/batch", json!({ "get": ["a"] })).await.expect(200).json();
        assert!(
            reply["get"][0].get("value").is_none() && reply["get"][0]["value_base64"].is_string(),
            "{text}: {reply}"
        );
    }
    for text in [r#"{"a":1,"a":2}"#, r#""\ud800""#, "1e400"] {
        let batch = format!(r#"{{"set":[{{"key":"b","value":{text}}}]}}"#);
        app.send(Method::POST, "/cache/batch", &headers, batch).await.expect_violation(422, "invalid-body", "/set/0");
    }
    app.get("/cache/b").await.expect(404);
    let kept = r#"{"n":123456789012345678901234567890,"d":1.10}"#;
    app.send(Method::POST, "/cache/batch", &headers, format!(r#"{{"set":[{{"key":"b","value":{kept}}}]}}"#))
        .await
        .expect(200);
    assert!(app.post("/cache/batch", json!({ "get": ["b"] })).await.text().contains(kept));
}
