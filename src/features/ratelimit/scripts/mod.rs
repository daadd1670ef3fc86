//! The scripts of rate limits as typed calls; their contracts are in `migrations-lua/ratelimit/`.

mod check;
mod exceptions;
mod list;
mod settle;

pub(super) use check::{Check, Checked, Peek, Take};
pub(super) use exceptions::{Except, Excepted, ReadExceptions, Recorded};
pub(super) use list::Enter;
pub(super) use settle::{Settle, Settled};
