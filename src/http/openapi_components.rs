//! The parts of the API document that several operations use, as components to which they refer.
//!
//! The descriptions of the operations repeat their parameters, problems and enumerations. Here each of them becomes one
//! component, so that the document stays small and generated clients have one type for it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::openapi_parts::{OPERATIONS, for_each_operation, parameters, responses};
use super::openapi_schemas;

/// Rewrites the document so that its parts have one description each.
pub(super) fn share(document: &mut Value) {
    for_each_operation(document, omit_defaults);
    openapi_schemas::share(document);
    share_parts(document, "parameters", |operation| {
        let name = |part: &Value| pascal_case(part["name"].as_str().unwrap_or_default());
        parameters(operation).into_iter().map(|part| (name(part), part)).collect()
    });
    lift_path_parameters(document);
    let names = problem_names(document);
    share_parts(document, "responses", |operation| {
        let name = |part: &Value| names.get(part["description"].as_str()?).cloned();
        responses(operation).into_iter().filter_map(|part| Some((name(part)?, part))).collect()
    });
    share_parts(document, "headers", headers);
}

/// Leaves out what every parameter has unless it says otherwise.
fn omit_defaults(operation: &mut Value) {
    for parameter in parameters(operation).into_iter().filter_map(Value::as_object_mut) {
        if parameter.get("required") == Some(&Value::Bool(false)) {
            parameter.remove("required");
        }
    }
}

/// Makes a component of each part that occurs at least twice. `parts` yields the parts of an operation with their names.
/// Parts of one name that differ also have the name of their area: that of most of the operations that use them.
fn share_parts(
    document: &mut Value,
    kind: &str,
    parts: impl for<'a> Fn(&'a mut Value) -> Vec<(String, &'a mut Value)>,
) {
    let mut uses: BTreeMap<(String, String), BTreeMap<String, usize>> = BTreeMap::new();
    for_each_operation(document, |operation| {
        let area = operation.pointer("/tags/0").and_then(Value::as_str).map(pascal_case).unwrap_or_default();
        for (name, part) in parts(operation).into_iter().filter(|(_, part)| part.get("$ref").is_none()) {
            *uses.entry((name, part.to_string())).or_default().entry(area.clone()).or_default() += 1;
        }
    });
    uses.retain(|_, areas| areas.values().sum::<usize>() > 1);
    let mut components = Map::new();
    let mut references = BTreeMap::new();
    for ((own, text), areas) in &uses {
        let is_only_one = uses.keys().filter(|(other, _)| other == own).count() == 1;
        let area = areas.iter().max_by_key(|(_, count)| **count).map_or("", |(area, _)| area.as_str());
        let mut name = if is_only_one { own.clone() } else { format!("{area}{own}") };
        while components.contains_key(&name) {
            name.push_str("List");
        }
        references.insert(text.clone(), json!({ "$ref": format!("#/components/{kind}/{name}") }));
        components.insert(name, serde_json::from_str(text).unwrap_or_default());
    }
    for_each_operation(document, |operation| {
        for (_, part) in parts(operation) {
            if let Some(reference) = references.get(&part.to_string()) {
                *part = reference.clone();
            }
        }
    });
    let known = document.get_mut("components").and_then(Value::as_object_mut);
    let known = known.and_then(|all| all.entry(kind).or_insert_with(|| json!({})).as_object_mut());
    if let Some(known) = known {
        known.extend(components);
    }
}

/// Moves the parameters of paths that several operations of one path share from these to the path.
fn lift_path_parameters(document: &mut Value) {
    let shared = document.pointer("/components/parameters").cloned().unwrap_or_default();
    let is_in_path = |part: &Value| {
        let name = part["$ref"].as_str().and_then(|reference| reference.rsplit('/').next());
        name.is_some_and(|name| shared.get(name).is_some_and(|part| part["in"] == "path"))
    };
    for item in document["paths"].as_object_mut().into_iter().flat_map(Map::values_mut) {
        let mut uses: Vec<(Value, usize)> = Vec::new();
        let of_method = |method| item.get(method)?.get("parameters")?.as_array();
        for part in OPERATIONS.into_iter().filter_map(of_method).flatten() {
            match uses.iter_mut().find(|(other, _)| other == part) {
                Some((_, count)) => *count += 1,
                None => uses.push((part.clone(), 1)),
            }
        }
        uses.retain(|(part, count)| *count > 1 && is_in_path(part));
        let lifted: Vec<Value> = uses.into_iter().map(|(part, _)| part).collect();
        if lifted.is_empty() {
            continue;
        }
        for method in OPERATIONS {
            let Some(operation) = item.get_mut(method).and_then(Value::as_object_mut) else { continue };
            let own = operation.get_mut("parameters").and_then(Value::as_array_mut);
            if let Some(own) = own {
                own.retain(|part| !lifted.contains(part));
            }
            operation.retain(|name, value| name != "parameters" || *value != json!([]));
        }
        item["parameters"] = json!(lifted);
    }
}

/// The headers of the responses of an operation, with the names of their components.
fn headers(operation: &mut Value) -> Vec<(String, &mut Value)> {
    let mut headers = Vec::new();
    for response in responses(operation) {
        headers.extend(response.get_mut("headers").and_then(Value::as_object_mut).into_iter().flatten());
    }
    headers.into_iter().map(|(name, header)| (pascal_case(name), header)).collect()
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
        if text.contains("bad_data") {
            return Some("PrometheusFailure".to_owned());
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

/// `Fencing-Token`, `ttl_ms` and `stale-fence` as names of components: `FencingToken`, `TtlMs`, `StaleFence`.
fn pascal_case(name: &str) -> String {
    let words = name.split(|letter: char| !letter.is_ascii_alphanumeric()).map(str::chars);
    words.flat_map(|mut word| word.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(word)).collect()
}
