//! The tape: the trades of each symbol in the order of their arrival, with the words of the market, symbols and exact
//! decimals.
//!
//! Files, in reading order:
//! - `symbol.rs`, `amount.rs`: names and numbers. `trade.rs`: a trade, and an entry of the tape.
//! - `keys.rs`: the Redis keys. `scripts.rs`: appends trades, and moves the position of a reader with its results.
//! - `listing.rs`: the symbols that have a tape.
//!
//! Several capabilities write trades and several read them. A tape is one stream in the slot of its symbol, so that the
//! script that fills orders can append in the same step: `XADD tape:{S} * id t p q side buyer seller bo so`.
//!
//! A reader has a position on the tape. It reads what is behind it, and moves the position in the same script that stores
//! the results, if no other replica has moved it since: each trade counts once, whatever crashes.

mod amount;
mod keys;
mod listing;
mod scripts;
mod symbol;
mod trade;

pub use amount::Decimal;
pub use keys::{TapeKeys, tape_of};
pub use listing::Listing;
pub(crate) use scripts::SCRIPTS;
pub use scripts::{Appended, NewTrade, Pending, Results, advance, append, pending};
pub use symbol::{Reference, Symbol};
pub use trade::{Entry, Side, Trade, field, newest};
