//! The recorded scenarios.

use serde::Deserialize;
use serde_json::Value;

use crate::support::in_repository;

#[derive(Debug, Deserialize)]
pub struct Scenario {
    pub name: String,
    pub setup: Vec<Vec<String>>,
    pub steps: Vec<Step>,
}

/// A command and the module's answer to it.
#[derive(Debug, Deserialize)]
pub struct Step {
    pub cmd: Vec<String>,
    /// Absent when the module answered an error; `Some(Null)` is nil.
    #[serde(default, deserialize_with = "given")]
    pub reply: Option<Value>,
    /// The answer of the module's 8.0, where it differs.
    #[serde(default)]
    pub alt: Option<Alternative>,
}

#[derive(Debug, Deserialize)]
pub struct Alternative {
    #[serde(default, deserialize_with = "given")]
    pub reply: Option<Value>,
}

fn given<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

impl Step {
    /// A command of a setup: it succeeds.
    pub fn setup(command: &[String]) -> Self {
        Self { cmd: command.to_vec(), reply: Some(Value::from("OK")), alt: None }
    }

    /// Every answer that is right: the module's, and that of its other version; `None` stands for an error.
    pub fn answers(&self) -> Vec<Option<&Value>> {
        let mut answers = vec![self.reply.as_ref()];
        answers.extend(self.alt.as_ref().map(|alt| alt.reply.as_ref()));
        answers
    }

    pub fn text(&self) -> String {
        self.cmd.join(" ")
    }
}

pub fn load(family: &str) -> Vec<Scenario> {
    let text = std::fs::read(in_repository(&format!("tests/golden/{family}.json"))).expect("the vectors");
    serde_json::from_slice(&text).expect("scenarios")
}
