//! JSON Patch: each operation of RFC 6902, each error, and that a patch is applied completely or not at all.

use axum::http::Method;
use serde_json::{Value, json};

use super::{Success, read, store};
use crate::support::{Reply, TestApp};

const PATCH: (&str, &str) = ("content-type", "application/json-patch+json");

async fn apply(app: &TestApp, document: &Value, operations: &Value) -> Reply {
    store(app, document).await;
    app.send(Method::PATCH, "/json/a", &[PATCH], operations.to_string()).await
}

#[tokio::test]
async fn operations_follow_the_rfc() {
    let app = TestApp::spawn().await;
    for (document, operations, expected) in [
        // add: members, items, the end of an array, the whole document
        (json!({ "a": 1 }), json!([{ "op": "add", "path": "/b", "value": 2 }]), json!({ "a": 1, "b": 2 })),
        (json!({ "a": 1 }), json!([{ "op": "add", "path": "/a", "value": null }]), json!({ "a": null })),
        (json!([1, 3]), json!([{ "op": "add", "path": "/1", "value": 2 }]), json!([1, 2, 3])),
        (json!([1]), json!([{ "op": "add", "path": "/1", "value": [2] }]), json!([1, [2]])),
        (json!([1]), json!([{ "op": "add", "path": "/-", "value": 2 }]), json!([1, 2])),
        (json!({ "-": 1 }), json!([{ "op": "add", "path": "/-", "value": 2 }]), json!({ "-": 2 })),
        (json!({ "a": 1 }), json!([{ "op": "add", "path": "", "value": [] }]), json!([])),
        (
            json!({ "a": { "b": {} } }),
            json!([{ "op": "add", "path": "/a/b/c", "value": 1 }]),
            json!({ "a": { "b": { "c": 1 } } }),
        ),
        // pointers: escapes, the empty name, digits as names
        (
            json!({ "a/b": 1, "m~n": 2 }),
            json!([{ "op": "replace", "path": "/a~1b", "value": 3 }, { "op": "remove", "path": "/m~0n" }]),
            json!({ "a/b": 3 }),
        ),
        (json!({ "~1": 1 }), json!([{ "op": "test", "path": "/~01", "value": 1 }]), json!({ "~1": 1 })),
        (json!({ "": 1 }), json!([{ "op": "replace", "path": "/", "value": 2 }]), json!({ "": 2 })),
        (json!({ "0": 1, "01": 2 }), json!([{ "op": "remove", "path": "/01" }]), json!({ "0": 1 })),
        // remove
        (json!({ "a": 1, "b": 2 }), json!([{ "op": "remove", "path": "/a" }]), json!({ "b": 2 })),
        (json!([1, 2, 3]), json!([{ "op": "remove", "path": "/1" }]), json!([1, 3])),
        (json!({ "a": null }), json!([{ "op": "remove", "path": "/a" }]), json!({})),
        // replace
        (json!({ "a": [1] }), json!([{ "op": "replace", "path": "/a/0", "value": {} }]), json!({ "a": [{}] })),
        (json!({ "a": 1 }), json!([{ "op": "replace", "path": "", "value": 5 }]), json!(5)),
        // move
        (
            json!({ "a": { "b": 1 }, "c": {} }),
            json!([{ "op": "move", "from": "/a/b", "path": "/c/d" }]),
            json!({ "a": {}, "c": { "d": 1 } }),
        ),
        (json!([1, 2, 3]), json!([{ "op": "move", "from": "/0", "path": "/2" }]), json!([2, 3, 1])),
        (json!({ "a": 1 }), json!([{ "op": "move", "from": "/a", "path": "/a" }]), json!({ "a": 1 })),
        (json!({ "a": { "b": 1 } }), json!([{ "op": "move", "from": "/a", "path": "" }]), json!({ "b": 1 })),
        // copy
        (
            json!({ "a": [1] }),
            json!([{ "op": "copy", "from": "/a", "path": "/b" }, { "op": "add", "path": "/b/-", "value": 2 }]),
            json!({ "a": [1], "b": [1, 2] }),
        ),
        (
            json!({ "a": { "b": 1 } }),
            json!([{ "op": "copy", "from": "", "path": "/a/c" }]),
            json!({ "a": { "b": 1, "c": { "a": { "b": 1 } } } }),
        ),
        // test: by value
        (
            json!({ "a": { "x": 1, "y": [1, 2] } }),
            json!([{ "op": "test", "path": "/a", "value": { "y": [1, 2.0], "x": 1e0 } }]),
            json!({ "a": { "x": 1, "y": [1, 2] } }),
        ),
        (json!({ "a": null }), json!([{ "op": "test", "path": "/a", "value": null }]), json!({ "a": null })),
        (json!("é"), json!([{ "op": "test", "path": "", "value": "\u{e9}" }]), json!("é")),
        // operations run in order, and unknown members are ignored
        (
            json!({}),
            json!([{ "op": "add", "path": "/a", "value": 1, "why": "x" }, { "op": "move", "from": "/a", "path": "/b" }, { "op": "test", "path": "/b", "value": 1 }]),
            json!({ "b": 1 }),
        ),
        (json!({ "a": 1 }), json!([]), json!({ "a": 1 })),
    ] {
        apply(&app, &document, &operations).await.expect_success();
        assert_eq!(read(&app).await, expected, "{operations}");
    }
}

