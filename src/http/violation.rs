//! The rules that a request violates, in the body of an error.

use serde::Serialize;
use utoipa::ToSchema;

/// The part of the request that violates a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = ProblemLocation)]
pub enum Location {
    Body,
    Query,
    Path,
    Header,
}

/// A violated rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = ProblemViolation)]
pub struct Violation {
    #[serde(rename = "in")]
    pub location: Location,
    /// JSON pointer into the body, or `/` followed by the name of the parameter or header.
    #[schema(example = "/ttl_ms")]
    pub pointer: String,
    pub detail: String,
}
