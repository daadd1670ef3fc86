//! The scripts of rate limits as typed calls; their contracts are in `migrations-lua/ratelimit/`.

mod check;
mod exceptions;

pub(super) use check::{CHECK, Check, Checked, Peek, Take};
pub(super) use exceptions::{EXCEPT, EXCEPTIONS, Except, Excepted, ReadExceptions, Recorded};
