//! The API document: checked in as it is generated, complete, and in agreement with the access table. Needs no Redis.
//!
//! The checked-in document describes a build with the default features, so other builds skip these tests.

#![cfg(all(feature = "promql", feature = "forecast", feature = "json-schema"))]
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, also outside of #[test] functions"
)]

mod examples;
mod security;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use gridtokenx_redis::app;
use gridtokenx_redis::config::Config;
use gridtokenx_redis::http::access::{Fencing, Guard, Repetition};
use gridtokenx_redis::http::openapi_text;
use serde_json::{Value, json};

fn text() -> String {
    let config = Config::with_overrides("").expect("the defaults");
    openapi_text::text(&app::document(config).expect("the document")).expect("its text")
}

fn document() -> Value {
    serde_json::from_str(&text()).expect("JSON")
}

/// One operation: `GET /health` and its description.
struct Operation {
    name: String,
    value: Value,
}

impl Operation {
    fn list(&self, field: &str) -> Vec<Value> {
        self.value[field].as_array().cloned().unwrap_or_default()
    }

    fn responses(&self) -> Vec<(String, Value)> {
        let responses = self.value["responses"].as_object().cloned().unwrap_or_default();
        responses.into_iter().collect()
    }
}

fn operations() -> Vec<Operation> {
    let document = document();
    let mut operations = Vec::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, value) in item.as_object().expect("operations") {
            if ["get", "put", "post", "delete", "head", "patch"].contains(&method.as_str()) {
                let mut value = value.clone();
                value["parameters"] = json!(parameters(&document, item, &value));
                for part in value["responses"].as_object_mut().into_iter().flat_map(|all| all.values_mut()) {
                    *part = resolve(&document, part).clone();
                }
                operations.push(Operation { name: format!("{} {path}", method.to_uppercase()), value });
            }
        }
    }
    assert!(!operations.is_empty());
    operations
}

/// The parameters of an operation: its own, and those of its path that it does not replace.
fn parameters(document: &Value, item: &Value, operation: &Value) -> Vec<Value> {
    let listed = |of: &Value| of["parameters"].as_array().cloned().unwrap_or_default();
    let mut all: Vec<Value> = listed(operation).iter().map(|part| resolve(document, part).clone()).collect();
    for part in listed(item).iter().map(|part| resolve(document, part)) {
        if !all.iter().any(|own| (&own["name"], &own["in"]) == (&part["name"], &part["in"])) {
            all.push(part.clone());
        }
    }
    all
}

/// Asks every operation and fails with all its complaints.
fn every_operation(what_to_do: &str, complaints: impl Fn(&Operation) -> Vec<String>) {
    let all: Vec<String> = operations()
        .iter()
        .flat_map(|operation| complaints(operation).into_iter().map(|text| format!("{}: {text}", operation.name)))
        .collect();
    assert!(all.is_empty(), "\n  {}\n\n{what_to_do}\n", all.join("\n  "));
}

#[test]
fn the_checked_in_document_is_the_generated_one() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi/openapi.json");
    let current = std::fs::read_to_string(file).unwrap_or_default();
    assert!(current == text(), "openapi/openapi.json is out of date: run `make openapi` and commit the file");
}

#[test]
fn operations_are_named_summarised_and_tagged() {
    let document = document();
    let described = document["tags"].as_array().into_iter().flatten().filter(|tag| tag["description"].is_string());
    let tags: BTreeSet<&str> = described.filter_map(|tag| tag["name"].as_str()).collect();
    every_operation("Complete its #[utoipa::path]; the doc comment's first line is the summary.", |operation| {
        let mut complaints = Vec::new();
        let id = operation.value["operationId"].as_str().unwrap_or_default();
        let is_snake_case = id.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
        if !(is_snake_case && id.contains('_')) {
            complaints.push(format!("operation_id `{id}` is not <verb>_<noun>"));
        }
        let description = operation.value["description"].as_str().unwrap_or_default();
        let scope = operation.value["x-scope"].as_str();
        let open =
            if operation.value["security"] == json!([]) { "No credential is needed." } else { "who may call this" };
        let required = scope.map_or(open.to_owned(), |scope| format!("the scope `{scope}`"));
        if !description.contains(&required) {
            complaints.push(format!("the description does not say: {required}"));
        }
        if operation.value["summary"].as_str().unwrap_or_default().is_empty() {
            complaints.push("no summary".to_owned());
        }
        let own: Vec<String> =
            operation.list("tags").iter().filter_map(|tag| tag.as_str().map(str::to_owned)).collect();
        if own.len() != 1 || !own.iter().all(|tag| tags.contains(tag.as_str())) {
            complaints.push(format!("tags {own:?}: one of {tags:?} is expected"));
        }
        complaints
    });
}

