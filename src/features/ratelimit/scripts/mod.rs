//! The scripts of rate limits as typed calls; their contracts are in `migrations-lua/ratelimit/`.

mod check;
mod exceptions;
mod list;
mod settle;

pub(super) use check::{CHECK, Check, Checked, Peek, Take};
pub(super) use exceptions::{EXCEPT, EXCEPTIONS, Except, Excepted, ReadExceptions, Recorded};
pub(super) use list::{Enter, LIST};
pub(super) use settle::{SETTLE, Settle, Settled};
