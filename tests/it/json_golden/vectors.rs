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
    /// Absent if the module answered an error; `Some(Null)` is nil.
    #[serde(default, deserialize_with = "given")]
    pub reply: Option<Value>,
    /// The answer of version 8.0 of the module, if it differs.
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
    /// A command of the setup, which succeeds.
    pub fn setup(command: &[String]) -> Self {
        Self { cmd: command.to_vec(), reply: Some(Value::from("OK")), alt: None }
    }

    /// Every correct answer: the module's, and that of its other version; `None` is an error.
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
