//! The schemas of the API document: one for each form, with one name and the shortest description.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::openapi_parts::{for_each_operation, responses, visit, visit_parts};

const SCHEMAS: &str = "#/components/schemas/";

/// Rewrites the document so that each schema has one description.
pub(super) fn share(document: &mut Value) {
    name_pages(document);
    visit(document, &mut inline_numbers);
    visit(document, &mut shorten_nullable);
    visit(document, &mut widen_integers);
    visit(document, &mut name_any_value);
    if let Some(schemas) = schemas_of(document) {
        schemas.retain(|name, _| !NUMBERS.contains(&name.as_str()));
    }
    refer_to_schemas(document);
    name_titled_schemas(document);
    discriminate(document);
    let sent = request_schemas(document);
    for (name, schema) in schemas_of(document).into_iter().flatten().filter(|(name, _)| !sent.contains(*name)) {
        visit(schema, &mut omit_zero);
        if name != ABSENT_OR_NULL {
            visit(schema, &mut omit_null);
        }
    }
    move_examples(document, &sent);
}

/// The names under which numbers of another name in Rust appear as schemas.
const NUMBERS: [&str; 2] = ["i64", "u64"];

/// Replaces references to such a schema.
fn inline_numbers(schema: &mut Map<String, Value>) {
    let name = schema.get("$ref").and_then(Value::as_str).and_then(|name| name.strip_prefix(SCHEMAS));
    if name.is_some_and(|name| NUMBERS.contains(&name)) {
        schema.remove("$ref");
        schema.insert("type".to_owned(), json!("integer"));
        schema.insert("format".to_owned(), json!("int64"));
    }
}

/// Replaces choices between a scalar and null, which have a shorter form.
fn shorten_nullable(schema: &mut Map<String, Value>) {
    let Some([Value::Object(item), null]) = schema.get("oneOf").and_then(Value::as_array).map(Vec::as_slice) else {
        return;
    };
    if null["type"] == "null" && item.get("type").is_some_and(|kind| kind.is_string() && kind != "object") {
        let mut item = item.clone();
        item.insert("type".to_owned(), json!([item.get("type"), "null"]));
        schema.remove("oneOf");
        schema.append(&mut item);
    }
}

/// The integers that need 64 bits: those without a maximum below 2^31. Generated clients use 32 bits without a format.
fn widen_integers(schema: &mut Map<String, Value>) {
    let is_integer = match schema.get("type") {
        Some(Value::String(kind)) => kind == "integer",
        Some(Value::Array(kinds)) => kinds.iter().any(|kind| kind == "integer"),
        _ => false,
    };
    let is_small = schema.get("maximum").and_then(Value::as_i64).is_some_and(|maximum| maximum < 1 << 31);
    if is_integer && !is_small {
        schema.insert("format".to_owned(), json!("int64"));
    }
}

/// Omits the minimum of counts in responses: clients do not check what the service returns.
fn omit_zero(schema: &mut Map<String, Value>) {
    if schema.get("minimum") == Some(&json!(0)) && schema.get("format") == Some(&json!("int64")) {
        schema.remove("minimum");
    }
}

/// The schema of a response whose members may be absent or null.
const ABSENT_OR_NULL: &str = "SeriesRangePoint";

/// Omits null from the members of responses that may be absent: a member that may be null is always present.
fn omit_null(schema: &mut Map<String, Value>) {
    let required = schema.get("required").cloned().unwrap_or_default();
    let is_required = |name: &str| required.as_array().is_some_and(|names| names.iter().any(|other| other == name));
    let members = schema.get_mut("properties").and_then(Value::as_object_mut).into_iter().flatten();
    for (_, member) in members.filter(|(name, _)| !is_required(name)) {
        let Some(member) = member.as_object_mut() else { continue };
        if let Some([kind, null]) = member.get("type").and_then(Value::as_array).map(Vec::as_slice)
            && null == "null"
        {
            let kind = kind.clone();
            member.insert("type".to_owned(), kind);
        }
        if let Some([Value::Object(form), null]) = member.get("oneOf").and_then(Value::as_array).map(Vec::as_slice)
            && null["type"] == "null"
        {
            let mut form = form.clone();
            member.remove("oneOf");
            member.append(&mut form);
        }
    }
}

