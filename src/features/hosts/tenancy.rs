//! Which hosts a caller can access. A host belongs to the organisation of the credential that reports it, and so does its name.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use super::error::HostsError;
use super::model::HostId;
use crate::http::auth::{ADMIN, Principal};

/// The organisation that owns a host; empty if its reporter's credential names none.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Organisation(Arc<str>);

impl Organisation {
    pub(super) fn new(name: &str) -> Self {
        Self(name.into())
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// The organisations of exported hosts. Names alone do not tell the hosts of several organisations apart.
pub(super) type Owners = HashMap<HostId, Organisation>;

impl fmt::Display for Organisation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The hosts that a caller can access.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum AccessScope {
    Organisation(Organisation),
    /// All hosts: for an administrator without an organisation who names none.
    All,
}

impl AccessScope {
    /// The hosts that a caller can access with a request that names the organisation `named`.
    ///
    /// # Errors
    /// [`HostsError::WrongOrganisation`]: only administrators without an organisation may name another one than
    /// their credential.
    pub(super) fn of(caller: &Principal, named: Option<&str>) -> Result<Self, HostsError> {
        let own = caller.organisation.as_deref();
        match (own, named) {
            (Some(own), Some(named)) if own != named => Err(wrong(named)),
            (None, Some(named)) if !caller.may(ADMIN) => Err(wrong(named)),
            (None, None) if caller.may(ADMIN) => Ok(Self::All),
            (own, named) => Ok(Self::Organisation(Organisation::new(own.or(named).unwrap_or_default()))),
        }
    }

    pub(super) fn covers(&self, owner: &Organisation) -> bool {
        match self {
            Self::Organisation(own) => own == owner,
            Self::All => true,
        }
    }

    /// The organisation, unless the caller can access those of all.
    pub(super) fn organisation(&self) -> Option<&Organisation> {
        match self {
            Self::Organisation(own) => Some(own),
            Self::All => None,
        }
    }

    /// The owner of a host that this caller is the first to report.
    pub(super) fn owner(&self) -> Organisation {
        match self {
            Self::Organisation(own) => own.clone(),
            Self::All => Organisation::new(""),
        }
    }
}

fn wrong(named: &str) -> HostsError {
    HostsError::WrongOrganisation { organisation: named.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(organisation: Option<&str>, scope: &str, named: Option<&str>) -> Option<AccessScope> {
        let caller = Principal::new("a", organisation.map(str::to_owned), [scope].into_iter().collect());
        AccessScope::of(&caller, named).ok()
    }

    #[test]
    fn the_organisation_comes_from_the_credential() {
        let only = |name: &str| Some(AccessScope::Organisation(Organisation::new(name)));
        assert_eq!(scope(Some("a"), "hosts:read", None), only("a"));
        assert_eq!(scope(Some("a"), "hosts:read", Some("a")), only("a"));
        assert_eq!(scope(Some("a"), "admin", Some("b")), None);
        assert_eq!(scope(None, "hosts:read", None), only(""));
        assert_eq!(scope(None, "hosts:read", Some("a")), None);
        assert_eq!(scope(None, "admin", Some("a")), only("a"));
        assert_eq!(scope(None, "admin", None), Some(AccessScope::All));
    }
}
