//! The text of the API document: in the order in which a newcomer reads it.

use std::collections::HashMap;

use serde_json::Value;
use utoipa::openapi::OpenApi;

use super::openapi_parts::OPERATIONS;
use super::{openapi_components, openapi_examples};

/// Fields that stand before all others, in this order. Others are sorted.
const FIRST: [&str; 8] =
    ["openapi", "info", "servers", "tags", "paths", "summary", "description", "application/merge-patch+json"];

/// The longest line with more than one value.
const LINE: usize = 120;

/// The text of the document as it is checked in and served. Its order does not depend on the order of declarations,
/// except for paths.
///
/// # Errors
/// If a part of the document cannot be serialised, or the recorded responses are not JSON.
pub fn text(document: &OpenApi) -> Result<String, serde_json::Error> {
    let paths: Vec<&str> = document.paths.paths.keys().map(String::as_str).collect();
    let mut value = serde_json::to_value(document)?;
    openapi_examples::complete(&mut value)?;
    openapi_components::share(&mut value);
    let names = FIRST.iter().chain(&OPERATIONS).chain(&paths);
    let ranks = names.enumerate().map(|(rank, name)| (*name, rank)).collect();
    let mut text = String::new();
    Writer { ranks, text: &mut text }.write(&value, 0);
    text.push('\n');
    Ok(text)
}

/// Writes values. Fields are in the order of their ranks; those without a rank come last, sorted.
struct Writer<'a> {
    ranks: HashMap<&'a str, usize>,
    text: &'a mut String,
}

impl Writer<'_> {
    /// A value that fits on a line is on one line; any other value has a line for each part.
    fn write(&mut self, value: &Value, indent: usize) {
        let line = value.to_string();
        let used = self.text.len() - self.text.rfind('\n').map_or(0, |end| end + 1);
        let is_short = used + line.len() < LINE;
        let (open, close, parts) = match value {
            Value::Object(object) if !is_short => {
                let mut fields: Vec<(Option<&String>, &Value)> =
                    object.iter().map(|(name, part)| (Some(name), part)).collect();
                fields.sort_by_key(|(name, _)| {
                    name.map(|name| (self.ranks.get(name.as_str()).copied().unwrap_or(usize::MAX), name))
                });
                ("{", "}", fields)
            }
            Value::Array(items) if !is_short => ("[", "]", items.iter().map(|item| (None, item)).collect()),
            _ => return self.text.push_str(&line),
        };
        self.text.push_str(open);
        for (at, (name, part)) in parts.into_iter().enumerate() {
            self.text.push_str(if at == 0 { "\n" } else { ",\n" });
            self.text.extend(std::iter::repeat_n(' ', indent + 2));
            if let Some(name) = name {
                self.text.push_str(&Value::from(name.as_str()).to_string());
                self.text.push_str(": ");
            }
            // An example is data: its own text, on one line.
            if name.is_some_and(|name| name == "example") {
                self.text.push_str(&part.to_string());
            } else {
                self.write(part, indent + 2);
            }
        }
        self.text.push('\n');
        self.text.extend(std::iter::repeat_n(' ', indent));
        self.text.push_str(close);
    }
}