/// Refers to the schema of any JSON value where a member or an item has no type.
fn name_any_value(schema: &mut Map<String, Value>) {
    const TYPES: [&str; 6] = ["$ref", "type", "oneOf", "allOf", "anyOf", "enum"];
    let (mut members, mut items) = (schema.get("properties").cloned(), schema.get("items").cloned());
    let untyped = members.as_mut().and_then(Value::as_object_mut).into_iter().flat_map(Map::values_mut);
    for part in untyped.chain(&mut items).filter_map(Value::as_object_mut) {
        if !TYPES.iter().any(|name| part.contains_key(*name)) {
            part.insert("$ref".to_owned(), json!(format!("{SCHEMAS}JsonValue")));
        }
    }
    schema.extend(
        [("properties", members), ("items", items)]
            .into_iter()
            .filter_map(|(name, part)| Some((name.to_owned(), part?))),
    );
}

/// Calls a page of `X` `XPage` instead of `Page_X`.
fn name_pages(document: &mut Value) {
    let page = |name: &str| name.strip_prefix("Page_").map(|item| format!("{item}Page"));
    if let Some(schemas) = schemas_of(document) {
        *schemas =
            std::mem::take(schemas).into_iter().map(|(name, schema)| (page(&name).unwrap_or(name), schema)).collect();
    }
    visit(document, &mut |schema| {
        let name = schema.get("$ref").and_then(Value::as_str).and_then(|name| name.strip_prefix(SCHEMAS));
        if let Some(name) = name.and_then(page) {
            schema.insert("$ref".to_owned(), json!(format!("{SCHEMAS}{name}")));
        }
    });
}

/// Replaces each copy of a named object or enumeration by a reference.
fn refer_to_schemas(document: &mut Value) {
    let mut names = BTreeMap::new();
    for (name, schema) in schemas_of(document).into_iter().flatten() {
        names.insert(identity(schema), name.clone());
    }
    names.remove(&Value::Null.to_string());
    let replace = &mut |schema: &mut Map<String, Value>| {
        let copy = Value::Object(schema.clone());
        if let Some(name) = names.get(&identity(&copy)) {
            schema.clear();
            schema.insert("$ref".to_owned(), json!(format!("{SCHEMAS}{name}")));
        }
    };
    if let Some(schemas) = schemas_of(document) {
        // A schema is not a copy of itself.
        schemas.values_mut().filter_map(Value::as_object_mut).for_each(|schema| visit_parts(schema, replace));
    }
    document.get_mut("paths").into_iter().for_each(|paths| visit(paths, replace));
}

/// What two schemas have in common if one is a copy of the other: all of an object, the values of an enumeration.
fn identity(schema: &Value) -> String {
    match (&schema["enum"], &schema["properties"]) {
        (Value::Array(values), _) if values.len() > 1 => json!(values).to_string(),
        (_, Value::Object(_)) => schema.to_string(),
        _ => Value::Null.to_string(),
    }
}

/// Makes a component of each schema that is inside another one and has a `title`, its name.
fn name_titled_schemas(document: &mut Value) {
    let mut named = BTreeMap::new();
    let mut name = |schema: &mut Map<String, Value>| {
        if let Some(Value::String(name)) = schema.remove("title") {
            named.insert(name.clone(), Value::Object(std::mem::take(schema)));
            schema.insert("$ref".to_owned(), json!(format!("{SCHEMAS}{name}")));
        }
    };
    document.get_mut("paths").into_iter().for_each(|paths| visit(paths, &mut name));
    let Some(schemas) = schemas_of(document) else { return };
    for schema in schemas.values_mut().filter_map(Value::as_object_mut) {
        if schema.get("title").is_some_and(Value::is_string) {
            schema.remove("title");
        }
        visit_parts(schema, &mut name);
    }
    schemas.extend(named);
}

/// States which property tells the schemas of a choice apart: the one that has a single value in each of them.
fn discriminate(document: &mut Value) {
    let schemas = document.pointer("/components/schemas").cloned().unwrap_or_default();
    visit(document, &mut |schema| {
        if let Some((property, mapping)) = schema.get("oneOf").and_then(|choices| discriminator(choices, &schemas)) {
            schema.insert("discriminator".to_owned(), json!({ "propertyName": property, "mapping": mapping }));
        }
    });
}

