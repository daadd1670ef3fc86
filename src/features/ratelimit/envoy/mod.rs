//! Envoy's rate-limit protocol as JSON, compatible with the `/json` endpoint of envoyproxy/ratelimit.
//!
//! A descriptor that matches no rule is not limited, as in that project. Unlike there, all descriptors of a call are
//! decided together: a refusal takes from none of them.
//!
//! - `model.rs`: the JSON types. `descriptors.rs`: which limiter and key a descriptor has. `check.rs`: the decision.

mod check;
pub(super) mod descriptors;
pub(super) mod model;
