//! The owner of a host.

use std::fmt;
use std::sync::Arc;

/// The organisation that a host belongs to; empty for callers without one.
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

impl fmt::Display for Organisation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
