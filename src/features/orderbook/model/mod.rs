//! Requests and responses of order books.

mod change;
mod delta;
mod fill;
mod order;
mod snapshot;
mod view;

pub(super) use change::*;
pub(super) use delta::*;
pub(super) use fill::*;
pub(super) use order::*;
pub(super) use snapshot::*;
pub(super) use view::*;