#[tokio::test]
async fn a_failed_operation_discards_the_earlier_ones() {
    let app = TestApp::spawn().await;
    let document = json!({ "a": { "b": 1 }, "l": [1, 2], "s": "x" });
    for operation in [
        json!({ "op": "add", "path": "/x/y", "value": 1 }),
        json!({ "op": "add", "path": "/l/3", "value": 1 }),
        json!({ "op": "add", "path": "/l/-1", "value": 1 }),
        json!({ "op": "add", "path": "/l/01", "value": 1 }),
        json!({ "op": "add", "path": "/l/1e0", "value": 1 }),
        json!({ "op": "add", "path": "/l/x", "value": 1 }),
        json!({ "op": "add", "path": "/s/x", "value": 1 }),
        json!({ "op": "remove", "path": "/x" }),
        json!({ "op": "remove", "path": "/l/2" }),
        json!({ "op": "remove", "path": "/l/-" }),
        json!({ "op": "remove", "path": "" }),
        json!({ "op": "replace", "path": "/x", "value": 1 }),
        json!({ "op": "replace", "path": "/l/2", "value": 1 }),
        json!({ "op": "move", "from": "/x", "path": "/y" }),
        json!({ "op": "move", "from": "/a", "path": "/a/c" }),
        json!({ "op": "copy", "from": "/x", "path": "/y" }),
        json!({ "op": "copy", "from": "/s", "path": "/x/y" }),
        json!({ "op": "test", "path": "/a", "value": { "b": "1" } }),
        json!({ "op": "test", "path": "/l", "value": [2, 1] }),
        json!({ "op": "test", "path": "/x", "value": null }),
    ] {
        let operations = json!([{ "op": "replace", "path": "/s", "value": "changed" }, operation]);
        let problem = apply(&app, &document, &operations).await.expect_violation(409, "json-patch-failed", "/1");
        assert_eq!(problem["outcome"], "not_applied", "{operations}");
        assert_eq!(read(&app).await, document, "{operations}");
    }
    app.delete("/json/a").await.expect(200);
    app.send(Method::PATCH, "/json/a", &[PATCH], "[]").await.expect_problem(404, "json-missing");
}

#[tokio::test]
async fn an_invalid_patch_is_rejected_with_a_pointer() {
    let app = TestApp::builder().config("json.document_limit = \"16KiB\"").spawn().await;
    let document = json!({ "a": 1 });
    for (operations, pointer) in [
        (json!([{ "op": "add", "path": "/b" }]), "/0/value"),
        (json!([{ "op": "test", "path": "", "value": 1 }, { "op": "move", "path": "/b" }]), "/1/from"),
        (json!([{ "op": "add", "path": "b", "value": 1 }]), "/0/path"),
        (json!([{ "op": "add", "path": "/~2", "value": 1 }]), "/0/path"),
        (json!([{ "op": "copy", "from": "x", "path": "/b" }]), "/0/from"),
        (json!([{ "op": "add", "value": 1 }]), "/0/path"),
        (json!([{ "op": "spam", "path": "/b" }]), "/0/op"),
        (json!([{ "path": "/b", "value": 1 }]), "/0/op"),
        (json!([{ "op": "test", "path": "", "value": 1 }, {}, {}, {}]), "/1/op"),
    ] {
        apply(&app, &document, &operations).await.expect_violation(422, "invalid-body", pointer);
    }
    let too_many = json!(vec![json!({ "op": "test", "path": "/a", "value": 1 }); 257]);
    apply(&app, &document, &too_many).await.expect_violation(422, "invalid-body", "");
    apply(&app, &document, &json!({})).await.expect_problem(422, "invalid-body");
    store(&app, &document).await;
    app.send(Method::PATCH, "/json/a?path=$.a", &[PATCH], "[]").await.expect_violation(422, "invalid-query", "/path");
    let twice = "[{\"op\":\"add\",\"path\":\"/b\",\"value\":{\"x\":1,\"x\":2}}]";
    app.send(Method::PATCH, "/json/a", &[PATCH], twice).await.expect_violation(422, "invalid-body", "/0/value");
    // Copies of copies grow exponentially with the number of operations.
    let text = "x".repeat(7_200);
    let copies = json!([{ "op": "add", "path": "/t", "value": text }, { "op": "copy", "from": "", "path": "/u" }, { "op": "copy", "from": "", "path": "/v" }]);
    apply(&app, &document, &copies).await.expect_problem(413, "json-too-large");
    let deep = (0..60).fold(json!(1), |inner, _| json!([inner]));
    let nested = json!([{ "op": "copy", "from": "/a", "path": "/b/0/0/0/0/0/0/0" }]);
    apply(&app, &json!({ "a": deep, "b": [[[[[[[1]]]]]]] }), &nested).await.expect_problem(400, "json-too-deep");
}
