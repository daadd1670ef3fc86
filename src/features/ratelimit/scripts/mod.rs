//! The scripts of rate limits as typed calls; their contracts are in `migrations-lua/ratelimit/`.

mod check;
mod key_index;
mod overrides;
mod settle;

pub(super) use check::{CheckOutcome, Mode, NewReservation, PeekCosts, TakeCosts};
pub(super) use key_index::IndexKeys;
pub(super) use overrides::{OverrideRow, ReadOverrides, SetOverride, SetOverrideOutcome};
pub(super) use settle::{Settle, SettleOutcome};