#[test]
fn operation_ids_are_unique() {
    let mut names: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for operation in operations() {
        names.entry(operation.value["operationId"].to_string()).or_default().push(operation.name);
    }
    names.retain(|_, operations| operations.len() > 1);
    assert!(names.is_empty(), "two operations share an operation_id: {names:?}");
}

#[test]
fn the_idempotency_key_is_described_where_it_is_heeded_and_nowhere_else() {
    let heeds: BTreeMap<String, bool> = app::access_table()
        .iter()
        .map(|row| {
            let by_method = row.method == "POST" || row.method == "PATCH";
            let is_heeded = by_method && row.guard != Guard::Public && row.repetition != Repetition::Ignore;
            (format!("{} {}", row.method, row.path), is_heeded)
        })
        .collect();
    let described: BTreeSet<String> = operations()
        .into_iter()
        .filter(|operation| operation.list("parameters").iter().any(|part| part["name"] == "Idempotency-Key"))
        .map(|operation| operation.name)
        .collect();
    let expected: BTreeSet<String> = heeds.into_iter().filter(|(_, heeds)| *heeds).map(|(name, _)| name).collect();
    assert_eq!(described, expected);
    assert!(document()["components"]["parameters"]["IdempotencyKey"].is_object());
}

#[test]
fn the_fencing_token_is_described_where_it_is_heeded_and_nowhere_else() {
    let rows: BTreeMap<String, Fencing> =
        app::access_table().iter().map(|row| (format!("{} {}", row.method, row.path), row.fencing)).collect();
    every_operation("It comes from the row in FEATURE.access: do not write it by hand.", |operation| {
        let fencing = rows.get(&operation.name).copied().unwrap_or(Fencing::None);
        let named =
            operation.list("parameters").iter().filter(|parameter| parameter["name"] == "Fencing-Token").count();
        let responses = &operation.value["responses"];
        let says = |status: &str, slug: &str| {
            let response = responses.get(status).unwrap_or(&responses["default"]);
            response["description"].as_str().is_some_and(|text| text.contains(slug))
        };
        let found = (
            named,
            says("409", "stale-fence") || fencing != Fencing::Target,
            named == 0 || says("422", "invalid-header"),
        );
        let expected = (usize::from(fencing != Fencing::None), true, true);
        if found == expected { Vec::new() } else { vec![format!("{found:?} for {fencing:?}")] }
    });
}

#[test]
fn answers_are_described_and_errors_are_problems() {
    every_operation("Describe every status the operation can answer.", |operation| {
        let mut complaints = Vec::new();
        let responses = operation.responses();
        // 101 is what a WebSocket's handshake succeeds with.
        if !responses.iter().any(|(status, _)| status.starts_with('2') || status == "101") {
            complaints.push("no 2xx answer".to_owned());
        }
        for (status, response) in &responses {
            if response["description"].as_str().unwrap_or_default().is_empty() {
                complaints.push(format!("{status} has no description"));
            }
            let content = response["content"].as_object().cloned().unwrap_or_default();
            // A HEAD answer has no body, whatever became of the request.
            if operation.name.starts_with("HEAD ") {
                complaints.extend(content.keys().map(|media_type| format!("{status} has a body: {media_type}")));
                continue;
            }
            let is_problem = content.contains_key("application/problem+json");
            // Readiness has its report with 503 too: a load balancer reads the status, a person the report.
            let is_report =
                ["GET /health/ready", "GET /health/traffic"].contains(&operation.name.as_str()) && status == "503";
            // Envoy's own service answers a refusal with what it answers otherwise.
            let is_envoys = operation.name == "POST /json" && status == "429";
            // Clients of Prometheus and InfluxDB read their own forms.
            let is_foreign = [" /prom/", " /query"].iter().any(|path| operation.name.contains(path))
                && content.contains_key("application/json");
            if status.starts_with(['4', '5', 'd']) && !is_problem && !is_report && !is_envoys && !is_foreign {
                complaints.push(format!("{status} is no application/problem+json"));
            }
        }
        complaints
    });
}

#[test]
fn every_reference_resolves() {
    let document = document();
    let mut broken = BTreeSet::new();
    visit(&document, &mut |value| {
        if let Some(reference) = value["$ref"].as_str()
            && resolve(&document, value).is_null()
        {
            broken.insert(reference.to_owned());
        }
    });
    assert!(
        broken.is_empty(),
        "references to nothing: {broken:?}; register the schema by naming it as a body or a field"
    );
}

#[test]
fn links_lead_to_operations() {
    let known: BTreeSet<String> = operations().iter().map(|other| other.value["operationId"].to_string()).collect();
    every_operation("Name the operation_id of the operation that the link leads to.", |operation| {
        let responses = operation.responses();
        let links = responses.iter().filter_map(|(_, response)| response["links"].as_object()).flatten();
        let broken = links.filter(|(_, link)| !known.contains(&link["operationId"].to_string()));
        broken.map(|(name, link)| format!("link `{name}` leads to {}", link["operationId"])).collect()
    });
}

