//! The parts of the API document that several operations use, as components to which they refer.
//!
//! The descriptions of the operations repeat their parameters, problems and enumerations. Here each of them becomes one
//! component, so that the document stays small and generated clients have one type for it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

/// The methods of operations. A value is stored before it is read, and read before it is deleted.
pub(super) const OPERATIONS: [&str; 6] = ["put", "post", "get", "head", "patch", "delete"];

const SCHEMAS: &str = "#/components/schemas/";

/// Rewrites the document so that its parts have one description each.
pub(super) fn share(document: &mut Value) {
    name_pages(document);
    for_each_operation(document, omit_defaults);
    visit(document, &mut inline_numbers);
    visit(document, &mut shorten_nullable);
    visit(document, &mut widen_integers);
    if let Some(schemas) = schemas_of(document) {
        schemas.retain(|name, _| !NUMBERS.contains(&name.as_str()));
    }
    refer_to_schemas(document);
    name_titled_schemas(document);
    discriminate(document);
    share_parts(document, "parameters", parameters, |parameter| Some(pascal_case(parameter["name"].as_str()?)));
    let names = problem_names(document);
    share_parts(document, "responses", responses, |response| names.get(response["description"].as_str()?).cloned());
    share_headers(document);
}

/// Leaves out what every parameter has unless it says otherwise.
fn omit_defaults(operation: &mut Value) {
    for parameter in parameters(operation).into_iter().filter_map(Value::as_object_mut) {
        if parameter.get("required") == Some(&Value::Bool(false)) {
            parameter.remove("required");
        }
    }
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

/// Makes a component of each part that at least two operations have, and names it.
fn share_parts(
    document: &mut Value,
    kind: &str,
    parts: fn(&mut Value) -> Vec<&mut Value>,
    name: impl Fn(&Value) -> Option<String>,
) {
    let mut uses: BTreeMap<String, (usize, String)> = BTreeMap::new();
    for_each_operation(document, |operation| {
        // Parameters of one name are different things in different areas; problems are the same everywhere.
        let tag = operation
            .pointer("/tags/0")
            .and_then(Value::as_str)
            .filter(|_| kind == "parameters")
            .map(pascal_case)
            .unwrap_or_default();
        for part in parts(operation) {
            uses.entry(part.to_string()).or_insert((0, tag.clone())).0 += 1;
        }
    });
    uses.retain(|_, (count, _)| *count > 1);
    let mut components = Map::new();
    let mut references = BTreeMap::new();
    let named: Vec<_> = uses
        .into_iter()
        .filter_map(|(text, (_, tag))| {
            let part: Value = serde_json::from_str(&text).ok()?;
            let name = name(&part)?;
            Some((text, part, tag, name))
        })
        .collect();
    for (text, part, tag, name) in &named {
        let is_only_one = named.iter().filter(|(.., other)| other == name).count() == 1;
        let name = if is_only_one { name.clone() } else { format!("{tag}{name}") };
        let free = (1..).map(|n| if n == 1 { name.clone() } else { format!("{name}{n}") });
        let Some(name) = free.into_iter().find(|name| !components.contains_key(name)) else { continue };
        references.insert(text.clone(), json!({ "$ref": format!("#/components/{kind}/{name}") }));
        components.insert(name, part.clone());
    }
    for_each_operation(document, |operation| {
        for part in parts(operation) {
            if let Some(reference) = references.get(&part.to_string()) {
                *part = reference.clone();
            }
        }
    });
    if let Some(all) = document.get_mut("components").and_then(Value::as_object_mut) {
        all.insert(kind.to_owned(), Value::Object(components));
    }
}

fn schemas_of(document: &mut Value) -> Option<&mut Map<String, Value>> {
    document.pointer_mut("/components/schemas")?.as_object_mut()
}

fn for_each_operation(document: &mut Value, mut act: impl FnMut(&mut Value)) {
    for item in document.get_mut("paths").and_then(Value::as_object_mut).into_iter().flat_map(Map::values_mut) {
        for method in OPERATIONS {
            item.get_mut(method).into_iter().for_each(&mut act);
        }
    }
}

pub(super) fn parameters(operation: &mut Value) -> Vec<&mut Value> {
    operation.get_mut("parameters").and_then(Value::as_array_mut).into_iter().flatten().collect()
}

fn responses(operation: &mut Value) -> Vec<&mut Value> {
    operation.get_mut("responses").and_then(Value::as_object_mut).into_iter().flat_map(Map::values_mut).collect()
}

/// The names of the responses with errors, by description: the problem of each that the fewest others have. Responses of
/// which that is the same problem have the words of all their problems.
fn problem_names(document: &mut Value) -> BTreeMap<String, String> {
    let mut texts = BTreeSet::new();
    for_each_operation(document, |operation| {
        let errors = responses(operation).into_iter().filter(|response| response["content"].is_object());
        texts.extend(errors.filter_map(|response| response["description"].as_str().map(str::to_owned)));
    });
    let lists = texts.iter().filter(|text| text.starts_with('`')).map(|text| problems(text));
    let lists: Vec<Vec<&str>> = lists.collect();
    let uses = |problem: &str| lists.iter().filter(|list| list.contains(&problem)).count();
    let rarest = |list: &[&str]| list.iter().min_by_key(|problem| uses(problem)).map(|problem| pascal_case(problem));
    let name = |text: &str| {
        // Prometheus's form of an error.
        if let Some((error, _)) = text.split_once(": ") {
            return Some(format!("Prometheus{}", pascal_case(error)));
        }
        let list = problems(text);
        let own = rarest(&list)?;
        if lists.iter().filter(|other| rarest(other).as_ref() == Some(&own)).count() == 1 {
            return Some(own);
        }
        let mut words: Vec<&str> = Vec::new();
        for word in list.iter().flat_map(|problem| problem.split('-')) {
            if !words.contains(&word) {
                words.push(word);
            }
        }
        Some(pascal_case(&words.join("-")))
    };
    texts.iter().filter_map(|text| Some((text.clone(), name(text)?))).collect()
}

/// The problems in the description of a response.
fn problems(description: &str) -> Vec<&str> {
    description.split('`').skip(1).step_by(2).collect()
}

/// Makes a component of each header that several responses have.
fn share_headers(document: &mut Value) {
    let mut uses: BTreeMap<(String, String), usize> = BTreeMap::new();
    for_each_header(document, |name, header| *uses.entry((name.to_owned(), header.to_string())).or_default() += 1);
    let mut components = Map::new();
    for ((name, text), _) in uses.iter().filter(|(_, count)| **count > 1) {
        let free = (1..).map(|n| pascal_case(name) + &if n == 1 { String::new() } else { n.to_string() });
        let name = free.into_iter().find(|name| !components.contains_key(name)).unwrap_or_default();
        components.insert(name, serde_json::from_str(text).unwrap_or_default());
    }
    for_each_header(document, |_, header| {
        if let Some((name, _)) = components.iter().find(|(_, component)| *component == header) {
            *header = json!({ "$ref": format!("#/components/headers/{name}") });
        }
    });
    if let Some(all) = document.get_mut("components").and_then(Value::as_object_mut) {
        all.insert("headers".to_owned(), Value::Object(components));
    }
}

fn for_each_header(document: &mut Value, mut act: impl FnMut(&str, &mut Value)) {
    for_each_operation(document, |operation| {
        for response in responses(operation) {
            for (name, header) in response.get_mut("headers").and_then(Value::as_object_mut).into_iter().flatten() {
                act(name, header);
            }
        }
    });
}

/// Calls `change` with every schema and every other object, the outer ones first. Examples are data, not schemas.
fn visit(value: &mut Value, change: &mut impl FnMut(&mut Map<String, Value>)) {
    match value {
        Value::Object(object) => {
            change(object);
            visit_parts(object, change);
        }
        Value::Array(items) => items.iter_mut().for_each(|item| visit(item, change)),
        _ => {}
    }
}

fn visit_parts(object: &mut Map<String, Value>, change: &mut impl FnMut(&mut Map<String, Value>)) {
    for (name, part) in object.iter_mut() {
        match part {
            Value::Object(properties) if name == "properties" => {
                properties.values_mut().for_each(|property| visit(property, change));
            }
            _ if name == "example" || name == "examples" => {}
            part => visit(part, change),
        }
    }
}

/// `Fencing-Token`, `ttl_ms` and `stale-fence` as names of components: `FencingToken`, `TtlMs`, `StaleFence`.
fn pascal_case(name: &str) -> String {
    let words = name.split(|letter: char| !letter.is_ascii_alphanumeric()).map(str::chars);
    words.flat_map(|mut word| word.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(word)).collect()
}
