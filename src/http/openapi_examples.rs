//! The examples of the API document that no single operation can state: those that fit the other operations, and the
//! responses.

use serde_json::{Map, Value, json};

use super::openapi_parts::{OPERATIONS, parameters};

/// The response of each operation to its example, by status and media type. A test records them from Swagger UI.
const RESPONSES: &str = include_str!("../../openapi/examples.json");

/// Parameters whose example differs from that of other operations. A deletion stands above other operations on the same
/// path, so it deletes something that they do not need. An operation with alternative ways to state its parameters needs
/// one of them.
const OWN: &[(&str, &str, &str)] = &[
    ("delete_cache_value", "key", "session:8"),
    ("delete_json_document", "key", "profile:8"),
    ("delete_series", "key", "energy:consumption:MTR-002"),
    ("delete_host_metrics", "id", "web-2"),
    ("delete_limit_exception", "key", "10.0.0.2:orders"),
    ("delete_channel_history", "channel", "market:events:ENERGY"),
    ("get_latest_messages", "channel", "market:prices"),
    ("cancel_order", "order_id", "order-2"),
    ("delete_book", "symbol", "FORMER"),
    ("replace_book", "symbol", "LEVELS"),
    ("list_orders", "side", "buy"),
    ("cancel_orders", "owner", "user-8"),
    ("cancel_orders_everywhere", "owner", "user-8"),
    ("enforce_limit_by_query", "limiter", "api"),
    ("enforce_limit_by_query", "key", "10.0.0.1:orders"),
];

/// Completes the examples of all operations.
///
/// # Errors
/// If `openapi/examples.json` is not valid JSON.
pub(super) fn complete(document: &mut Value) -> Result<(), serde_json::Error> {
    let responses: Map<String, Value> = serde_json::from_str(RESPONSES)?;
    for item in document["paths"].as_object_mut().into_iter().flat_map(Map::values_mut) {
        for method in OPERATIONS {
            let Some(operation) = item.get_mut(method) else { continue };
            let id = operation["operationId"].as_str().unwrap_or_default().to_owned();
            for parameter in parameters(operation) {
                choose(&id, parameter);
            }
            if let Some(recorded) = responses.get(&id) {
                respond(operation, recorded);
            }
        }
    }
    Ok(())
}

/// Gives a parameter its example. Others that are optional have none: Swagger UI would send it with every request.
fn choose(operation: &str, parameter: &mut Value) {
    let own = OWN.iter().find(|(id, name, _)| *id == operation && parameter["name"] == *name);
    match own {
        Some((.., example)) => parameter["example"] = json!(example),
        None if parameter["required"] != true => {
            parameter.as_object_mut().map(|parameter| parameter.remove("example"));
        }
        None => {}
    }
}

/// Gives each success the recorded response of its status, or that of another status with the same media type.
fn respond(operation: &mut Value, recorded: &Value) {
    for (status, response) in operation["responses"].as_object_mut().into_iter().flatten() {
        let contents = response.get_mut("content").and_then(Value::as_object_mut).filter(|_| status.starts_with('2'));
        for (media_type, content) in contents.into_iter().flatten() {
            let other = || recorded.as_object()?.values().find_map(|response| response.get(media_type));
            if let Some(example) = recorded[status].get(media_type).or_else(other) {
                content["example"] = example.clone();
            }
        }
    }
}
