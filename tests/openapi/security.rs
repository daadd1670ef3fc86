//! Who may call an operation, as the document says.

use std::collections::BTreeMap;

use gridtokenx_redis::app;
use gridtokenx_redis::http::access::{Guard, Keys};
use serde_json::{Value, json};

use super::{document, every_operation};

#[test]
fn security_is_what_the_access_table_enforces() {
    let guards: BTreeMap<String, (Guard, Keys)> =
        app::access_table().iter().map(|row| (format!("{} {}", row.method, row.path), (row.guard, row.keys))).collect();
    assert_eq!(document()["security"], json!([{ "api_key": [] }, { "bearer": [] }]));
    every_operation("Security comes from the row in FEATURE.access: do not write it by hand.", |operation| {
        // An operation without `security` has that of the document.
        let expected = match guards.get(&operation.name) {
            None => return vec!["no row in an access table".to_owned()],
            Some((Guard::Public, _)) => [json!([]), Value::Null, Value::Null],
            Some((Guard::InBand, _)) => [json!([{}, { "api_key": [] }, { "bearer": [] }]), Value::Null, Value::Null],
            Some((Guard::Scope(scope), keys)) => {
                let keys = match keys {
                    Keys::All => Value::Null,
                    Keys::InPath(templates) => json!(templates.join(", ")),
                    Keys::CheckedByHandler => json!("each key of the body or of the result"),
                };
                [Value::Null, json!(scope), keys]
            }
        };
        let found = ["security", "x-scope", "x-scope-keys"].map(|name| operation.value[name].clone());
        if found == expected { Vec::new() } else { vec![format!("{found:?}, the table says {expected:?}")] }
    });
}
