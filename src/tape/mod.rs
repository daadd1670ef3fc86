//! The tape: the trades of each symbol in the order of their arrival, with the words of the market, symbols and exact
//! decimals.
//!
//! Files, in reading order:
//! - `symbol.rs`, `amount.rs`, `sum.rs`: names and numbers. `trade.rs`: a trade, and an entry of the tape.
//! - `candle.rs`, `minute.rs`: the trades of an interval, and of a minute by price. `window.rs`: the minutes in Redis.
//! - `keys.rs`: the Redis keys. `scripts.rs`: appends trades, and moves the position of a reader with its results.
//! - `listing.rs`: the symbols that have a tape.
//!
//! Several capabilities write trades and several read them. A tape is one stream in the slot of its symbol, so that the
//! script that fills orders can append in the same step: `XADD tape:{S} * id t p q side buyer seller bo so`.
//!
//! A reader has a position on the tape. It reads what is behind it, and moves the position in the same script that stores
//! the results, if no other replica has moved it since: each trade counts once, whatever crashes.

mod amount;
mod candle;
mod keys;
mod listing;
mod minute;
mod scripts;
mod sum;
mod symbol;
mod trade;
mod window;

pub use amount::Decimal;
pub use candle::Candle;
pub use keys::{TapeKeys, tape_of};
pub use listing::Listing;
pub use minute::{Level, Levels, MAX_LEVELS, MINUTE, Minute, is_level_size};
pub(crate) use scripts::SCRIPTS;
pub use scripts::{Advance, Appended, NewTrade, Pending, Results, advance, append, pending};
pub use sum::Sum;
pub use symbol::{Reference, Symbol};
pub use trade::{Entry, Side, Trade, field, is_entry_id, newest, parties};
pub use window::{Base, Generation, WindowChange, WindowKeys, WindowMinute, changed};
