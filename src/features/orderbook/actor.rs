//! For whom a caller may act.

use super::MATCH;
use super::error::BookError;
use super::identifier::Owner;
use super::record::word;
use crate::http::auth::{ADMIN, Principal};

/// The owners for whom a caller may act.
#[derive(Clone, Debug)]
pub(super) enum Actor {
    /// A service, or a matching engine.
    Anyone,
    /// A user, who acts only for the subject of the token.
    User(Owner),
}

impl Actor {
    /// # Errors
    /// [`BookError::OtherOwner`] for a subject that cannot be an owner.
    pub(super) fn of(caller: &Principal) -> Result<Self, BookError> {
        match caller.subject() {
            Some(subject) if !caller.may(ADMIN) && !caller.may(MATCH) => {
                Owner::parse(subject).map(Self::User).map_err(|_| BookError::OtherOwner)
            }
            _ => Ok(Self::Anyone),
        }
    }

    /// The owner of a request. A service must name one, and a user no other than itself.
    ///
    /// # Errors
    /// [`BookError::OtherOwner`], or [`BookError::Invalid`] without an owner.
    pub(super) fn owner(&self, requested: Option<Owner>) -> Result<Owner, BookError> {
        match (self, requested) {
            (Self::Anyone, Some(owner)) => Ok(owner),
            (Self::Anyone, None) => Err(BookError::invalid("/owner", "is missing")),
            (Self::User(own), None) => Ok(own.clone()),
            (Self::User(own), Some(owner)) if *own == owner => Ok(owner),
            (Self::User(_), Some(_)) => Err(BookError::OtherOwner),
        }
    }

    /// The owner to whom scripts limit a change, as in records; empty: any.
    pub(super) fn limit(&self) -> String {
        match self {
            Self::Anyone => String::new(),
            Self::User(own) => word(own.as_str()),
        }
    }

    /// Whether the caller sees what belongs to this owner.
    pub(super) fn may_see(&self, owner: &str) -> bool {
        match self {
            Self::Anyone => true,
            Self::User(own) => own.as_str() == owner,
        }
    }
}
