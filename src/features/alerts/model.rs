//! Wire types of alerts, which Redis also stores.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::clock::UnixMillis;
use crate::http::times;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = AlertSeverity)]
pub(super) enum Severity {
    Warning,
    Critical,
}

impl Severity {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = AlertStatus)]
pub(super) enum Status {
    Firing,
    Resolved,
}

impl Status {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Firing => "firing",
            Self::Resolved => "resolved",
        }
    }
}

/// An episode of a condition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub(super) struct Alert {
    /// The replicas that report the same episode give it the same id.
    #[schema(example = "5f0c1d2e3a4b5c6d7e8f901122334455")]
    pub id: String,
    #[schema(example = "HighMemoryUsage")]
    pub condition: String,
    /// What the condition is about: a Redis server, or a replica of the service.
    #[schema(example = "cache,state")]
    pub subject: String,
    pub severity: Severity,
    pub status: Status,
    pub summary: String,
    /// The measured value when the alert fired.
    pub value: f64,
    /// The value from which the condition holds.
    pub threshold: f64,
    /// When the condition began, Unix milliseconds.
    pub since: UnixMillis,
    /// When the alert ended, Unix milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<UnixMillis>,
    /// The replica of the service that reported it.
    pub instance: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged: Option<Acknowledgement>,
}

/// An alert in Redis.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct StoredAlert {
    #[serde(flatten)]
    pub alert: Alert,
    /// When its replica last confirmed it, Unix milliseconds.
    pub seen: UnixMillis,
}

/// Who has taken charge of an alert.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = AlertAcknowledgement)]
pub(super) struct Acknowledgement {
    pub by: String,
    /// Until when, Unix milliseconds.
    pub until: UnixMillis,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = AlertAckRequest, example = json!({ "until": "2100-01-01T00:00:00Z" }))]
pub(super) struct AckRequest {
    /// Until when the caller takes charge of the alert: Unix milliseconds or RFC 3339, in the future.
    #[serde(deserialize_with = "times::millis_or_rfc3339")]
    #[schema(value_type = serde_json::Value)]
    pub until: UnixMillis,
}

/// All alerts that fire.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AlertList {
    pub items: Vec<Alert>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct HistoryQuery {
    /// The most entries.
    #[serde(default = "default_limit")]
    #[param(required = false, minimum = 1, maximum = 1_000, default = 100, example = 100)]
    pub limit: usize,
}

const fn default_limit() -> usize {
    100
}
