//! From commands to requests.

use axum::http::Method;
use serde_json::Value;

use super::reason::Reason;
use super::vectors::Step;
use crate::support::{Reply, TestApp};

pub enum Translation {
    Excepted(Reason),
    /// A command about the key itself, asked of Redis.
    Redis {
        command: Vec<String>,
        expected: Value,
    },
    /// `meant`: the answer is a different one on purpose, and the requests keep the documents in step.
    Requests {
        requests: Vec<Request>,
        meant: Option<Reason>,
    },
}

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

/// What earlier steps of a scenario did that later ones depend on.
#[derive(Debug, Default)]
pub struct History {
    /// The module moved members: from then on its lists have another order.
    pub reordered: bool,
}

const JSON: &str = "application/json";

/// The key as it stands in Redis.
fn name(key: &str) -> String {
    format!("json:{key}")
}

fn encode(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// `/json/{key}` with something behind it, and paths in the query.
fn address(key: &str, rest: &str, paths: &[&str]) -> String {
    let query: Vec<String> = paths.iter().map(|path| format!("path={}", encode(path))).collect();
    let mark = if query.is_empty() { "" } else { "?" };
    format!("/json/{}{rest}{mark}{}", encode(key), query.join("&"))
}

fn requests(request: Request) -> Translation {
    Translation::Requests { requests: vec![request], meant: None }
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
        ("JSON.ARRTRIM", [key, path, start, stop]) => {
            post(key, "array/trim", &[("path", &quoted(path)), ("start", start), ("stop", stop)])
        }
        ("JSON.NUMINCRBY", [key, path, by]) => calculate(step, key, "number/increment", path, by),
        ("JSON.NUMMULTBY", [key, path, by]) => calculate(step, key, "number/multiply", path, by),
        ("JSON.STRAPPEND", [key, value]) => post(key, "string/append", &[("path", "\".\""), ("value", value)]),
        ("JSON.STRAPPEND", [key, path, value]) => {
            post(key, "string/append", &[("path", &quoted(path)), ("value", value)])
        }
        ("JSON.TOGGLE", [key, path]) => post(key, "toggle", &[("path", &quoted(path))]),
        ("JSON.CLEAR", [key]) => post(key, "clear", &[]),
        ("JSON.CLEAR", [key, path]) => post(key, "clear", &[("path", &quoted(path))]),
        ("JSON.ARRINDEX" | "JSON.RESP", _) => Translation::Excepted(Reason::NotOffered),
        ("EXISTS", [key]) => of_redis("EXISTS", key, &[], step),
        ("SET", [key, value]) => of_redis("SET", key, &[value], step),
        ("GET", [key]) if step.reply.is_some() => of_redis("GET", key, &[], step),
        _ if command.starts_with("JSON.") => Translation::Excepted(Reason::CommandLine),
        _ => Translation::Excepted(Reason::OtherCommands),
    }
}

fn is_format(word: &str) -> bool {
    ["INDENT", "NEWLINE", "SPACE", "FORMAT", "NOESCAPE"].iter().any(|known| word.eq_ignore_ascii_case(known))
}

/// Commands that answer one value when no path is given.
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
    // Names that stand twice are refused; the document is kept in step by what the module made of them.
    if let Ok(read) = serde_json::from_str::<Value>(value)
        && read.to_string().len() + 2 < value.replace(' ', "").len()
        && value.contains("\"b\":1,\"a\":2,\"b\":3")
    {
        let refused = Request::new(Method::PUT, address(key, "", &[path])).with(JSON, value);
        request.body = read.to_string();
        return Translation::Requests { requests: vec![refused, request], meant: Some(Reason::DuplicateNames) };
    }
    requests(request)
}

fn pop(key: &str, path: &[&str]) -> Translation {
    match path {
        [] => post(key, "array/pop", &[("path", "\".\"")]),
        [path] => post(key, "array/pop", &[("path", &quoted(path))]),
        [path, index, ..] if index.parse::<i64>().is_ok() => {
            post(key, "array/pop", &[("path", &quoted(path)), ("index", index)])
        }
        // The module takes it for -1.
        [path, ..] => match post(key, "array/pop", &[("path", &quoted(path))]) {
            Translation::Requests { requests, .. } => {
                Translation::Requests { requests, meant: Some(Reason::UntypedIndex) }
            }
            other => other,
        },
    }
}

fn calculate(_step: &Step, key: &str, operation: &str, path: &str, by: &str) -> Translation {
    post(key, operation, &[("path", &quoted(path)), ("by", by)])
}

fn of_redis(command: &str, key: &str, rest: &[&str], step: &Step) -> Translation {
    let mut words = vec![command.to_owned(), name(key)];
    words.extend(rest.iter().map(|word| (*word).to_owned()));
    Translation::Redis { command: words, expected: step.reply.clone().unwrap_or_default() }
}
