//! Merge patches: the examples of RFC 7396, appendix A, and section 3.

use axum::http::Method;
use serde_json::{Value, json};

use super::{Success, read, store};
use crate::support::TestApp;

const MERGE: (&str, &str) = ("content-type", "application/merge-patch+json");

async fn merged(app: &TestApp, target: &Value, patch: &Value) -> Value {
    store(app, target).await;
    app.send(Method::PATCH, "/json/a", &[MERGE], patch.to_string()).await.expect_success();
    read(app).await
}

#[tokio::test]
async fn the_examples_of_the_rfc_are_merged() {
    let app = TestApp::spawn().await;
    for (target, patch, expected) in [
        (json!({ "a": "b" }), json!({ "a": "c" }), json!({ "a": "c" })),
        (json!({ "a": "b" }), json!({ "b": "c" }), json!({ "a": "b", "b": "c" })),
        (json!({ "a": "b" }), json!({ "a": null }), json!({})),
        (json!({ "a": "b", "b": "c" }), json!({ "a": null }), json!({ "b": "c" })),
        (json!({ "a": ["b"] }), json!({ "a": "c" }), json!({ "a": "c" })),
        (json!({ "a": "c" }), json!({ "a": ["b"] }), json!({ "a": ["b"] })),
        (json!({ "a": { "b": "c" } }), json!({ "a": { "b": "d", "c": null } }), json!({ "a": { "b": "d" } })),
        (json!({ "a": [{ "b": "c" }] }), json!({ "a": [1] }), json!({ "a": [1] })),
        (json!(["a", "b"]), json!(["c", "d"]), json!(["c", "d"])),
        (json!({ "a": "b" }), json!(["c"]), json!(["c"])),
        (json!({ "a": "foo" }), json!(null), json!(null)),
        (json!({ "a": "foo" }), json!("bar"), json!("bar")),
        (json!({ "e": null }), json!({ "a": 1 }), json!({ "e": null, "a": 1 })),
        (json!([1, 2]), json!({ "a": "b", "c": null }), json!({ "a": "b" })),
        (json!({}), json!({ "a": { "bb": { "ccc": null } } }), json!({ "a": { "bb": {} } })),
    ] {
        assert_eq!(merged(&app, &target, &patch).await, expected, "{target} {patch}");
    }
    let article = json!({
        "title": "Goodbye!", "author": { "givenName": "John", "familyName": "Doe" },
        "tags": ["example", "sample"], "content": "This will be unchanged",
    });
    let changes = json!({
        "title": "Hello!", "phoneNumber": "+01-123-456-7890", "author": { "familyName": null }, "tags": ["example"],
    });
    let expected = json!({
        "title": "Hello!", "author": { "givenName": "John" }, "tags": ["example"],
        "content": "This will be unchanged", "phoneNumber": "+01-123-456-7890",
    });
    assert_eq!(merged(&app, &article, &changes).await, expected);
}

#[tokio::test]
async fn a_wide_patch_of_a_wide_object_is_fast() {
    let app = TestApp::spawn().await;
    let wide = |value: &dyn Fn(u32) -> Value| -> Value {
        Value::Object((0..20_000_u32).map(|n| (format!("k{n}"), value(n))).collect())
    };
    let patched = merged(&app, &wide(&|n| json!(n)), &wide(&|n| if n % 2 == 0 { Value::Null } else { json!(0) })).await;
    let members = patched.as_object().expect("an object");
    assert_eq!(members.len(), 10_000);
    assert!(members.values().all(|value| *value == 0));
}
