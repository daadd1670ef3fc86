//! Who may read encrypted values in plain text.

use std::sync::Arc;

use super::model::DocumentKey;
use crate::http::auth::Principal;

/// The scope that allows callers to read and edit encrypted values.
const SECRETS: &str = "json:secrets";

/// The documents whose encrypted values a caller may read in plain text: none, or those that its scope includes.
#[derive(Clone, Debug, Default)]
pub(super) struct CanDecrypt(Option<Arc<Principal>>);

impl CanDecrypt {
    pub(super) const fn new(caller: Arc<Principal>) -> Self {
        Self(Some(caller))
    }

    pub(super) fn of(&self, key: &DocumentKey) -> bool {
        self.0.as_ref().is_some_and(|caller| caller.may_access(SECRETS, key.as_str()))
    }
}
