//! Translates commands into requests.

use axum::http::Method;
use serde_json::Value;

use super::reason::Reason;
use super::vectors::Step;
use crate::support::{Reply, TestApp};

pub enum Translation {
    Excepted(Reason),
    /// A command about the key itself, which is sent to Redis.
    Redis {
        command: Vec<String>,
        expected: Value,
    },
    /// `difference`: the answer intentionally differs, and the requests keep the documents equal.
    Requests {
        requests: Vec<Request>,
        difference: Option<Reason>,
    },
    /// A change of every member; the module changes some of them before it fails.
    HalfApplied {
        key: String,
        operation: &'static str,
        by: String,
    },
}

#[derive(Clone)]
pub struct Request {
    pub method: Method,
    pub path: String,
    pub headers: Vec<(&'static str, &'static str)>,
    pub body: String,
}

impl Request {
    fn new(method: Method, path: String) -> Self {
        Self { method, path, headers: Vec::new(), body: String::new() }
    }

    fn with(mut self, media_type: &'static str, body: impl Into<String>) -> Self {
        self.headers.push(("content-type", media_type));
        self.body = body.into();
        self
    }

    pub async fn send(self, app: &TestApp) -> Reply {
        app.send(self.method, &self.path, &self.headers, self.body).await
    }
}

/// The effects of earlier steps of a scenario on later ones.
#[derive(Debug, Default)]
pub struct History {
    /// The module moved members, so its lists have another order.
    pub reordered: bool,
    /// The key holds a string that is JSON: the module sees another type, the service a document.
    pub native_text: bool,
}

const JSON: &str = "application/json";

/// The name of the key in Redis.
fn name(key: &str) -> String {
    format!("json:{key}")
}

