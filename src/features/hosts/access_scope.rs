//! Whose hosts a caller reaches. A host belongs to the organisation of the credential that first reported it.

use super::organisation::Organisation;
use crate::features::hosts::error::HostsError;
use crate::http::auth::{ADMIN, Principal};

/// The hosts that a caller may know of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum AccessScope {
    Organisation(Organisation),
    /// An administrator of no organisation, who did not name one.
    All,
}

impl AccessScope {
    /// What a caller reaches who says that this is about `named`.
    ///
    /// # Errors
    /// [`HostsError::WrongOrganisation`]: only administrators without an organisation of their own may name one that
    /// their credential does not.
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

    /// Whom a host belongs to that this caller is the first to report.
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
