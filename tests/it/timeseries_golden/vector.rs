//! The files of vectors: commands with the answers that RedisTimeSeries gave.

use serde::Deserialize;
use serde_json::Value;

use crate::support::in_repository;

/// A program: it starts on an empty server.
#[derive(Debug, Deserialize)]
pub struct Scenario {
    pub name: String,
    pub setup: Vec<Vec<String>>,
    pub steps: Vec<Step>,
}

#[derive(Debug, Deserialize)]
pub struct Step {
    pub cmd: Vec<String>,
    /// Absent, together with `error`, for an answer of nil.
    pub reply: Option<Value>,
    pub error: Option<String>,
    /// Another answer that is right as well.
    pub alt: Option<Alternative>,
    /// Why no other implementation should answer so.
    pub quirk: Option<String>,
}

#[derive(Debug, Deserialize)]
pub struct Alternative {
    pub reply: Option<Value>,
    pub error: Option<String>,
}

/// The answer to a command.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    Reply(Value),
    Error,
}

impl Step {
    /// Every answer that is right.
    pub fn expected(&self) -> Vec<Answer> {
        let alternative = self.alt.as_ref().map(|alt| answer(alt.reply.as_ref(), alt.error.as_ref()));
        std::iter::once(answer(self.reply.as_ref(), self.error.as_ref())).chain(alternative).collect()
    }
}

fn answer(reply: Option<&Value>, error: Option<&String>) -> Answer {
    if error.is_some() { Answer::Error } else { Answer::Reply(reply.cloned().unwrap_or_default()) }
}

/// The scenarios of `tests/golden/<family>.json`.
pub fn scenarios(family: &str) -> Vec<Scenario> {
    let path = in_repository(&format!("tests/golden/{family}.json"));
    let text = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
