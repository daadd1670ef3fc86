//! A caller, as far as the service cares: its name, its organisation, its scopes.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::config::auth::Scope;
use crate::http::problem::{self, Problem};

/// The scope that contains every other.
pub const ADMIN: &str = "admin";

/// What a credential allows; shared by all callers of one role.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scopes(Arc<BTreeSet<Box<str>>>);

impl Scopes {
    pub fn contain(&self, scope: &str) -> bool {
        self.0.contains(scope) || self.0.contains(ADMIN)
    }
}

impl<'a> FromIterator<&'a str> for Scopes {
    fn from_iter<I: IntoIterator<Item = &'a str>>(scopes: I) -> Self {
        Self(Arc::new(scopes.into_iter().map(Box::from).collect()))
    }
}

impl From<&BTreeSet<Scope>> for Scopes {
    fn from(scopes: &BTreeSet<Scope>) -> Self {
        scopes.iter().map(Scope::as_str).collect()
    }
}

/// A verified caller; guarded handlers find it as `Arc<Principal>` among the request's extensions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// Names the credential in logs and separates callers' idempotency keys; never the credential itself.
    pub id: String,
    /// The organisation whose data the caller may see; it comes from the credential only.
    pub organisation: Option<String>,
    scopes: Scopes,
}

impl Principal {
    pub fn new(id: impl Into<String>, organisation: Option<String>, scopes: Scopes) -> Self {
        Self { id: id.into(), organisation, scopes }
    }

    /// Everybody, when no credential is asked for: may do everything.
    pub fn anonymous() -> Self {
        Self::new("anonymous", None, [ADMIN].into_iter().collect())
    }

    pub fn may(&self, scope: &str) -> bool {
        self.scopes.contain(scope)
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