fn encode(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// `/json/{key}` with a suffix, and paths in the query.
fn address(key: &str, rest: &str, paths: &[&str]) -> String {
    let query: Vec<String> = paths.iter().map(|path| format!("path={}", encode(path))).collect();
    let mark = if query.is_empty() { "" } else { "?" };
    format!("/json/{}{rest}{mark}{}", encode(key), query.join("&"))
}

fn requests(request: Request) -> Translation {
    Translation::Requests { requests: vec![request], difference: None }
}

fn get(key: &str, rest: &str, paths: &[&str]) -> Translation {
    requests(Request::new(Method::GET, address(key, rest, paths)))
}

/// A change with a body of fields whose values are JSON text, valid or not.
fn post(key: &str, operation: &str, fields: &[(&str, &str)]) -> Translation {
    let fields: Vec<String> = fields.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    let request = Request::new(Method::POST, address(key, &format!("/{operation}"), &[]));
    requests(request.with(JSON, format!("{{{}}}", fields.join(","))))
}

fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

pub fn translate(step: &Step, history: &mut History) -> Translation {
    let words: Vec<&str> = step.cmd.iter().map(String::as_str).collect();
    let Some((command, arguments)) = words.split_first() else { return Translation::Excepted(Reason::CommandLine) };
    match (*command, arguments) {
        ("JSON.SET", [key, path, value, options @ ..]) => set(key, path, value, options),
        ("JSON.GET", [_, options @ ..]) if options.iter().any(|word| is_format(word)) => {
            Translation::Excepted(Reason::Formatting)
        }
        ("JSON.GET", [key, paths @ ..]) => get(key, "", paths),
        ("JSON.DEL" | "JSON.FORGET", [key, path @ ..]) => {
            history.reordered = true;
            let path: Vec<&str> = path.iter().copied().take(1).collect();
            requests(Request::new(Method::DELETE, address(key, "", &path)))
        }
        ("JSON.MERGE", [key, path, value]) => {
            history.reordered |= value.contains("null");
            let request = Request::new(Method::PATCH, address(key, "", &[path]));
            requests(request.with("application/merge-patch+json", *value))
        }
        ("JSON.TYPE", [key, path @ ..]) => get(key, "/type", or_legacy_root(path)),
        ("JSON.OBJKEYS", [key, path @ ..]) => get(key, "/keys", or_legacy_root(path)),
        ("JSON.STRLEN", [key, path @ ..]) => length(key, path, "string"),
        ("JSON.ARRLEN", [key, path @ ..]) => length(key, path, "array"),
        ("JSON.OBJLEN", [key, path @ ..]) => length(key, path, "object"),
        ("JSON.ARRAPPEND", [key, path, values @ ..]) if !values.is_empty() => {
            post(key, "array/append", &[("path", &quoted(path)), ("values", &list(values))])
        }
        ("JSON.ARRINSERT", [key, path, index, values @ ..]) if !values.is_empty() => {
            post(key, "array/insert", &[("path", &quoted(path)), ("index", index), ("values", &list(values))])
        }
        ("JSON.ARRPOP", [key, path @ ..]) => pop(key, path),
        ("JSON.ARRTRIM", [key, path, first, last]) => {
            post(key, "array/trim", &[("path", &quoted(path)), ("start", first), ("stop", last)])
        }
        ("JSON.NUMINCRBY", [key, path, by]) => calculate(step, key, "number/increment", path, by),
        ("JSON.NUMMULTBY", [key, path, by]) => calculate(step, key, "number/multiply", path, by),
        ("JSON.MGET", [keys @ .., path]) if !keys.is_empty() => read_together(keys, path),
        ("JSON.MSET", words) if step.reply.is_some() => store_together(words),
        ("JSON.MSET", _) => Translation::Excepted(Reason::SeveralKeys),
        ("JSON.STRAPPEND", [key, value]) => post(key, "string/append", &[("path", "\".\""), ("value", value)]),
        ("JSON.STRAPPEND", [key, path, value]) => {
            post(key, "string/append", &[("path", &quoted(path)), ("value", value)])
        }
        ("JSON.TOGGLE", [key, path]) => post(key, "toggle", &[("path", &quoted(path))]),
        ("JSON.CLEAR", [key]) => post(key, "clear", &[]),
        ("JSON.CLEAR", [key, path]) => post(key, "clear", &[("path", &quoted(path))]),
        ("JSON.ARRINDEX" | "JSON.RESP", _) => Translation::Excepted(Reason::NotOffered),
        ("SET", [key, value]) if serde_json::from_str::<Value>(value).is_ok() => {
            history.native_text = true;
            Translation::Excepted(Reason::TextDocuments)
        }
        _ if history.native_text => Translation::Excepted(Reason::TextDocuments),
        ("EXISTS", [key]) => of_redis("EXISTS", &[key], &[], step),
        ("SET", [key, value]) => of_redis("SET", &[key], &[value], step),
        ("EXPIRE", [key, seconds]) => of_redis("EXPIRE", &[key], &[seconds], step),
        ("TTL" | "PERSIST", [key]) => of_redis(command, &[key], &[], step),
        ("RENAME" | "COPY", [from, to]) => of_redis(command, &[from, to], &[], step),
        ("DEL", keys) => of_redis("DEL", keys, &[], step),
        ("GET", [key]) if step.reply.is_some() => of_redis("GET", &[key], &[], step),
        // A key of another type.
        ("TS.CREATE", [key]) => {
            let command = ["HSET", &name(key), "field", "value"].map(str::to_owned).to_vec();
            Translation::Redis { command, expected: Value::from(1) }
        }
        _ if command.starts_with("JSON.") => Translation::Excepted(Reason::CommandLine),
        _ => Translation::Excepted(Reason::OtherCommands),
    }
}

fn is_format(word: &str) -> bool {
    ["INDENT", "NEWLINE", "SPACE", "FORMAT", "NOESCAPE"].iter().any(|known| word.eq_ignore_ascii_case(known))
}

/// Commands that return one value if no path is given.
fn or_legacy_root<'a>(path: &'a [&'a str]) -> &'a [&'a str] {
    if path.is_empty() { &["."] } else { path }
}

fn length(key: &str, path: &[&str], of: &str) -> Translation {
    let query = address(key, "/length", or_legacy_root(path));
    requests(Request::new(Method::GET, format!("{query}&of={of}")))
}

fn list(values: &[&str]) -> String {
    format!("[{}]", values.join(","))
}

fn set(key: &str, path: &str, value: &str, options: &[&str]) -> Translation {
    let mut request = Request::new(Method::PUT, address(key, "", &[path])).with(JSON, value);
    match options {
        [] => {}
        [option] if option.eq_ignore_ascii_case("NX") => request.headers.push(("if-none-match", "*")),
        [option] if option.eq_ignore_ascii_case("XX") => request.headers.push(("if-match", "*")),
        _ => return Translation::Excepted(Reason::CommandLine),
    }
    // Repeated names are rejected; the document is set to the value that the module read.
    if let Some(read) = with_names_twice(value) {
        let refused = Request::new(Method::PUT, address(key, "", &[path])).with(JSON, value);
        request.body = read.to_string();
        return Translation::Requests { requests: vec![refused, request], difference: Some(Reason::DuplicateNames) };
    }
    requests(request)
}

/// The value that `serde_json`, like the module, reads from a text in which it drops members.
fn with_names_twice(text: &str) -> Option<Value> {
    let read: Value = serde_json::from_str(text).ok()?;
    // Every `:` outside a string follows a name.
    let mut in_string = false;
    let mut previous = ' ';
    let mut named = 0;
    for character in text.chars() {
        in_string ^= character == '"' && previous != '\\';
        named += usize::from(character == ':' && !in_string);
        previous = if previous == '\\' { ' ' } else { character };
    }
    (named > members(&read)).then_some(read)
}

fn members(value: &Value) -> usize {
    match value {
        Value::Object(fields) => fields.len() + fields.values().map(members).sum::<usize>(),
        Value::Array(items) => items.iter().map(members).sum(),
        _ => 0,
    }
}

fn pop(key: &str, path: &[&str]) -> Translation {
    match path {
        [] => post(key, "array/pop", &[("path", "\".\"")]),
        [path] => post(key, "array/pop", &[("path", &quoted(path))]),
        [path, index, ..] if index.parse::<i64>().is_ok() => {
            post(key, "array/pop", &[("path", &quoted(path)), ("index", index)])
        }
        // The module reads it as -1.
        [path, ..] => match post(key, "array/pop", &[("path", &quoted(path))]) {
            Translation::Requests { requests, .. } => {
                Translation::Requests { requests, difference: Some(Reason::UntypedIndex) }
            }
            other => other,
        },
    }
}

fn calculate(step: &Step, key: &str, operation: &'static str, path: &str, by: &str) -> Translation {
    if step.reply.is_none() && path == "$.*" {
        return Translation::HalfApplied { key: key.to_owned(), operation, by: by.to_owned() };
    }
    post(key, operation, &[("path", &quoted(path)), ("by", by)])
}

impl Request {
    /// The names of a document's members.
    pub fn members(key: &str) -> Self {
        Self::new(Method::GET, address(key, "/keys", &["$"]))
    }

    /// Arithmetic on what a path selects.
    pub fn calculation(key: &str, operation: &str, path: &str, by: &str) -> Self {
        let request = Self::new(Method::POST, address(key, &format!("/{operation}"), &[]));
        request.with(JSON, format!("{{\"path\":{},\"by\":{by}}}", quoted(path)))
    }
}

fn read_together(keys: &[&str], path: &str) -> Translation {
    let items: Vec<Value> = keys.iter().map(|key| serde_json::json!({ "key": key, "paths": [path] })).collect();
    let request = Request::new(Method::POST, "/json/batch".to_owned());
    requests(request.with(JSON, serde_json::json!({ "get": items }).to_string()))
}

fn store_together(words: &[&str]) -> Translation {
    let items: Vec<String> = words
        .chunks_exact(3)
        .map(|item| format!("{{\"key\":{},\"path\":{},\"value\":{}}}", quoted(item[0]), quoted(item[1]), item[2]))
        .collect();
    let request = Request::new(Method::POST, "/json/batch".to_owned());
    requests(request.with(JSON, format!("{{\"set\":[{}]}}", items.join(","))))
}

fn of_redis(command: &str, keys: &[&str], rest: &[&str], step: &Step) -> Translation {
    let mut words = vec![command.to_owned()];
    words.extend(keys.iter().map(|key| name(key)));
    words.extend(rest.iter().map(|word| (*word).to_owned()));
    Translation::Redis { command: words, expected: step.reply.clone().unwrap_or_default() }
}
