//! The words of the market, which several capabilities use: symbols and exact decimals.

mod amount;
mod symbol;

pub use amount::Decimal;
pub use symbol::Symbol;
