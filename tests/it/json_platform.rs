//! The platform's own documents: preferences, activity, configuration, forms.

use axum::http::Method;
use serde_json::{Value, json};

use crate::support::{ADMIN_KEY, TestApp};

const MERGE: (&str, &str) = ("content-type", "application/merge-patch+json");
const PATCH: (&str, &str) = ("content-type", "application/json-patch+json");

#[tokio::test]
async fn preferences_are_stored_together_and_one_by_one() {
    let app = TestApp::spawn().await;
    app.put("/users/7/preferences/language", json!("th")).await.expect(201);
    app.put("/users/7/preferences/a%2Fb%20%22c", json!([1])).await.expect(201);
    app.put("/users/7/preferences/language", json!("en")).await.expect(204);
    assert_eq!(app.get("/users/7/preferences/language").await.expect(200).json(), json!("en"));
    assert_eq!(app.get("/users/7/preferences/a%2Fb%20%22c").await.expect(200).json(), json!([1]));
    app.get("/users/7/preferences/theme").await.expect_problem(404, "json-path-missing");
    app.get("/users/8/preferences/theme").await.expect_problem(404, "json-missing");
    let stored = app.redis().document("user_preferences:7");
    assert_eq!(stored, "{\"language\":\"en\",\"a/b \\\"c\":[1]}");
    app.send(Method::PATCH, "/users/7/preferences", &[MERGE], "{\"theme\":\"dark\",\"a/b \\\"c\":null}")
        .await
        .expect(204);
    app.send(Method::PATCH, "/users/9/preferences", &[MERGE], "{\"theme\":\"dark\"}").await.expect(201);
    let whole = app.get("/users/7/preferences").await.expect(200);
    assert_eq!(whole.json(), json!({ "language": "en", "theme": "dark" }));
    assert_eq!(
        app.get("/json/user_preferences:7").await.header("etag"),
        whole.header("etag"),
        "it is the same document"
    );
    assert_eq!(app.get("/users/7/preferences?path=$.theme").await.expect(200).json(), json!(["dark"]));
    assert_eq!(app.delete("/users/7/preferences/theme").await.expect(200).json(), json!({ "deleted": 1 }));
    assert_eq!(app.delete("/users/7/preferences/theme").await.expect(200).json(), json!({ "deleted": 0 }));
    let twice = [("content-type", "application/json"), ("if-none-match", "*")];
    app.send(Method::PUT, "/users/7/preferences/language", &twice, "1")
        .await
        .expect_problem(412, "precondition-failed");
    app.put("/users/7/preferences", json!([1])).await.expect_violation(422, "json-schema-violation", "");
    app.put("/users/7/preferences", json!({ "language": "fr" })).await.expect(204);
    assert_eq!(app.delete("/users/7/preferences").await.expect(200).json(), json!({ "deleted": 1 }));
    let long = format!("/users/{}/preferences", "u".repeat(500));
    app.put(&long, json!({})).await.expect_violation(422, "invalid-path", "/id");
    app.put("/users/7/preferences/a%0Ab", json!(1)).await.expect_violation(422, "invalid-path", "/name");
}

#[tokio::test]
async fn activity_is_limited_and_listed_newest_first() {
    let app = TestApp::builder().config("json.activity_limit = 5").spawn().await;
    assert_eq!(app.get("/users/7/activity").await.expect(200).json(), json!({ "items": [], "next_cursor": null }));
    for n in 0..7 {
        let recorded = app.post("/users/7/activity", json!({ "n": n })).await.expect(201).json();
        assert_eq!(recorded["entries"], (n + 1).min(5));
    }
    let stored: Value = serde_json::from_str(&app.redis().document("user_activity:7")).expect("JSON");
    assert_eq!(stored["activities"][0]["n"], 2, "entries are stored in the order of arrival");
    assert!(stored["activities"][0]["timestamp"].is_i64());
    let numbers = |page: &Value| -> Vec<i64> {
        page["items"].as_array().expect("items").iter().map(|entry| entry["n"].as_i64().expect("n")).collect()
    };
    let first = app.get("/users/7/activity?limit=2").await.expect(200).json();
    assert_eq!(numbers(&first), [6, 5]);
    app.post("/users/7/activity", json!({ "n": 7, "timestamp": "then" })).await.expect(201);
    let cursor = first["next_cursor"].as_str().expect("a cursor");
    let second = app.get(&format!("/users/7/activity?limit=2&cursor={cursor}")).await.expect(200).json();
    assert_eq!(numbers(&second), [4, 3], "the second page continues after the first one");
    let cursor = second["next_cursor"].as_str();
    assert!(cursor.is_none(), "dropped entries are not listed: {second}");
    assert_eq!(app.get("/users/7/activity").await.json()["items"][0]["timestamp"], "then");
    app.post("/users/7/activity", json!([1])).await.expect_problem(422, "invalid-body");
    app.get("/users/7/activity?limit=0").await.expect_violation(422, "invalid-query", "/limit");
    app.get("/users/7/activity?cursor=x").await.expect_violation(422, "invalid-query", "/cursor");
    app.put("/json/user_activity:7", json!({ "activities": 5 })).await.expect_violation(
        422,
        "json-schema-violation",
        "/activities",
    );
    app.put("/json/user_activity:7", json!({})).await.expect_violation(422, "json-schema-violation", "/activities");
    assert_eq!(app.delete("/users/7/activity").await.expect(200).json(), json!({ "deleted": 1 }));
}

