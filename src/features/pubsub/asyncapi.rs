//! The channels and their events as an `AsyncAPI` 3.0 document, which `GET /asyncapi.json` returns.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::event_types::{self, message_types};
use crate::events::{Events, Namespace};

/// Describes every namespace of the configuration as a channel, with the schemas of its events.
pub fn describe_channels(events: &Events) -> String {
    document(&events.namespaces()).to_string()
}

fn document(namespaces: &[Arc<Namespace>]) -> Value {
    let (mut channels, mut operations) = (Map::new(), Map::new());
    for namespace in namespaces {
        let name = channel_id(namespace);
        let messages: Map<String, Value> = match &namespace.schema {
            Some(family) => message_types(family)
                .map(|name| (name.to_owned(), reference(&format!("/components/messages/{name}"))))
                .collect(),
            None => Map::from_iter([("AnyMessage".to_owned(), reference("/components/messages/AnyMessage"))]),
        };
        let parameters: Map<String, Value> = namespace
            .pattern
            .parameters()
            .map(|name| (name.to_owned(), json!({ "description": format!("The {name}: one segment of the channel.") })))
            .collect();
        channels.insert(
            name.clone(),
            json!({ "address": namespace.pattern.as_str(), "messages": messages, "parameters": parameters }),
        );
        let channel = reference(&format!("/channels/{name}"));
        operations.insert(format!("subscribe_{name}"), json!({ "action": "send", "channel": channel }));
        operations.insert(format!("publish_{name}"), json!({ "action": "receive", "channel": channel }));
    }
    let messages: Map<String, Value> = event_types::schemas()
        .map(|(name, schema)| (name.to_owned(), message(name, &schema)))
        .chain([("AnyMessage".to_owned(), message("", &json!({ "description": "Any JSON." })))])
        .collect();
    let description = "Messages of the real-time channels, over GET /pubsub/ws and GET /pubsub/sse. The service sends them to \
                       subscribers, and receives them with POST /pubsub/{channel}.";
    json!({
        "asyncapi": "3.0.0",
        "info": { "title": "GridTokenX channels", "version": env!("CARGO_PKG_VERSION"), "description": description },
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
        "components": { "messages": messages },
    })
}

fn message(name: &str, data: &Value) -> Value {
    let message_type = if name.is_empty() { json!({ "type": "string" }) } else { json!({ "const": name }) };
    json!({
        "payload": {
            "type": "object",
            "required": ["offset", "epoch", "timestamp", "id", "channel", "message_type", "data", "version"],
            "properties": {
                "offset": { "type": "integer", "description": "The number of the message in its channel and epoch." },
                "epoch": { "type": "string" },
                "timestamp": { "type": "integer", "description": "Redis's time, Unix milliseconds." },
                "id": { "type": "string" },
                "channel": { "type": "string" },
                "message_type": message_type,
                "data": data,
                "version": { "type": "string" },
                "key": { "type": "string" },
                "tags": { "type": "object", "additionalProperties": { "type": "string" } },
            },
        },
    })
}

/// The pattern as an identifier: `orders:{user}` is `orders_user`.
fn channel_id(namespace: &Namespace) -> String {
    namespace.pattern.as_str().replace([':', '.', '-'], "_").replace(['{', '}'], "")
}

fn reference(path: &str) -> Value {
    json!({ "$ref": format!("#{path}") })
}
