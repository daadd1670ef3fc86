//! Encrypted values, and the callers that may read them.

use axum::http::Method;
use gridtokenx_redis::http::auth::api_key;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::support::{ADMIN_KEY, MODULE_TYPE, Reply, TestApp, facade};

/// A caller that may read and write documents, but not read encrypted values.
const CLERK_KEY: &str = "ak_0123456789abcdef0123456789abcdef";

const FIRST: &str = "{ id = \"2026-01\", key = \"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\" }";
const SECOND: &str = "{ id = \"2026-02\", key = \"0f0e0d0c0b0a09080706050403020100101112131415161718191a1b1c1d1e1f\" }";

fn config(keys: &[&str]) -> String {
    let digest = |key: &str| api_key::hex(&api_key::digest(key.as_bytes()));
    let schema = r#"{"properties":{"email":{"type":"string","pattern":"@"}}}"#;
    format!(
        "[json.encryption]\nkeys = [{}]\n\
         [[json.collections]]\nprefix = \"person:\"\nencrypted = [\"$.email\", \"$.cards[*].number\"]\nschema = '''{schema}'''\n\
         [[auth.keys]]\nid = \"admin\"\nsha256 = \"{}\"\nscopes = [\"admin\"]\n\
         [[auth.keys]]\nid = \"clerk\"\nsha256 = \"{}\"\nscopes = [\"json:read\", \"json:write\"]",
        keys.join(", "),
        digest(ADMIN_KEY),
        digest(CLERK_KEY),
    )
}

/// Sends a request of one of the two callers.
async fn send(app: &TestApp, key: &str, method: Method, path: &str, body: &str) -> Reply {
    let media_type = if method == Method::PATCH { "application/merge-patch+json" } else { "application/json" };
    app.send(method, path, &[("x-api-key", key), ("content-type", media_type)], body.to_owned()).await
}

async fn read(app: &TestApp, key: &str, path: &str) -> Value {
    send(app, key, Method::GET, path, "").await.expect(200).json()
}

const PERSON: &str = r#"{"name":"Ada","email":"ada@example.org","cards":[{"number":1.50}]}"#;

