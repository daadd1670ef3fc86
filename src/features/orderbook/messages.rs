//! The messages that changes of a book become: one for the channel of the book, and one for each order to its owner.

use serde::Serialize;
use serde_json::value::RawValue;

use super::deltas::{Changes, Delta, OrderLine};
use super::model::{DeltaContent, OrderStatus};
use super::rules::{Rules, Side};
use crate::clock::UnixMillis;
use crate::events::{ChannelName, Message, TagMap};
use crate::tape::Symbol;

/// The data of an event on `orders:{user}`.
#[derive(Serialize)]
struct OrderEvent<'a> {
    order_id: &'a str,
    user_id: &'a str,
    symbol: &'a Symbol,
    side: Side,
    price: String,
    quantity: String,
    filled_quantity: String,
    status: OrderStatus,
    timestamp: UnixMillis,
    #[serde(skip_serializing_if = "Option::is_none")]
    trade_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

/// The messages of the deltas after the sequence `after`, each with its channel.
pub(super) fn messages(symbol: &Symbol, after: u64, changes: Changes) -> Vec<(ChannelName, Message)> {
    let generation = changes.state.generation;
    let mut messages = Vec::new();
    for delta in &changes.deltas {
        for (number, order) in delta.orders.iter().enumerate() {
            let id = format!("{symbol}-{generation}-{}-{number}", delta.sequence);
            messages.extend(order_message(symbol, &changes.state.rules, delta, order, id));
        }
    }
    let rules_only = changes.deltas.iter().all(|delta| delta.kind == "settings");
    if let Ok(channel) = ChannelName::parse(&format!("orderbook:{symbol}"))
        && !rules_only
    {
        let body = changes.into_message(symbol, after, DeltaContent::Levels);
        let id = format!("{symbol}-{generation}-{}", body.last_sequence);
        messages.extend(message(channel, id, "OrderBookDelta", "deltas", &body));
    }
    messages
}

fn order_message(
    symbol: &Symbol,
    rules: &Rules,
    delta: &Delta,
    order: &OrderLine,
    id: String,
) -> Option<(ChannelName, Message)> {
    let channel = ChannelName::parse(&format!("orders:{}", order.owner)).ok()?;
    let (kind, reason) = match delta.kind.as_str() {
        "placed" => ("Created", None),
        "amended" => ("Updated", None),
        "filled" => ("Matched", None),
        "expired" => ("Cancelled", Some("expired")),
        _ => ("Cancelled", None),
    };
    let event = OrderEvent {
        order_id: &order.id,
        user_id: &order.owner,
        symbol,
        side: order.side,
        price: rules.print_price(order.ticks),
        quantity: rules.print_quantity(order.quantity),
        filled_quantity: rules.print_quantity(order.quantity - order.remaining),
        status: order.status,
        timestamp: delta.at,
        trade_id: delta.trade.as_deref(),
        reason,
    };
    message(channel, id, kind, &order.id, &event)
}

/// A message; `None` if the data cannot be JSON, which does not happen.
fn message(
    channel: ChannelName,
    id: String,
    message_type: &str,
    key: &str,
    data: &impl Serialize,
) -> Option<(ChannelName, Message)> {
    let data = RawValue::from_string(serde_json::to_string(data).ok()?).ok()?;
    let message = Message {
        id,
        may_be_repeated: true,
        message_type: message_type.to_owned(),
        version: "1.0".to_owned(),
        data,
        key: Some(key.to_owned()),
        tags: TagMap::new(),
        revision: None,
    };
    Some((channel, message))
}
