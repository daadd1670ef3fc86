//! The parts of the API document: its operations, what they consist of, and its schemas.

use serde_json::{Map, Value};

/// The methods of operations. A value is stored before it is read, and read before it is deleted.
pub(super) const OPERATIONS: [&str; 6] = ["put", "post", "get", "head", "patch", "delete"];

pub(super) fn for_each_operation(document: &mut Value, mut act: impl FnMut(&mut Value)) {
    for item in document.get_mut("paths").and_then(Value::as_object_mut).into_iter().flat_map(Map::values_mut) {
        for method in OPERATIONS {
            item.get_mut(method).into_iter().for_each(&mut act);
        }
    }
}

pub(super) fn parameters(operation: &mut Value) -> Vec<&mut Value> {
    operation.get_mut("parameters").and_then(Value::as_array_mut).into_iter().flatten().collect()
}

pub(super) fn responses(operation: &mut Value) -> Vec<&mut Value> {
    operation.get_mut("responses").and_then(Value::as_object_mut).into_iter().flat_map(Map::values_mut).collect()
}

/// Calls `change` with every schema and every other object, the outer ones first. Examples are data, not schemas.
pub(super) fn visit(value: &mut Value, change: &mut impl FnMut(&mut Map<String, Value>)) {
    match value {
        Value::Object(object) => {
            change(object);
            visit_parts(object, change);
        }
        Value::Array(items) => items.iter_mut().for_each(|item| visit(item, change)),
        _ => {}
    }
}

pub(super) fn visit_parts(object: &mut Map<String, Value>, change: &mut impl FnMut(&mut Map<String, Value>)) {
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