fn discriminator(choices: &Value, schemas: &Value) -> Option<(String, Map<String, Value>)> {
    let references = choices.as_array()?.iter().map(|choice| choice["$ref"].as_str());
    let references = references.collect::<Option<Vec<_>>>()?;
    let properties = |reference: &str| schemas.get(reference.strip_prefix(SCHEMAS)?)?["properties"].as_object();
    properties(references.first()?)?.keys().find_map(|property| {
        let entry = |reference: &&str| match properties(reference)?.get(property)?["enum"].as_array()?.as_slice() {
            [Value::String(value)] => Some((value.clone(), json!(reference))),
            _ => None,
        };
        references.iter().map(entry).collect::<Option<_>>().map(|mapping| (property.clone(), mapping))
    })
}

/// The names of the schemas that requests use.
fn request_schemas(document: &mut Value) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for_each_operation(document, |operation| {
        for part in ["requestBody", "parameters"] {
            operation.get_mut(part).into_iter().for_each(|part| collect_names(part, &mut names));
        }
    });
    let schemas = schemas_of(document).cloned().unwrap_or_default();
    let mut waiting: Vec<String> = names.iter().cloned().collect();
    while let Some(name) = waiting.pop() {
        let mut inner = BTreeSet::new();
        schemas.get(&name).cloned().iter_mut().for_each(|schema| collect_names(schema, &mut inner));
        waiting.extend(inner.into_iter().filter(|name| names.insert(name.clone())));
    }
    names
}

fn collect_names(part: &mut Value, names: &mut BTreeSet<String>) {
    visit(part, &mut |schema| {
        let name = schema.get("$ref").and_then(Value::as_str).and_then(|name| name.strip_prefix(SCHEMAS));
        names.extend(name.map(str::to_owned));
    });
}

/// Moves the examples of responses to their schemas, unless requests or responses of another form have the schema too.
fn move_examples(document: &mut Value, sent: &BTreeSet<String>) {
    let mut examples: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for_each_example(document, |name, content| {
        examples.entry(name.to_owned()).or_default().extend(content.get("example").cloned());
    });
    examples.retain(|name, all| {
        !sent.contains(name) && all.iter().all(|example| all.first().map(form) == Some(form(example)))
    });
    for_each_example(document, |name, content| {
        if examples.contains_key(name) {
            content.remove("example");
        }
    });
    for (name, schema) in schemas_of(document).into_iter().flatten() {
        if let (Some(example), Some(schema)) = (examples.get(name).and_then(|all| all.first()), schema.as_object_mut())
        {
            schema.insert("example".to_owned(), example.clone());
        }
    }
}

/// The names of the members of an example, and of those in them.
fn form(example: &Value) -> Value {
    match example {
        Value::Object(members) => members.iter().map(|(name, member)| (name.clone(), form(member))).collect(),
        Value::Array(items) => items.iter().take(1).map(form).collect(),
        _ => Value::Null,
    }
}

/// Calls `act` with the contents of responses that have an example and a schema of its own, and with its name.
fn for_each_example(document: &mut Value, mut act: impl FnMut(&str, &mut Map<String, Value>)) {
    for_each_operation(document, |operation| {
        for response in responses(operation) {
            let contents = response.get_mut("content").and_then(Value::as_object_mut);
            for content in contents.into_iter().flat_map(Map::values_mut).filter_map(Value::as_object_mut) {
                let reference = content.get("schema").and_then(|schema| schema["$ref"].as_str()).map(str::to_owned);
                let name = reference.as_deref().and_then(|name| name.strip_prefix(SCHEMAS));
                // Each problem has an example of its own.
                if let Some(name) = name.filter(|name| *name != "Problem" && content.contains_key("example")) {
                    act(name, content);
                }
            }
        }
    });
}

fn schemas_of(document: &mut Value) -> Option<&mut Map<String, Value>> {
    document.pointer_mut("/components/schemas")?.as_object_mut()
}
