//! Random programs are compared with a model in memory; large, deep and wide documents are changed.

use axum::http::Method;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::{Map, Value, json};

use crate::support::TestApp;

const JSON: (&str, &str) = ("content-type", "application/json");
const MERGE: (&str, &str) = ("content-type", "application/merge-patch+json");

/// A small JSON value with few names, so that operations often apply to the same members.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-1_000_i64..1_000).prop_map(Value::from),
        (-400_i32..400).prop_map(|quarters| Value::from(f64::from(quarters) / 4.0)),
        "[a-zé\"\\\\\n]{0,6}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map("[a-d]", inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// The route to a value: members by name, items by position.
fn route() -> impl Strategy<Value = Vec<Value>> {
    let step = prop_oneof![3 => "[a-d]".prop_map(Value::from), 1 => (0..3_u8).prop_map(Value::from)];
    proptest::collection::vec(step, 0..4)
}

#[derive(Clone, Debug)]
enum Operation {
    Set(Vec<Value>, Value),
    Delete(Vec<Value>),
    Append(Vec<Value>, Vec<Value>),
    Insert(Vec<Value>, i64, Value),
    Pop(Vec<Value>, i64),
    Increment(Vec<Value>, i32),
    AppendText(Vec<Value>, String),
    Toggle(Vec<Value>),
    Clear(Vec<Value>),
    Merge(Value),
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        4 => (route(), value()).prop_map(|(at, value)| Operation::Set(at, value)),
        1 => route().prop_map(Operation::Delete),
        1 => (route(), proptest::collection::vec(value(), 1..3)).prop_map(|(at, values)| Operation::Append(at, values)),
        1 => (route(), -4..4_i64, value()).prop_map(|(at, index, value)| Operation::Insert(at, index, value)),
        1 => (route(), -4..4_i64).prop_map(|(at, index)| Operation::Pop(at, index)),
        1 => (route(), -50..50_i32).prop_map(|(at, by)| Operation::Increment(at, by)),
        1 => (route(), "[a-c]{0,3}").prop_map(|(at, text)| Operation::AppendText(at, text)),
        1 => route().prop_map(Operation::Toggle),
        1 => route().prop_map(Operation::Clear),
        2 => value().prop_map(Operation::Merge),
    ]
}

fn path(route: &[Value]) -> String {
    route.iter().fold("$".to_owned(), |path, step| format!("{path}[{step}]"))
}

/// The value at a route.
fn find<'v>(root: &'v mut Value, route: &[Value]) -> Option<&'v mut Value> {
    route.iter().try_fold(root, |value, step| match (value, step) {
        (Value::Object(members), Value::String(name)) => members.get_mut(name),
        (Value::Array(items), Value::Number(at)) => items.get_mut(usize::try_from(at.as_u64()?).ok()?),
        _ => None,
    })
}

/// RFC 7396, section 2.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(changes) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    let members = target.as_object_mut().expect("an object");
    for (name, change) in changes {
        if change.is_null() {
            members.remove(name);
        } else {
            merge(members.entry(name).or_insert(Value::Null), change);
        }
    }
}

/// The position that an index means, if the array has it.
fn position(index: i64, length: usize) -> Option<usize> {
    usize::try_from(index).ok().or_else(|| length.checked_sub(usize::try_from(-index).ok()?))
}

impl Operation {
    fn route(&self) -> &[Value] {
        match self {
            Self::Set(at, _)
            | Self::Delete(at)
            | Self::Append(at, _)
            | Self::Insert(at, ..)
            | Self::Pop(at, _)
            | Self::Increment(at, _)
            | Self::AppendText(at, _)
            | Self::Toggle(at)
            | Self::Clear(at) => at,
            Self::Merge(_) => &[],
        }
    }

    /// Makes the change in the model and returns whether it can be made.
    fn apply(&self, root: &mut Value) -> bool {
        let at = self.route();
        if let Self::Set(_, value) = self
            && find(root, at).is_none()
        {
            let Some((Value::String(name), before)) = at.split_last() else { return false };
            let Some(Value::Object(members)) = find(root, before) else { return false };
            members.insert(name.clone(), value.clone());
            return true;
        }
        if let (Self::Delete(_), Some((last, before))) = (self, at.split_last()) {
            match (find(root, before), last) {
                (Some(Value::Object(members)), Value::String(name)) => drop(members.remove(name)),
                (Some(Value::Array(items)), Value::Number(at)) => {
                    let at = usize::try_from(at.as_u64().expect("a position")).expect("small");
                    if at < items.len() {
                        items.remove(at);
                    }
                }
                _ => {}
            }
            return true;
        }
        let Some(target) = find(root, at) else { return matches!(self, Self::Clear(_)) };
        if let Self::Delete(_) = self {
            return true;
        }
        match (self, target) {
            (Self::Set(_, value), target) => *target = value.clone(),
            (Self::Append(_, values), Value::Array(items)) => items.extend(values.iter().cloned()),
            (Self::Insert(_, index, value), Value::Array(items)) => match position(*index, items.len()) {
                Some(at) if at <= items.len() => items.insert(at, value.clone()),
                _ => return false,
            },
            (Self::Pop(_, index), Value::Array(items)) => {
                if let Some(last) = items.len().checked_sub(1) {
                    items.remove(position(*index, items.len()).unwrap_or(0).min(last));
                }
            }
            (Self::Increment(_, by), Value::Number(number)) => {
                *number = match number.as_i64() {
                    Some(whole) => (whole + i64::from(*by)).into(),
                    None => serde_json::Number::from_f64(number.as_f64().expect("a float") + f64::from(*by))
                        .expect("finite"),
                };
            }
            (Self::AppendText(_, suffix), Value::String(text)) => text.push_str(suffix),
            (Self::Toggle(_), Value::Bool(value)) => *value = !*value,
            (Self::Clear(_), target) => match target {
                Value::Array(items) => items.clear(),
                Value::Object(members) => members.clear(),
                Value::Number(number) if number.as_f64() != Some(0.0) => *target = json!(0),
                _ => {}
            },
            (Self::Merge(patch), target) => merge(target, patch),
            _ => return false,
        }
        true
    }

