//! Errors of warming, and the problems that each operation can return.

use std::time::Duration;

use axum::http::{HeaderName, HeaderValue};

use crate::http::problem::{INVALID_PATH, INVALID_QUERY, Problem, ProblemKind, WRONG_TYPE};
use crate::problems;
use crate::redis::{Outcome, RedisFault};

problems! { PROBLEMS:
    TASK_NOT_FOUND = "warming-task-not-found", NOT_FOUND, "There is no such warming task",
        "GET /warming lists all tasks. Nothing was changed.";
    RUN_NOT_FOUND = "warming-run-not-found", NOT_FOUND, "There is no such run",
        "A task keeps its newest 200 runs. GET /warming/tasks/{name}/runs lists them.";
    KEY_NOT_WARMED = "warming-key-unknown", NOT_FOUND, "No warming task has this key",
        "The key has the template of no task, so it has no source. GET /warming lists the templates.";
    VALUE_ABSENT = "warming-value-absent", NOT_FOUND, "The source has no such value",
        "The source was asked, recently or now, and has no value for this key.";
    SOURCE_FAILED = "warming-source-failed", BAD_GATEWAY, "The source failed",
        "The value is not in the cache, and its source did not give it. What is cached stays. Try again later.";
    TASK_CONFIGURED = "warming-task-configured", CONFLICT, "The task is part of the configuration",
        "A request can pause and run it. Change the configuration to change or remove it.";
    RUN_REQUESTED = "warming-run-requested", CONFLICT, "Another request for a run waits",
        "A task keeps one request until the run begins. Try again when it has.";
}

/// The problems of an operation on a task.
pub(super) static TASK: &[&ProblemKind] = &[&TASK_NOT_FOUND, &INVALID_PATH, &INVALID_QUERY];
/// The problems of an operation on a run.
pub(super) static RUN: &[&ProblemKind] = &[&RUN_NOT_FOUND, &INVALID_PATH, &INVALID_QUERY];
/// The problems of changing a task.
pub(super) static DEFINITION: &[&ProblemKind] = &[&TASK_CONFIGURED];
/// The problems of asking for a run.
pub(super) static REQUEST: &[&ProblemKind] = &[&RUN_REQUESTED];
/// The problems of an operation on a value.
pub(super) static KEY: &[&ProblemKind] = &[&KEY_NOT_WARMED, &INVALID_PATH, &INVALID_QUERY];
/// The problems of reading a value.
pub(super) static VALUE: &[&ProblemKind] = &[&VALUE_ABSENT, &SOURCE_FAILED, &WRONG_TYPE];
/// The problems of every read.
pub(super) static QUERY: &[&ProblemKind] = &[&INVALID_QUERY];

/// Says where an answer comes from.
pub(super) static STATE_HEADER: HeaderName = HeaderName::from_static("cache-state");

/// A field of a task and the rule that it violates.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TaskViolation {
    pub field: &'static str,
    pub rule: String,
}

#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum WarmingError {
    #[error("there is no task `{0}`")]
    TaskNotFound(String),
    #[error("there is no run `{0}`")]
    RunNotFound(String),
    #[error("the key `{0}` has the template of no task")]
    KeyUnknown(String),
    #[error("the source has no value for this key")]
    Absent,
    #[error("something else than a value of the cache is stored under this key")]
    Foreign,
    #[error("the source failed: {reason}")]
    Source { reason: String, retry_after: Duration },
    #[error("the task `{0}` is part of the configuration")]
    Configured(String),
    #[error("a run of the task `{0}` was requested already, and has not begun")]
    Requested(String),
    /// A field of the body violates a rule.
    #[error("{} {rule}", pointer.trim_start_matches('/'))]
    Invalid { pointer: String, rule: String },
    #[error(transparent)]
    Redis(#[from] RedisFault),
}

impl WarmingError {
    pub(super) fn invalid(pointer: impl Into<String>, rule: impl Into<String>) -> Self {
        Self::Invalid { pointer: pointer.into(), rule: rule.into() }
    }

    /// Marks the requested change as applied, if only a later step failed.
    pub(super) fn applied(self) -> Self {
        if let Self::Redis(fault) = self { fault.applied().into() } else { self }
    }
}

impl From<WarmingError> for Problem {
    fn from(error: WarmingError) -> Self {
        let kind = match &error {
            WarmingError::Redis(fault) => return Self::from(fault.clone()),
            WarmingError::Invalid { pointer, rule } => {
                return Self::body_field(pointer, rule).outcome(Outcome::NotApplied);
            }
            WarmingError::TaskNotFound(_) => &TASK_NOT_FOUND,
            WarmingError::RunNotFound(_) => &RUN_NOT_FOUND,
            WarmingError::KeyUnknown(_) => &KEY_NOT_WARMED,
            WarmingError::Absent => {
                return Self::new(&VALUE_ABSENT)
                    .detail(&error)
                    .header(STATE_HEADER.clone(), HeaderValue::from_static("absent"));
            }
            WarmingError::Foreign => &WRONG_TYPE,
            WarmingError::Source { .. } => &SOURCE_FAILED,
            WarmingError::Configured(_) => &TASK_CONFIGURED,
            WarmingError::Requested(_) => &RUN_REQUESTED,
        };
        let problem = Self::new(kind).detail(&error);
        match error {
            WarmingError::Source { retry_after, .. } => problem.retry_after(retry_after),
            WarmingError::Requested(_) => problem.retry_after(Duration::from_secs(1)).outcome(Outcome::NotApplied),
            _ => problem,
        }
    }
}
