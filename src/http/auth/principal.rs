//! A caller, as far as the service cares: its name, its organisation, its scopes.

use std::collections::BTreeSet;

use crate::http::problem::{self, Problem};

/// The scope that contains every other.
pub const ADMIN: &str = "admin";

/// A verified caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// Names the credential in logs and separates callers' idempotency keys; never the credential itself.
    pub id: String,
    /// The organisation whose data the caller may see; it comes from the credential only.
    pub organisation: Option<String>,
    scopes: BTreeSet<String>,
}

impl Principal {
    pub fn new(id: impl Into<String>, organisation: Option<String>, scopes: impl IntoIterator<Item = String>) -> Self {
        Self { id: id.into(), organisation, scopes: scopes.into_iter().collect() }
    }

    /// Everybody, when `auth.mode = "none"`: may do everything.
    pub fn anonymous() -> Self {
        Self::new("anonymous", None, [ADMIN.to_owned()])
    }

    pub fn may(&self, scope: &str) -> bool {
        self.scopes.contains(scope) || self.scopes.contains(ADMIN)
    }

    /// # Errors
    /// `forbidden` (403) naming the scope.
    pub fn require(&self, scope: &str) -> Result<(), Problem> {
        if self.may(scope) {
            return Ok(());
        }
        Err(Problem::new(&problem::FORBIDDEN).detail(format!("the scope `{scope}` is needed")))
    }
}