    /// Makes the change over HTTP and returns whether it was made.
    async fn send(&self, app: &TestApp) -> bool {
        let at = path(self.route());
        let query = percent_encoding::utf8_percent_encode(&at, percent_encoding::NON_ALPHANUMERIC).to_string();
        let address = format!("/json/a?path={query}");
        let reply = match self {
            Self::Set(_, value) => app.send(Method::PUT, &address, &[JSON], value.to_string()).await,
            Self::Delete(_) => app.delete(&address).await,
            Self::Append(_, values) => app.post("/json/a/array/append", json!({ "path": at, "values": values })).await,
            Self::Insert(_, index, value) => {
                app.post("/json/a/array/insert", json!({ "path": at, "index": index, "values": [value] })).await
            }
            Self::Pop(_, index) => app.post("/json/a/array/pop", json!({ "path": at, "index": index })).await,
            Self::Increment(_, by) => app.post("/json/a/number/increment", json!({ "path": at, "by": by })).await,
            Self::AppendText(_, text) => app.post("/json/a/string/append", json!({ "path": at, "value": text })).await,
            Self::Toggle(_) => app.post("/json/a/toggle", json!({ "path": at })).await,
            Self::Clear(_) => app.post("/json/a/clear", json!({ "path": at })).await,
            Self::Merge(patch) => app.send(Method::PATCH, "/json/a", &[MERGE], patch.to_string()).await,
        };
        assert!(!reply.status.is_server_error(), "{self:?}: {}", reply.text());
        reply.status.is_success()
    }
}

#[tokio::test]
async fn random_programs_produce_the_documents_of_the_model() {
    let app = TestApp::spawn().await;
    let mut runner = TestRunner::deterministic();
    let programs = (value(), proptest::collection::vec(operation(), 1..30));
    let mut made = 0;
    for _ in 0..80 {
        let (mut model, operations) = programs.new_tree(&mut runner).expect("a program").current();
        app.delete("/json/a").await.expect(200);
        app.put("/json/a", model.clone()).await.expect(201);
        for operation in operations {
            let before = model.clone();
            let possible = operation.apply(&mut model);
            assert_eq!(operation.send(&app).await, possible, "{operation:?} of {before}");
            if !possible {
                model = before.clone();
            }
            // Deleting the root, or the last value in it, deletes the document.
            if matches!(operation, Operation::Delete(_)) && app.get("/json/a").await.is(404) {
                let is_empty = operation.route().is_empty() || model == json!({}) || model == json!([]);
                assert!(is_empty, "{operation:?} of {before}");
                app.put("/json/a", json!({})).await.expect(201);
                model = json!({});
            }
            let stored = app.get("/json/a").await.expect(200).json();
            assert_eq!(stored, model, "{operation:?} of {before}");
            made += usize::from(possible && before != model);
        }
    }
    assert!(made > 300, "only {made} operations changed a document");
}

#[tokio::test]
async fn large_deep_and_wide_documents_are_changed() {
    // A debug build is slow, and slower on a busy machine.
    let config = "json.document_limit = \"4MiB\"\nhttp.request_deadline = \"20s\"";
    let app = TestApp::builder().config(config).spawn().await;
    let items: Vec<Value> = (0..10_000).map(|n| json!({ "n": n, "text": "x".repeat(80) })).collect();
    let large = json!({ "items": items });
    assert!(large.to_string().len() > 1_000_000);
    let wide: Map<String, Value> = (0..100_000).map(|n| (format!("k{n:06}"), json!(n))).collect();
    let deep = (0..63).fold(json!([1]), |inner, _| json!([inner]));
    for (document, at, expected) in [
        (large, "$.items[9999].n", json!([10_009])),
        (Value::Object(wide), "$.k099999", json!([100_009])),
        (deep, &format!("${}", "[0]".repeat(64)), json!([11])),
    ] {
        let stored = app.send(Method::PUT, "/json/a", &[JSON], document.to_string()).await;
        assert!(stored.status.is_success(), "{}", stored.text());
        let grown = app.post("/json/a/number/increment", json!({ "path": at, "by": 10 })).await.expect(200).json();
        assert_eq!(grown["results"], expected, "{at}");
        let read = percent_encoding::utf8_percent_encode(at, percent_encoding::NON_ALPHANUMERIC).to_string();
        assert_eq!(app.get(&format!("/json/a?path={read}")).await.expect(200).json(), expected);
    }
    let too_deep = (0..64).fold(json!([1]), |inner, _| json!([inner]));
    app.put("/json/b", too_deep).await.expect_problem(400, "json-too-deep");
    let wide = app.get("/json/a?path=$..*").await;
    wide.expect(200);
}