#[tokio::test]
async fn configurations_must_have_their_required_members() {
    let app = TestApp::spawn().await;
    for (kind, complete, missing) in [
        ("trading", json!({ "market_id": "m", "rules": [] }), "/rules"),
        ("market", json!({ "symbol": "GRID", "base_currency": "THBC" }), "/base_currency"),
        ("blockchain", json!({ "network": "main", "rpc_url": "https://example.org" }), "/rpc_url"),
    ] {
        let path = format!("/config/{kind}/1");
        let name = missing.trim_start_matches('/');
        let mut incomplete = complete.clone();
        incomplete.as_object_mut().expect("an object").remove(name);
        let problem = app.put(&path, incomplete).await.expect_violation(422, "json-schema-violation", missing);
        assert_eq!(problem["outcome"], "not_applied");
        app.get(&path).await.expect_problem(404, "json-missing");
        app.put(&path, complete.clone()).await.expect(201);
        app.delete(&format!("{path}?path=$.{name}")).await.expect_violation(422, "json-schema-violation", missing);
        let dropped = format!("{{\"{name}\":null}}");
        app.send(Method::PATCH, &path, &[MERGE], dropped).await.expect_violation(422, "json-schema-violation", missing);
        assert_eq!(app.get(&path).await.expect(200).json(), complete);
        app.put(&format!("{path}?path=$.fee"), json!("0.0025")).await.expect(201);
        let raised = json!([{ "op": "replace", "path": "/fee", "value": "0.003" }]).to_string();
        app.send(Method::PATCH, &path, &[PATCH], raised).await.expect(204);
        assert_eq!(app.get(&format!("{path}?path=.fee")).await.expect(200).json(), json!("0.003"));
        let key = format!("{kind}_config:1");
        assert!(app.redis().document(&key).contains("0.003"), "the document has the platform's key");
        assert_eq!(app.delete(&path).await.expect(200).json(), json!({ "deleted": 1 }));
    }
    app.get("/config/weather/1").await.expect_problem(422, "invalid-path");
}

#[tokio::test]
async fn every_change_is_checked_against_the_schema_of_its_collection() {
    let schema = r#"{"type":"object","properties":{"price":{"type":"string","pattern":"^[0-9]+[.][0-9]{2}$"}}}"#;
    let config = format!("[[json.collections]]\nprefix = \"form_data:\"\nschema = '''{schema}'''");
    let app = TestApp::builder().config(&config).spawn().await;
    app.put("/forms/7", json!({ "price": "1.50", "n": 1 })).await.expect(201);
    for refused in [
        app.put("/forms/7", json!({ "price": 1.5 })).await,
        app.put("/forms/7?path=$.price", json!("cheap")).await,
        app.send(Method::PATCH, "/forms/7", &[MERGE], "{\"price\":\"1\"}").await,
        app.post("/json/form_data:7/string/append", json!({ "path": "$.price", "value": "0" })).await,
    ] {
        refused.expect_violation(422, "json-schema-violation", "/price");
    }
    let batch = app.post("/json/batch", json!({ "set": [{ "key": "form_data:8", "value": [] }] })).await;
    batch.expect_problem(422, "json-schema-violation");
    app.send(Method::PATCH, "/forms/7", &[MERGE], "{\"n\":2}").await.expect(204);
    assert_eq!(app.get("/forms/7").await.expect(200).json(), json!({ "price": "1.50", "n": 2 }));
    app.put("/json/elsewhere", json!({ "price": 1.5 })).await.expect(201);
    app.delete("/forms/7").await.expect(200);
}

#[tokio::test]
async fn each_kind_of_document_has_its_own_scopes() {
    let digest = {
        use gridtokenx_redis::http::auth::api_key;
        api_key::hex(&api_key::digest(ADMIN_KEY.as_bytes()))
    };
    let config =
        format!("[[auth.keys]]\nid = \"people\"\nsha256 = \"{digest}\"\nscopes = [\"users:read\", \"forms:write\"]");
    let app = TestApp::builder().config(&config).spawn().await;
    let ask = async |method: Method, path: &str| {
        let headers = [("x-api-key", ADMIN_KEY), ("content-type", "application/json")];
        app.send(method, path, &headers, "{}").await
    };
    ask(Method::GET, "/users/7/preferences").await.expect_problem(404, "json-missing");
    ask(Method::PUT, "/forms/7").await.expect(201);
    for (method, path) in [
        (Method::PUT, "/users/7/preferences"),
        (Method::GET, "/forms/7"),
        (Method::GET, "/config/market/grid"),
        (Method::GET, "/json/user_preferences:7"),
        (Method::POST, "/json/batch"),
    ] {
        ask(method, path).await.expect_problem(403, "forbidden");
    }
}
