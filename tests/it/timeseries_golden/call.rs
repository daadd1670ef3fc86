//! A command as calls of the service.

use axum::http::Method;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use super::vector::Answer;
use crate::support::{Reply, TestApp};

/// A command that HTTP cannot express, with the reason that docs/timeseries.md gives.
#[derive(Clone, Copy, Debug)]
pub struct Inexpressible(pub &'static str);

impl Inexpressible {
    pub const SYNTAX: Self = Self("syntax of the command line");
    pub const UNKNOWN_WORDS: Self = Self("words that the module ignores");
    pub const OTHER_COMMANDS: Self = Self("commands of Redis itself");
    pub const ROLLUPS: Self = Self("compaction rules");
    pub const INCREMENT: Self = Self("not yet: increments");
    pub const ON_DUPLICATE: Self = Self("not yet: a policy for one sample");
    pub const IGNORE: Self = Self("samples that are too close to the one before");
    pub const LABEL_NAMES: Self = Self("label names outside of letters, digits and `_.-`");
    pub const FAR_TIMES: Self = Self("timestamps behind the last possible one");
    pub const STATE: Self = Self("steps behind one that cannot be expressed");
}

pub type Called = Result<Answer, Inexpressible>;

/// Runs the commands of one scenario.
pub struct Caller<'a> {
    pub app: &'a TestApp,
    /// Why the server no longer holds what the module would hold.
    lost: Option<Inexpressible>,
}

impl<'a> Caller<'a> {
    pub fn new(app: &'a TestApp) -> Self {
        Self { app, lost: None }
    }

    /// What the service answers, in the module's form.
    pub async fn run(&mut self, command: &[String]) -> Called {
        if self.lost.is_some() {
            return Err(Inexpressible::STATE);
        }
        let called = self.call(command).await;
        if let Err(reason) = called
            && changes_something(command)
        {
            self.lost = Some(reason);
        }
        called
    }

    async fn call(&mut self, command: &[String]) -> Called {
        let (name, words) = command.split_first().expect("a command has a name");
        match name.to_ascii_uppercase().as_str() {
            "TS.CREATE" => self.create(words).await,
            "TS.ALTER" => self.alter(words).await,
            "TS.ADD" => self.add(words).await,
            "TS.MADD" => self.add_many(words).await,
            "TS.DEL" => self.delete(words).await,
            "TS.GET" => self.latest(words).await,
            "TS.INFO" => self.describe(words).await,
            "TS.RANGE" => self.range(words, false).await,
            "TS.REVRANGE" => self.range(words, true).await,
            "TS.MRANGE" => self.many_ranges(words, false).await,
            "TS.MREVRANGE" => self.many_ranges(words, true).await,
            "TS.MGET" => self.many_latest(words).await,
            "TS.QUERYINDEX" => self.keys_by_label(words).await,
            "TS.INCRBY" | "TS.DECRBY" => Err(Inexpressible::INCREMENT),
            "TS.CREATERULE" | "TS.DELETERULE" => Err(Inexpressible::ROLLUPS),
            "DEL" => self.drop_series(words).await,
            "EXISTS" => self.exists(words).await,
            _ => Err(Inexpressible::OTHER_COMMANDS),
        }
    }

    pub async fn send(&self, method: Method, path: &str, body: String) -> Reply {
        let json = ("content-type", "application/json");
        self.app.send(method, path, &[json], body).await
    }
}

/// Whether the commands behind this one would be judged on another state without it.
fn changes_something(command: &[String]) -> bool {
    let name = command.first().map(|name| name.to_ascii_uppercase()).unwrap_or_default();
    let reads = ["TS.GET", "TS.MGET", "TS.RANGE", "TS.REVRANGE", "TS.MRANGE", "TS.MREVRANGE", "TS.INFO"];
    let others = ["TS.QUERYINDEX", "TYPE", "EXISTS", "GET", "TTL", "PERSIST"];
    !reads.contains(&name.as_str()) && !others.contains(&name.as_str())
}

/// The series' path.
pub fn path(key: &str) -> String {
    format!("/timeseries/{}", escaped(key))
}

/// Text as a part of a path or query.
pub fn escaped(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// The body's answer if the call went well, or the fact that it was refused; anything else is a failure of the test.
pub fn answered(reply: &Reply, form: impl FnOnce(Value) -> Value) -> Answer {
    if reply.status.is_success() {
        let body = if reply.body.is_empty() { json!(null) } else { reply.json() };
        return Answer::Reply(form(body));
    }
    assert!(reply.status.is_client_error(), "{reply:?}");
    Answer::Error
}
