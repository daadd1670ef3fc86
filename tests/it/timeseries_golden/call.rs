//! A command as calls of the service.

use std::collections::BTreeSet;

use axum::http::Method;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use super::rules::Rule;
use super::vector::Answer;
use crate::support::{Reply, TestApp};

/// A command that HTTP cannot express, with the reason that docs/timeseries.md gives.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Inexpressible(pub &'static str);

impl Inexpressible {
    pub const SYNTAX: Self = Self("syntax of the command line");
    pub const UNKNOWN_WORDS: Self = Self("words that the module ignores");
    pub const OTHER_COMMANDS: Self = Self("commands of Redis itself");
    pub const RULES: Self = Self("series that rules write to");
    pub const PAST: Self = Self("rules that do not know what was there before them");
    pub const INCREMENT: Self = Self("increments");
    pub const IGNORE: Self = Self("samples that are too close to the one before");
    pub const LABEL_NAMES: Self = Self("label names outside of letters, digits and `_.-`");
    pub const FAR_TIMES: Self = Self("timestamps behind the last possible one");
    pub const STATE: Self = Self("steps behind one that cannot be expressed");
}

pub type Called = Result<Answer, Inexpressible>;

/// Runs the commands of one scenario.
pub struct Caller<'a> {
    pub app: &'a TestApp,
    /// Series that do not hold what the module would hold.
    lost: BTreeSet<String>,
    pub rules: Vec<Rule>,
}

impl<'a> Caller<'a> {
    pub fn new(app: &'a TestApp) -> Self {
        Self { app, lost: BTreeSet::new(), rules: Vec::new() }
    }

    /// What the service answers, in the module's form.
    pub async fn run(&mut self, command: &[String]) -> Called {
        let depends = match target(command) {
            Target::Series(keys) => keys.iter().any(|key| self.lost.contains(*key)),
            Target::All => !self.lost.is_empty(),
        };
        if !depends {
            return self.call(command).await;
        }
        // After a deletion both sides are equal again.
        if let [name, keys @ ..] = command
            && name == "DEL"
        {
            self.call(command).await.ok();
            self.lost.retain(|lost| !keys.contains(lost));
        }
        Err(Inexpressible::STATE)
    }

    /// Notes that the module did what a command says, and the service did not.
    pub fn miss(&mut self, command: &[String]) {
        let keys = match target(command) {
            Target::Series(_) if command.first().is_some_and(|name| name == "DEL") => return,
            Target::Series(keys) => keys,
            // Whatever it is, some series may be another one from here on.
            Target::All => vec!["*"],
        };
        self.lost.extend(keys.into_iter().map(str::to_owned));
    }

    /// Notes that a series no longer holds what the module's does.
    pub fn lose(&mut self, key: String) {
        self.lost.insert(key);
    }

    async fn call(&mut self, command: &[String]) -> Called {
        let (name, words) = command.split_first().expect("a command has a name");
        if let Some(answer) = self.of_destination(name, words).await {
            return answer;
        }
        self.end_rules(command);
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
            "TS.INCRBY" => self.increment(words, 1.0).await,
            "TS.DECRBY" => self.increment(words, -1.0).await,
            "TS.CREATERULE" => self.create_rule(words).await,
            "TS.DELETERULE" => self.delete_rule(words).await,
            "DEL" => self.drop_series(words).await,
            "EXISTS" => self.exists(words).await,
            "SET" => self.occupy(words).await,
            _ => Err(Inexpressible::OTHER_COMMANDS),
        }
    }

    pub async fn send(&self, method: Method, path: &str, body: String) -> Reply {
        let json = ("content-type", "application/json");
        self.app.send(method, path, &[json], body).await
    }
}

/// Which series a command reads or changes.
enum Target<'a> {
    Series(Vec<&'a str>),
    All,
}

fn target(command: &[String]) -> Target<'_> {
    let [name, words @ ..] = command else { return Target::All };
    match name.to_ascii_uppercase().as_str() {
        "TS.MRANGE" | "TS.MREVRANGE" | "TS.MGET" | "TS.QUERYINDEX" | "FLUSHALL" => Target::All,
        "TS.MADD" => Target::Series(words.iter().step_by(3).map(String::as_str).collect()),
        "TS.CREATERULE" | "RENAME" | "COPY" | "DEL" => {
            Target::Series(words.iter().take(2).map(String::as_str).collect())
        }
        _ => Target::Series(words.iter().take(1).map(String::as_str).collect()),
    }
}

/// Whether a command can change a series.
pub fn changes_something(command: &[String]) -> bool {
    const READS: &[&str] = &[
        "TS.GET",
        "TS.MGET",
        "TS.RANGE",
        "TS.REVRANGE",
        "TS.MRANGE",
        "TS.MREVRANGE",
        "TS.INFO",
        "TS.QUERYINDEX",
        "TYPE",
        "EXISTS",
        "GET",
        "TTL",
        "PERSIST",
    ];
    command.first().is_none_or(|name| READS.iter().all(|read| !read.eq_ignore_ascii_case(name)))
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
