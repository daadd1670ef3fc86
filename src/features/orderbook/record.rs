//! Orders as Redis keeps them. `migrations-lua/orderbook/book.lua` writes the text.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use xxhash_rust::xxh3::xxh3_64;

use super::identifier::Identifier;
use super::model::{Order, OrderStatus};
use super::rules::{Rules, Side};
use crate::clock::UnixMillis;
use crate::http::portable_json::ObjectText;
use crate::redis::{Segment, unescape};

/// An order that rests, or that ended within the last two hours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OrderRecord {
    pub id: String,
    /// `live`, or how the order ended.
    pub end: OrderEnd,
    /// The sequence that ended it, and when; 0 for a live one.
    pub ended_at: UnixMillis,
    pub side: Side,
    pub ticks: i64,
    /// Quantities in units of the last decimal.
    pub remaining: i128,
    pub quantity: i128,
    /// Its place among the orders of its price.
    pub sequence: u64,
    pub owner: String,
    pub expires_at: UnixMillis,
    pub created_at: UnixMillis,
    pub revision: u64,
    client_order_id: String,
    epoch_number: String,
    metadata: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OrderEnd {
    Live,
    Filled,
    Cancelled,
    Expired,
}

/// The last part of a record: what Redis keeps without reading it.
pub(super) fn rest(client_order_id: Option<&Identifier>, epoch: Option<u64>, metadata: Option<&ObjectText>) -> String {
    let client = client_order_id.map(Identifier::as_str).unwrap_or_default();
    let epoch = epoch.map(|epoch| epoch.to_string()).unwrap_or_default();
    format!("{client} {epoch} {}", metadata.map(ObjectText::text).unwrap_or_default())
}

/// What tells a repeated request from one that uses its id again: 64 bits in the fewest characters, since every order keeps it.
pub(super) fn digest(request: &str) -> String {
    URL_SAFE_NO_PAD.encode(xxh3_64(request.as_bytes()).to_be_bytes())
}

/// A client's text as a word of a record.
pub(super) fn word(text: &str) -> String {
    Segment(text).escaped()
}

impl OrderRecord {
    /// Reads `<end> <sequence> <ms> <record>`.
    pub(super) fn parse(id: &str, text: &str) -> Option<Self> {
        let mut words = text.splitn(17, ' ');
        let end = match words.next()? {
            "live" => OrderEnd::Live,
            "filled" => OrderEnd::Filled,
            "cancelled" => OrderEnd::Cancelled,
            "expired" => OrderEnd::Expired,
            _ => return None,
        };
        let _ended_by = words.next()?;
        let ended_at = words.next()?.parse().ok()?;
        if words.next()? != "1" {
            return None;
        }
        let side = Side::of_letter(words.next()?)?;
        let ticks = words.next()?.parse().ok()?;
        let remaining = words.next()?.parse().ok()?;
        let sequence = words.next()?.parse().ok()?;
        let owner = unescape(words.next()?);
        let (expires_at, created_at) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        // Empty if all of it remains.
        let quantity = words.next().map(|word| if word.is_empty() { Ok(remaining) } else { word.parse() })?.ok()?;
        let revision = words.next()?.parse().ok()?;
        let _digest = words.next()?;
        Some(Self {
            id: id.to_owned(),
            end,
            ended_at,
            side,
            ticks,
            remaining,
            quantity,
            sequence,
            owner,
            expires_at,
            created_at,
            revision,
            client_order_id: words.next()?.to_owned(),
            epoch_number: words.next()?.to_owned(),
            metadata: words.next()?.to_owned(),
        })
    }

    pub(super) fn status(&self) -> OrderStatus {
        match self.end {
            OrderEnd::Live if self.remaining == self.quantity => OrderStatus::Active,
            OrderEnd::Live => OrderStatus::PartiallyFilled,
            OrderEnd::Filled => OrderStatus::Filled,
            OrderEnd::Cancelled => OrderStatus::Cancelled,
            OrderEnd::Expired => OrderStatus::Expired,
        }
    }

    /// Names one state of the order.
    pub(super) fn version(&self) -> u128 {
        u128::from(self.sequence) << 64 | u128::from(self.revision)
    }

    /// The order as its owner and the matching engine see it.
    pub(super) fn show(self, rules: &Rules) -> Order {
        Order {
            status: self.status(),
            side: self.side,
            price: rules.print_price(self.ticks),
            quantity: rules.print_quantity(self.quantity),
            filled: rules.print_quantity(self.quantity - self.remaining),
            remaining: rules.print_quantity(self.remaining),
            sequence: self.sequence,
            revision: self.revision,
            created_at: self.created_at,
            expires_at: self.expires_at,
            ended_at: (self.end != OrderEnd::Live).then_some(self.ended_at),
            owner: self.owner,
            client_order_id: Some(self.client_order_id).filter(|id| !id.is_empty()),
            epoch_number: self.epoch_number.parse().ok(),
            metadata: ObjectText::stored(&self.metadata),
            order_id: self.id,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_with_and_without_its_optional_parts() {
        let head = "1 s -4350 000000000000000000000000000005 17 ann%20lee 1800 900 000000000000000000000000000009 2 d";
        let live = OrderRecord::parse("o-1", &format!("live 0 0 {head} c-1 96 {{\"a\": \"b c\"}}")).expect("an order");
        assert_eq!((live.ticks, live.remaining, live.quantity, live.sequence), (-4_350, 5, 9, 17));
        assert_eq!((live.owner.as_str(), live.client_order_id.as_str()), ("ann lee", "c-1"));
        assert_eq!((live.metadata.as_str(), live.status()), ("{\"a\": \"b c\"}", OrderStatus::PartiallyFilled));
        let ended = OrderRecord::parse("o-1", &format!("cancelled 20 1000 {head}   ")).expect("an order");
        assert_eq!((ended.status(), ended.ended_at, ended.metadata.as_str()), (OrderStatus::Cancelled, 1_000, ""));
        let whole = OrderRecord::parse("o-1", "live 0 0 1 b 4350 5 17 ann 1800 900  1 d   ").expect("an order");
        assert_eq!((whole.quantity, whole.status()), (5, OrderStatus::Active));
        assert_eq!(OrderRecord::parse("o-1", "live 0 0 2 s"), None);
    }
}
