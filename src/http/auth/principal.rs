//! A caller: its name, its organisation and its scopes.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::config::auth::Scope;
use crate::http::problem::{self, Problem};

/// The scope that includes every other scope.
pub const ADMIN: &str = "admin";

/// The id of every caller if no credential is required; those of credentials have a colon.
const ANONYMOUS: &str = "anonymous";

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
    scopes: Scopes,
}

impl Principal {
    pub fn new(id: impl Into<String>, organisation: Option<String>, scopes: Scopes) -> Self {
        Self { id: id.into(), organisation, scopes }
    }

    /// Any caller, if no credential is required: it has every permission.
    pub fn anonymous() -> Self {
        Self::new(ANONYMOUS, None, [ADMIN].into_iter().collect())
    }

    /// Whether the service requires no credential, so that its callers are not distinguished.
    pub fn is_anonymous(&self) -> bool {
        self.id == ANONYMOUS
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
