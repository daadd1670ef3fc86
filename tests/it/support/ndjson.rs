//! Bodies of JSON lines.

use serde_json::Value;

/// The header of such a body.
pub const NDJSON: (&str, &str) = ("content-type", "application/x-ndjson");

/// One value per line, each with a line break.
pub fn ndjson<'a>(values: impl IntoIterator<Item = &'a Value>) -> String {
    let mut text = String::new();
    for value in values {
        text.push_str(&value.to_string());
        text.push('\n');
    }
    text
}
