//! Errors of queries, in the form of Prometheus.

use super::super::error::TimeseriesError;
use crate::http::problem::Problem;
use crate::redis::RedisFault;

/// The `errorType` of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::features::timeseries) enum PromErrorKind {
    /// A parameter is wrong: 400.
    BadData,
    /// The query cannot be evaluated here: 422.
    Execution,
    /// Redis is unavailable: 503.
    Unavailable,
    /// Redis did not answer in time: 504.
    Timeout,
    /// A bug in the service: 500.
    Internal,
}

impl PromErrorKind {
    pub(in crate::features::timeseries) const fn name(self) -> &'static str {
        match self {
            Self::BadData => "bad_data",
            Self::Execution => "execution",
            Self::Unavailable => "unavailable",
            Self::Timeout => "timeout",
            Self::Internal => "internal",
        }
    }
}

/// An error with its kind and a text for people.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub(in crate::features::timeseries) struct PromError {
    pub kind: PromErrorKind,
    pub text: String,
}

impl PromError {
    pub(super) fn new(kind: PromErrorKind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into() }
    }

    /// A parameter that violates a rule.
    pub(super) fn bad(parameter: &str, rule: &str) -> Self {
        Self::new(PromErrorKind::BadData, format!("{parameter} {rule}"))
    }

    /// A part of the language that the service does not support.
    pub(super) fn unsupported(what: &str) -> Self {
        Self::new(PromErrorKind::Execution, format!("{what} is not supported"))
    }

    /// A query that cannot be evaluated, or that exceeds a limit.
    pub(super) fn execution(text: impl Into<String>) -> Self {
        Self::new(PromErrorKind::Execution, text)
    }

    pub(super) fn internal(text: &str) -> Self {
        Self::new(PromErrorKind::Internal, text)
    }
}

impl From<RedisFault> for PromError {
    fn from(fault: RedisFault) -> Self {
        TimeseriesError::from(fault).into()
    }
}

/// The status of the corresponding problem determines the kind.
impl From<TimeseriesError> for PromError {
    fn from(error: TimeseriesError) -> Self {
        let text = error.to_string();
        let problem = Problem::from(error);
        let kind = match problem.status().as_u16() {
            504 => PromErrorKind::Timeout,
            503 => PromErrorKind::Unavailable,
            500.. => PromErrorKind::Internal,
            _ => PromErrorKind::Execution,
        };
        if kind != PromErrorKind::Execution {
            tracing::warn!(error = %text, code = problem.kind().slug, "Prometheus query failed");
        }
        Self::new(kind, format!("{}: {text}", problem.kind().slug))
    }
}
