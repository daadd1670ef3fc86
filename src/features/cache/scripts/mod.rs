//! Typed calls of the cache's scripts; each script's header is its contract.

mod counter;
mod lease;
mod tag;
mod value;

pub(super) use counter::{Increment, IncrementReply, counter};
pub(super) use lease::{Lease, LeaseReply};
pub(super) use tag::{TagOpen, TagRaise};
pub(super) use value::{Delete, DeleteReply, Drop, Expected, Put, PutReply, Take, TakeReply, Touch, TouchReply};