#[tokio::test]
async fn callers_with_the_scope_read_encrypted_values_in_plain_text() {
    let app = TestApp::builder().config(&config(&[FIRST])).spawn().await;
    send(&app, ADMIN_KEY, Method::PUT, "/json/person:1", PERSON).await.expect(201);
    let stored = app.redis().document("person:1");
    assert!(stored.starts_with(r#"{"name":"Ada","email":"sealed:2026-01:"#), "{stored}");
    assert!(!stored.contains("example.org") && !stored.contains("1.5"), "{stored}");
    let plain = send(&app, ADMIN_KEY, Method::GET, "/json/person:1", "").await.expect(200);
    assert_eq!(plain.text(), PERSON, "the text is unchanged");
    assert_eq!(read(&app, ADMIN_KEY, "/json/person:1?path=.cards%5B0%5D.number").await, json!(1.5));
    assert_eq!(read(&app, ADMIN_KEY, "/json/person:1/length?path=$.email").await["results"], json!([15]));
    let sealed = read(&app, CLERK_KEY, "/json/person:1").await;
    assert_eq!(sealed.to_string().len(), stored.len(), "a caller without the scope reads the stored form");
    assert_eq!(
        read(&app, CLERK_KEY, "/json/person:1?path=$%5B?(@=='ada@example.org')%5D").await,
        json!([]),
        "no filter tells"
    );
    assert_eq!(
        read(&app, ADMIN_KEY, "/json/person:1?path=$%5B?(@=='ada@example.org')%5D").await,
        json!(["ada@example.org"])
    );
    let batch = json!({ "get": [{ "key": "person:1", "paths": [".email"] }] }).to_string();
    let batched = send(&app, ADMIN_KEY, Method::POST, "/json/batch", &batch).await.expect(200).json();
    assert_eq!(batched["get"][0]["value"], "ada@example.org");
    let batched = send(&app, CLERK_KEY, Method::POST, "/json/batch", &batch).await.expect(200).json();
    assert_eq!(batched["get"][0]["value"], sealed["email"]);
}

#[tokio::test]
async fn a_caller_without_the_scope_can_change_other_values_and_replace_secrets() {
    let app = TestApp::builder().config(&config(&[FIRST])).spawn().await;
    send(&app, ADMIN_KEY, Method::PUT, "/json/person:1", PERSON).await.expect(201);
    send(&app, CLERK_KEY, Method::PATCH, "/json/person:1", r#"{"name":"Ada L."}"#).await.expect(204);
    assert_eq!(read(&app, ADMIN_KEY, "/json/person:1?path=.email").await, json!("ada@example.org"));
    // The caller reads, changes another value and writes back: the encrypted value does not change.
    let mut document = read(&app, CLERK_KEY, "/json/person:1").await;
    document["name"] = json!("Countess");
    send(&app, CLERK_KEY, Method::PUT, "/json/person:1", &document.to_string()).await.expect(204);
    assert_eq!(read(&app, ADMIN_KEY, "/json/person:1?path=.email").await, json!("ada@example.org"));
    send(&app, CLERK_KEY, Method::PUT, "/json/person:1?path=$.email", "\"new@example.org\"").await.expect(204);
    assert!(app.redis().document("person:1").contains("\"email\":\"sealed:"));
    assert_eq!(read(&app, ADMIN_KEY, "/json/person:1?path=.email").await, json!("new@example.org"));
    let append = json!({ "path": "$.email", "value": ".au" }).to_string();
    let refused = send(&app, CLERK_KEY, Method::POST, "/json/person:1/string/append", &append).await;
    assert_eq!(refused.expect_problem(409, "json-sealed")["outcome"], "not_applied");
    send(&app, ADMIN_KEY, Method::POST, "/json/person:1/string/append", &append).await.expect(200);
    assert_eq!(read(&app, ADMIN_KEY, "/json/person:1?path=.email").await, json!("new@example.org.au"));
    let elsewhere = read(&app, CLERK_KEY, "/json/person:1").await.to_string();
    send(&app, CLERK_KEY, Method::PUT, "/json/person:2", &elsewhere).await.expect_problem(409, "json-sealed");
    let broken = send(&app, CLERK_KEY, Method::PUT, "/json/person:1?path=$.email", "\"nothing\"").await;
    let problem = broken.expect_violation(422, "json-schema-violation", "/email");
    assert!(!problem.to_string().contains("nothing"), "a rule does not repeat the value: {problem}");
    send(&app, CLERK_KEY, Method::DELETE, "/json/person:1?path=$.email", "").await.expect(200);
    assert_eq!(read(&app, ADMIN_KEY, "/json/person:1?path=$.email").await, json!([]));
}

#[tokio::test]
async fn keys_are_rotated_while_documents_stay_readable() {
    let first = TestApp::builder().config(&config(&[FIRST])).spawn().await;
    send(&first, ADMIN_KEY, Method::PUT, "/json/person:1", PERSON).await.expect(201);
    let rotated = TestApp::builder().config(&config(&[SECOND, FIRST])).beside(&first).spawn().await;
    assert_eq!(read(&rotated, ADMIN_KEY, "/json/person:1?path=.email").await, json!("ada@example.org"));
    send(&rotated, CLERK_KEY, Method::PATCH, "/json/person:1", r#"{"name":"Ada L."}"#).await.expect(204);
    let stored = rotated.redis().document("person:1");
    assert!(stored.contains("sealed:2026-02:") && !stored.contains("sealed:2026-01:"), "{stored}");
    let unread = send(&first, ADMIN_KEY, Method::GET, "/json/person:1", "").await;
    let problem = unread.expect_problem(500, "json-unreadable");
    assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains("2026-02")), "{problem}");
    assert_eq!(read(&first, CLERK_KEY, "/json/person:1?path=.name").await, json!("Ada L."));
}

/// Every string, hash and document of the server, as text.
fn everything(app: &TestApp) -> String {
    let redis = app.redis();
    let mut all = String::new();
    for key in redis.command::<Vec<String>>(&["KEYS", "*"]) {
        all += &match redis.command::<String>(&["TYPE", &key]).as_str() {
            "string" | MODULE_TYPE => redis.document(&key),
            "hash" => redis.command::<Vec<String>>(&["HVALS", &key]).join("\n"),
            other => panic!("{key} is a {other}"),
        };
    }
    all
}

#[tokio::test]
async fn the_stored_answer_for_a_repeated_request_is_encrypted() {
    let app = TestApp::builder().config(&config(&[FIRST])).spawn().await;
    let person = r#"{"email":"ada@example.org","cards":[{"number":"4711"},{"number":"0815"}]}"#;
    send(&app, ADMIN_KEY, Method::PUT, "/json/person:1", person).await.expect(201);
    let headers = [("x-api-key", ADMIN_KEY), ("content-type", "application/json"), ("idempotency-key", "pop-1")];
    let body = json!({ "path": "$.cards" }).to_string();
    let pop = || app.send(Method::POST, "/json/person:1/array/pop", &headers, body.clone());
    let first = pop().await.expect(200).json();
    assert_eq!(first["results"], json!([{ "value": { "number": "0815" } }]));
    assert!(everything(&app).contains("sealed:") && !everything(&app).contains("0815"), "{}", everything(&app));
    assert_eq!(pop().await.expect(200).json(), first);
    assert_eq!(read(&app, ADMIN_KEY, "/json/person:1/length?path=$.cards").await["results"], json!([1]), "once");
    let headers = [("x-api-key", ADMIN_KEY), ("content-type", "application/json"), ("idempotency-key", "look-1")];
    let batch = json!({ "get": [{ "key": "person:1" }] }).to_string();
    let looked = app.send(Method::POST, "/json/batch", &headers, batch).await.expect(200);
    assert!(looked.text().contains("4711") && !everything(&app).contains("4711"), "{}", everything(&app));
}

#[tokio::test]
async fn plain_values_of_other_programs_are_hidden_and_the_next_change_encrypts_them() {
    let app = TestApp::builder().config(&config(&[FIRST])).spawn().await;
    app.redis().put_document("person:1", PERSON);
    let seen = send(&app, CLERK_KEY, Method::GET, "/json/person:1", "").await.expect(200);
    assert!(!seen.text().contains("example.org"), "{}", seen.text());
    assert_eq!(read(&app, CLERK_KEY, "/json/person:1?path=$%5B?(@=='ada@example.org')%5D").await, json!([]));
    assert_eq!(read(&app, ADMIN_KEY, "/json/person:1?path=.email").await, json!("ada@example.org"));
    send(&app, CLERK_KEY, Method::PATCH, "/json/person:1", r#"{"name":"Ada L."}"#).await.expect(204);
    assert!(!everything(&app).contains("example.org"), "{}", everything(&app));
    assert_eq!(read(&app, ADMIN_KEY, "/json/person:1?path=.email").await, json!("ada@example.org"));
}

#[tokio::test]
async fn announcements_do_not_contain_the_conditions_of_a_path() {
    let app = TestApp::builder().config(&config(&[FIRST])).spawn().await;
    let stop = CancellationToken::new();
    let (sender, mut news) = mpsc::unbounded_channel();
    let channel = app.state().keys().key("json:changes");
    let follower = app.state().clone();
    let following = facade::follow(&follower, channel, stop.clone(), sender);
    let changing = async {
        assert_eq!(news.recv().await, Some(None), "subscribed");
        send(&app, ADMIN_KEY, Method::PUT, "/json/person:1", PERSON).await.expect(201);
        let found = "/json/person:1?path=$.cards%5B?(@.number==1.5)%5D.number";
        send(&app, ADMIN_KEY, Method::PUT, found, "2").await.expect(204);
        send(&app, ADMIN_KEY, Method::PUT, "/json/person:1?path=$.email", "\"b@example.org\"").await.expect(204);
        for path in ["$", "$", "$.email"] {
            let Some(Some(payload)) = news.recv().await else { panic!("no message about {path}") };
            let event: Value = serde_json::from_str(&payload).expect("JSON");
            assert_eq!(event["path"], path, "{event}");
        }
        stop.cancel();
    };
    tokio::join!(following, changing);
}
