//! The effective settings as a TOML file.

use std::fmt::Write as _;

use toml::{Table, Value};

use super::Config;
use super::redis::ServerUrl;

/// What replaces a secret.
const MASK: &str = "***";

impl Config {
    /// The effective settings as TOML. A comment behind each setting names its source.
    ///
    /// Secrets are masked. A setting with a masked secret is a comment as a whole, so that the text is a valid configuration
    /// file without it.
    pub fn to_toml(&self) -> String {
        let mut text = String::new();
        self.write_table(&mut text, &mut Vec::new(), &self.tree);
        text
    }

    fn write_table(&self, text: &mut String, path: &mut Vec<String>, table: &Table) {
        let header: Vec<String> = path.iter().map(|name| key(name)).collect();
        let (tables, settings): (Vec<_>, Vec<_>) = table.iter().partition(|(_, value)| value.is_table());
        // Writing to a String cannot fail.
        if !path.is_empty() && (!settings.is_empty() || tables.is_empty()) {
            let _ = writeln!(text, "\n[{}]", header.join("."));
        }
        for (name, value) in settings {
            path.push(name.clone());
            let mut shown = value.clone();
            let is_masked = mask(&mut shown, name, path.first().is_some_and(|section| section == "json"));
            let origin = self.origin_of(&path.join("."));
            let setting = format!("{} = {}  # {origin}", key(name), several_lines(&shown));
            for line in setting.lines() {
                let _ = writeln!(text, "{}{line}", if is_masked { "# " } else { "" });
            }
            path.pop();
        }
        for (name, value) in tables {
            if let Value::Table(table) = value {
                path.push(name.clone());
                self.write_table(text, path, table);
                path.pop();
            }
        }
    }
}

/// A key, in quotes if it needs them.
fn key(name: &str) -> String {
    let is_bare = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if !name.is_empty() && name.bytes().all(is_bare) { name.to_owned() } else { format!("{name:?}") }
}

/// The value in TOML notation, with a line for each table of a list.
fn several_lines(value: &Value) -> String {
    match value {
        Value::Array(items) if items.iter().any(Value::is_table) => {
            let lines: Vec<String> = items.iter().map(|item| format!("    {item},")).collect();
            format!("[\n{}\n]", lines.join("\n"))
        }
        other => other.to_string(),
    }
}

/// Masks the secrets in a value, and returns whether it has any. The name `key` is that of a secret only in `[json]`.
fn mask(value: &mut Value, name: &str, is_json: bool) -> bool {
    match value {
        Value::String(text) => {
            let shown = match name {
                "password" | "secret" | "jwt_secret" => MASK.to_owned(),
                "key" if is_json => MASK.to_owned(),
                _ if text.contains("://") => ServerUrl::from(text.as_str()).to_string(),
                _ => return false,
            };
            let is_masked = shown != *text;
            *text = shown;
            is_masked
        }
        Value::Array(items) => items.iter_mut().fold(false, |masked, item| mask(item, name, is_json) | masked),
        Value::Table(table) => table.iter_mut().fold(false, |masked, (name, item)| mask(item, name, is_json) | masked),
        // A secret that is no text is an error of its section.
        _ => false,
    }
}
