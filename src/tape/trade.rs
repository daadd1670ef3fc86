//! A trade, and an entry of the tape.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::amount::Decimal;
use crate::clock::UnixMillis;
use crate::redis::{Effect, Key, Redis, RedisFault};

/// The side of the taker: who accepted an order that was in the book.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = MarketSide)]
pub enum Side {
    Buy,
    Sell,
}

impl Side {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Buy => "buy",
            Self::Sell => "sell",
        }
    }
}

/// What the tape says about a trade, without its parties.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trade {
    pub id: String,
    pub timestamp: UnixMillis,
    pub price: Decimal,
    pub quantity: Decimal,
    /// `None` if there was no taker, such as in an auction.
    pub side: Option<Side>,
}

/// The latest time of a trade, 9999-01-01T00:00:00Z: calendars end in that year.
const LATEST: UnixMillis = 253_370_764_800_000;

/// An entry of the stream: its id, and the fields and values.
pub type Entry = (String, Vec<String>);

/// Whether a text is the id of an entry, such as `1767225600000-0`. No entry has the id 0-0.
pub fn is_entry_id(text: &str) -> bool {
    let is_number = |part: &str| (1..=16).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
    let is_id = text.split_once('-').is_some_and(|(ms, number)| is_number(ms) && is_number(number));
    is_id && text.bytes().any(|byte| (b'1'..=b'9').contains(&byte))
}

/// The buyer and the seller of an entry, if it names them.
pub fn parties(entry: &Entry) -> [Option<String>; 2] {
    ["buyer", "seller"].map(|name| field(entry, name).filter(|party| !party.is_empty()).map(str::to_owned))
}

impl Trade {
    /// Reads an entry; `None` if another program wrote something else.
    pub fn of_entry(entry: &Entry) -> Option<Self> {
        let field = |name| field(entry, name);
        let side = match field("side") {
            Some("buy") => Some(Side::Buy),
            Some("sell") => Some(Side::Sell),
            _ => None,
        };
        Some(Self {
            id: field("id")?.to_owned(),
            timestamp: field("t")?.parse().ok().filter(|time| (0..=LATEST).contains(time))?,
            price: field("p")?.parse().ok()?,
            quantity: field("q")?.parse().ok()?,
            side,
        })
    }
}

/// The value of a field of an entry, such as `buyer`; empty if the reporter did not say.
pub fn field<'a>((_, fields): &'a Entry, name: &str) -> Option<&'a str> {
    let (pairs, _) = fields.as_chunks::<2>();
    pairs.iter().find_map(|[field, value]| (field == name).then_some(value.as_str()))
}

/// The newest `count` entries of a tape before the entry `before`, newest first.
///
/// # Errors
/// [`RedisFault`].
pub async fn newest(redis: &Redis, tape: &Key, before: Option<&str>, count: usize) -> Result<Vec<Entry>, RedisFault> {
    let mut read = redis::cmd("XREVRANGE");
    let end = before.map_or_else(|| "+".to_owned(), |before| format!("({before}"));
    read.arg(tape).arg(end).arg("-").arg("COUNT").arg(count);
    redis.query(&read, Effect::Read).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_that_is_not_a_trade_is_recognised() {
        let entry = |fields: &str| ("1-1".to_owned(), fields.split(' ').map(str::to_owned).collect());
        let trade = Trade::of_entry(&entry("id a t 5 p 3.410 q 2 side sell buyer b seller s")).expect("a trade");
        assert_eq!((trade.price.to_string().as_str(), trade.side), ("3.41", Some(Side::Sell)));
        for other in [
            "id a t 5 p 3.410",
            "id a t x p 1 q 1",
            "id a t 9999999999999999 p 1 q 1",
            "id a t 1 p 1e3 q 1",
            "x",
            "id a t 1 p 1 q",
        ] {
            assert_eq!(Trade::of_entry(&entry(other)), None, "{other}");
        }
    }
}
