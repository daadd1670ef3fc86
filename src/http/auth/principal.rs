//! A caller: its name, its organisation and its scopes.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::clock::UnixMillis;
use crate::config::auth::Scope;
use crate::http::problem::{self, Problem};

/// The scope that includes every other scope.
pub const ADMIN: &str = "admin";

/// The permissions of a credential; all callers with one role share them.
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

/// A verified caller. Handlers of guarded routes find it as `Arc<Principal>` in the request's extensions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// Identifies the credential in logs, and separates the idempotency keys of callers. Never the credential itself.
    pub id: String,
    /// The organisation whose data the caller may see; it comes from the credential only.
    pub organisation: Option<String>,
    /// When the credential ends; `None` if it does not. Long-lived connections end with it.
    pub expires: Option<UnixMillis>,
    scopes: Scopes,
}

impl Principal {
    pub fn new(id: impl Into<String>, organisation: Option<String>, scopes: Scopes) -> Self {
        Self { id: id.into(), organisation, expires: None, scopes }
    }

    /// The caller whose credential ends at `expires`, or earlier.
    #[must_use]
    pub fn until(mut self, expires: UnixMillis) -> Self {
        self.expires = Some(self.expires.map_or(expires, |earlier| earlier.min(expires)));
        self
    }

    /// Any caller, if no credential is required: it has every permission.
    pub fn anonymous() -> Self {
        Self::new("anonymous", None, [ADMIN].into_iter().collect())
    }

    pub fn may(&self, scope: &str) -> bool {
        self.scopes.contain(scope)
    }

    /// # Errors
    /// `forbidden` (403), naming the scope.
    pub fn require(&self, scope: &str) -> Result<(), Problem> {
        if self.may(scope) {
            return Ok(());
        }
        Err(Problem::new(&problem::FORBIDDEN).detail(format!("this operation requires the scope `{scope}`")))
    }
}
