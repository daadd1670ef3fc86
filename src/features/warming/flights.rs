//! The fetches in progress that callers of this replica wait for.

use std::collections::HashMap;
use std::fmt;
use std::sync::Mutex;

use futures_util::future::{BoxFuture, Shared, WeakShared};

use super::error::WarmingError;
use crate::cached::CachedValue;

/// A value and where it comes from.
#[derive(Clone, Debug)]
pub(super) struct Served {
    pub value: CachedValue,
    pub origin: Origin,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    Hit,
    Miss,
    /// A copy of the expired value, while another client fetches.
    Stale,
}

impl Origin {
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Miss => "miss",
            Self::Stale => "stale",
        }
    }
}

pub(super) type Outcome = Result<Served, WarmingError>;
pub(super) type Flight = Shared<BoxFuture<'static, Outcome>>;

/// The fetches of this replica that callers wait for.
#[derive(Default)]
pub(super) struct Flights(pub Mutex<HashMap<String, WeakShared<BoxFuture<'static, Outcome>>>>);

impl fmt::Debug for Flights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Flights")
    }
}