#[test]
fn integers_that_need_64_bits_say_so() {
    let mut narrow = BTreeSet::new();
    visit(&document(), &mut |value| {
        let is_integer = value["type"] == "integer"
            || value["type"].as_array().is_some_and(|types| types.contains(&json!("integer")));
        let is_small = value["maximum"].as_i64().is_some_and(|maximum| maximum < 1 << 31);
        if is_integer && !is_small && value["format"] != "int64" {
            narrow.insert(value.to_string());
        }
    });
    assert!(narrow.is_empty(), "{narrow:?}");
}

#[test]
fn schemas_have_names_of_their_area() {
    const AREAS: &[&str] = &[
        "Alert",
        "Backup",
        "Book",
        "Cache",
        "Channel",
        "Configuration",
        "Energy",
        "Envoy",
        "Health",
        "Host",
        "Influx",
        "ItemError",
        "Json",
        "Limit",
        "Lock",
        "ManySeries",
        "Market",
        "Meter",
        "Outcome",
        "Problem",
        "Prom",
        "QueryTime",
        "Redis",
        "Series",
        "Stream",
        "User",
        "Warming",
        "Audit",
        "Configured",
        "Erasure",
        "Signed",
        "Subject",
    ];
    let document = document();
    let names = document["components"]["schemas"].as_object().expect("schemas").keys();
    let others: Vec<&String> = names.filter(|name| !AREAS.iter().any(|area| name.starts_with(area))).collect();
    assert!(others.is_empty(), "name them with #[schema(as = ...)]: {others:?}");
}

#[test]
fn components_have_names_without_numbers() {
    let document = document();
    let components = document["components"].as_object().expect("components");
    let names = components.values().filter_map(Value::as_object).flat_map(|parts| parts.keys());
    let numbered: Vec<&String> = names.filter(|name| name.ends_with(|last: char| last.is_ascii_digit())).collect();
    assert!(numbered.is_empty(), "parts of one area that differ have one name: {numbered:?}");
}

#[test]
fn members_and_items_have_a_type() {
    let mut untyped = BTreeSet::new();
    visit(&document(), &mut |value| {
        let members = value["properties"].as_object().into_iter().flatten().map(|(_, member)| member);
        for part in members.chain(value.get("items")).filter(|part| part.is_object()) {
            if ["$ref", "type", "oneOf"].iter().all(|name| part.get(*name).is_none()) {
                untyped.insert(part.to_string());
            }
        }
    });
    assert!(untyped.is_empty(), "{untyped:?}");
}

#[test]
fn choices_have_a_discriminator_and_bodies_a_media_type() {
    let mut unclear = BTreeSet::new();
    visit(&document(), &mut |value| {
        let choices = value["oneOf"].as_array().map(Vec::as_slice).unwrap_or_default();
        let is_nullable = matches!(choices, [_, null] if null["type"] == "null");
        if !choices.is_empty() && !is_nullable && value["discriminator"].is_null() {
            unclear.insert(value.to_string());
        }
        if !value["content"]["*/*"].is_null() {
            unclear.insert("*/*".to_owned());
        }
    });
    assert!(unclear.is_empty(), "{unclear:?}");
}

#[test]
fn the_document_is_small() {
    let text = text();
    let mut compressed = GzEncoder::new(Vec::new(), Compression::best());
    compressed.write_all(text.as_bytes()).expect("memory");
    let indented = serde_json::to_string_pretty(&document()).expect("JSON");
    let sizes = (indented.len(), compressed.finish().expect("memory").len());
    // 450 kB and 60 kB for the first 130 operations; those of the market and the archive describe more, and typed events
    // have schemas.
    let count = operations().len();
    assert!(sizes.0 < count * 3_700 && sizes.1 < count * 460, "{sizes:?} for {count} operations");
}

#[test]
fn it_is_an_openapi_3_1_document_with_sorted_text() {
    let text = text();
    assert!(document()["openapi"].as_str().is_some_and(|version| version.starts_with("3.1")));
    assert!(text.ends_with("}\n") && !text.ends_with("\n\n"));
}

/// The value itself, or what its `$ref` points at; null when that is nothing.
fn resolve<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    match value["$ref"].as_str() {
        Some(reference) => document.pointer(reference.trim_start_matches('#')).unwrap_or(&Value::Null),
        None => value,
    }
}

fn visit(value: &Value, look: &mut impl FnMut(&Value)) {
    look(value);
    match value {
        Value::Object(fields) => fields.values().for_each(|field| visit(field, look)),
        Value::Array(items) => items.iter().for_each(|item| visit(item, look)),
        _ => {}
    }
}
