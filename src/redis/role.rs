//! The roles that Redis plays.

use utoipa::ToSchema;

/// A role that Redis plays; each may have a server of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = RedisRole)]
pub enum Role {
    /// Data that may be evicted or lost.
    Cache,
    /// Data that must never be evicted: series, locks, counters, idempotency records.
    State,
}

impl Role {
    pub const fn label(self) -> &'static str {
        match self {
            Self::Cache => "cache",
            Self::State => "state",
        }
    }
}
