//! Errors of queries, in the form of Prometheus.

use std::fmt;

use axum::http::StatusCode;

use super::super::error::TimeseriesError;
use crate::http::problem::Problem;
use crate::lifecycle::offload::NoThread;
use crate::redis::RedisFault;
use crate::telemetry::episodes;

/// An error with its status and a text for people.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub(in crate::features::timeseries) struct PromError {
    pub status: StatusCode,
    pub text: String,
}

impl PromError {
    /// The `errorType` of the response.
    pub(super) fn kind(&self) -> &'static str {
        match self.status {
            StatusCode::BAD_REQUEST => "bad_data",
            StatusCode::UNPROCESSABLE_ENTITY => "execution",
            StatusCode::SERVICE_UNAVAILABLE => "unavailable",
            StatusCode::GATEWAY_TIMEOUT => "timeout",
            _ => "internal",
        }
    }

    /// A parameter that violates a rule.
    pub(super) fn bad(parameter: &str, rule: impl fmt::Display) -> Self {
        Self { status: StatusCode::BAD_REQUEST, text: format!("{parameter} {rule}") }
    }

    /// A part of the language that the service does not support.
    pub(super) fn unsupported(what: &str) -> Self {
        Self::execution(format!("{what} is not supported"))
    }

    /// A query that cannot be evaluated, or that exceeds a limit.
    pub(super) fn execution(text: impl Into<String>) -> Self {
        Self { status: StatusCode::UNPROCESSABLE_ENTITY, text: text.into() }
    }

    pub(super) fn internal(text: &str) -> Self {
        Self { status: StatusCode::INTERNAL_SERVER_ERROR, text: text.to_owned() }
    }
}

impl From<RedisFault> for PromError {
    fn from(fault: RedisFault) -> Self {
        TimeseriesError::from(fault).into()
    }
}

impl From<NoThread> for PromError {
    fn from(error: NoThread) -> Self {
        Self { status: StatusCode::SERVICE_UNAVAILABLE, text: format!("overloaded: {error}") }
    }
}

/// The error has the status of the corresponding problem, as far as Prometheus has such a status.
impl From<TimeseriesError> for PromError {
    fn from(error: TimeseriesError) -> Self {
        let text = error.to_string();
        let problem = Problem::from(error);
        let status = match problem.status() {
            status @ (StatusCode::GATEWAY_TIMEOUT | StatusCode::SERVICE_UNAVAILABLE) => status,
            status if status.is_server_error() => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::UNPROCESSABLE_ENTITY,
        };
        if status.is_server_error()
            && let Some(repeated) = episodes::next(problem.kind().slug)
        {
            tracing::warn!(error = %text, code = problem.kind().slug, repeated, "Prometheus query failed");
        }
        Self { status, text: format!("{}: {text}", problem.kind().slug) }
    }
}
