//! The examples of the API document: complete, valid, and right at any time.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{document, every_operation, resolve, visit};

#[test]
fn required_parameters_and_bodies_have_an_example() {
    let has_example = |value: &Value| {
        ["example", "examples"].iter().any(|field| !value[field].is_null() || !value["schema"][field].is_null())
    };
    let document = document();
    every_operation(
        "Give it an `example`: Swagger UI's \"Try it out\" and the API tests start from it.",
        |operation| {
            let parameters = operation.list("parameters");
            let bare = parameters.iter().filter(|parameter| parameter["required"] == true && !has_example(parameter));
            let mut complaints: Vec<String> =
                bare.map(|parameter| format!("parameter {}", parameter["name"])).collect();
            let content = operation.value["requestBody"]["content"].as_object().cloned().unwrap_or_default();
            for (media_type, body) in content {
                let schema = resolve(&document, &body["schema"]);
                let fields = schema["properties"].as_object().cloned().unwrap_or_default();
                let by_field =
                    !fields.is_empty() && fields.values().all(|field| has_example(resolve(&document, field)));
                if !has_example(&body) && !has_example(schema) && !by_field {
                    complaints.push(format!("body {media_type}"));
                }
            }
            complaints
        },
    );
}

#[test]
fn parameters_are_described_and_only_needed_ones_have_an_example() {
    every_operation("Describe the parameter; give an example only to a required one.", |operation| {
        let bad = |parameter: &&Value| {
            let is_described = parameter["description"].as_str().is_some_and(|text| !text.is_empty());
            // They need one of several parameters, such as a limit in the query or in headers.
            let alternatives = ["enforce_limit_by_query", "list_orders", "cancel_orders", "cancel_orders_everywhere"];
            let has_alternatives = alternatives.iter().any(|id| operation.value["operationId"] == *id);
            let is_needed = parameter["required"] == true || has_alternatives;
            !is_described || (!is_needed && !parameter["example"].is_null())
        };
        let parameters = operation.list("parameters");
        parameters.iter().filter(bad).map(|parameter| format!("parameter {}", parameter["name"])).collect()
    });
}

#[test]
fn successes_have_an_example_that_fits_their_schema() {
    let document = document();
    every_operation("Record it: see tests/it/swagger_ui.rs.", |operation| {
        let mut complaints = Vec::new();
        for (status, response) in operation.responses().iter().filter(|(status, _)| status.starts_with('2')) {
            for (media_type, content) in response["content"].as_object().into_iter().flatten() {
                let given = content.get("example").or_else(|| resolve(&document, &content["schema"]).get("example"));
                let example = given.unwrap_or(&Value::Null);
                let mut schema = content["schema"].clone();
                schema["components"] = document["components"].clone();
                let validator = jsonschema::validator_for(&schema).expect("a schema");
                if given.is_none() {
                    complaints.push(format!("{status} {media_type} has no example"));
                } else if let Err(error) = validator.validate(example) {
                    complaints.push(format!("{status} {media_type}: {error}: {example}"));
                }
            }
        }
        complaints
    });
}

#[test]
fn each_operation_has_an_example_of_its_own_problem_and_of_the_shared_ones() {
    every_operation("They come from the problems of the access row.", |operation| {
        let (mut complaints, mut shown, mut expected) = (Vec::new(), 0, 0);
        for (status, response) in operation.responses() {
            let content = &response["content"]["application/problem+json"];
            let description = response["description"].as_str().unwrap_or_default();
            // Prometheus's own errors have another form.
            let Some(first) = description.strip_prefix('`').and_then(|text| text.split('`').next()) else { continue };
            if content.is_null() {
                continue;
            }
            expected = 1;
            let example = &content["example"];
            if example.is_null() {
                continue;
            }
            shown += 1;
            if (&example["code"], example["status"].to_string()) != (&json!(first), status) {
                complaints.push(format!("{description}: {example}"));
            }
        }
        if shown < expected {
            complaints.push("none of its own problems has an example".to_owned());
        }
        let shared = &operation.value["responses"]["default"];
        if shared.is_object()
            && shared["description"].as_str().is_some_and(|text| !text.contains("bad_data"))
            && shared["content"]["application/problem+json"]["example"].is_null()
        {
            complaints.push("the shared problem has no example".to_owned());
        }
        complaints
    });
}

#[test]
fn examples_of_requests_have_no_fixed_times() {
    /// Unix milliseconds of the years 2000 and 2100.
    const RECENT: std::ops::Range<f64> = 946_684_800_000.0..4_102_444_800_000.0;
    let mut document = document();
    for item in document["paths"].as_object_mut().into_iter().flat_map(|paths| paths.values_mut()) {
        // A response has the time at which it was recorded.
        for (_, operation) in item.as_object_mut().into_iter().flatten() {
            operation.as_object_mut().map(|operation| operation.remove("responses"));
        }
    }
    let mut requests = vec![document["paths"].clone(), document["components"]["parameters"].clone()];
    let (mut known, mut fixed) = (BTreeSet::new(), BTreeSet::new());
    while let Some(part) = requests.pop() {
        visit(&part, &mut |value| {
            if value["$ref"].as_str().is_some_and(|reference| known.insert(reference.to_owned())) {
                requests.push(resolve(&document, value).clone());
            }
            visit(&value["example"], &mut |part| {
                let is_time = |run: &str| run.len() >= 10 && run.starts_with('1');
                let has_time = |text: &str| text.split(|letter: char| !letter.is_ascii_digit()).any(is_time);
                if part.as_f64().is_some_and(|number| RECENT.contains(&number)) || part.as_str().is_some_and(has_time) {
                    fixed.insert(part.to_string());
                }
            });
        });
    }
    assert!(fixed.is_empty(), "leave the time out, or make it relative: {fixed:?}");
}
