//! The messages that changes of a book become: for the channel of the book, for the owner of each order, for the market, and
//! for operators.

use serde::Serialize;

use super::deltas::{Changes, Delta, OrderLine};
use super::model::{DeltaContent, OrderStatus};
use super::rules::{Rules, Side};
use super::state::{BookState, RawLevel};
use crate::clock::UnixMillis;
use crate::events::{ChannelName, Message};
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

/// The data of `OrderBookUpdate`.
#[derive(Serialize)]
struct BestPrices<'a> {
    symbol: &'a Symbol,
    timestamp: UnixMillis,
    #[serde(skip_serializing_if = "Option::is_none")]
    best_bid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    best_ask: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    spread: Option<String>,
    /// The quantity at both prices.
    volume: String,
}

/// The data of an alert.
#[derive(Serialize)]
struct Alert<'a> {
    severity: &'a str,
    summary: String,
    value: String,
    threshold: String,
    since: UnixMillis,
    instance: &'a str,
}

/// The message that the best prices of a book have changed.
pub(super) fn best_prices(symbol: &Symbol, state: &BookState) -> Option<(ChannelName, Message)> {
    let price = |level: &Option<RawLevel>| level.map(|level| state.rules.print_price(level.ticks));
    let volume = [state.best_bid, state.best_ask].iter().flatten().map(|level| level.quantity).sum();
    let data = BestPrices {
        symbol,
        timestamp: state.updated,
        best_bid: price(&state.best_bid),
        best_ask: price(&state.best_ask),
        spread: state.spread(),
        volume: state.rules.print_quantity(volume),
    };
    let id = format!("{symbol}-{}-{}-best", state.generation, state.sequence);
    let channel = ChannelName::parse(&format!("market:events:{symbol}")).ok()?;
    Some((channel, Message::of_service(id, "OrderBookUpdate", symbol.as_str(), &data)?))
}

/// The alert that changes are published `lag` milliseconds late, from `delta` on; `limit` is the lag that is normal.
pub(super) fn delay(
    symbol: &Symbol,
    generation: u64,
    delta: &Delta,
    [lag, limit]: [i64; 2],
    instance: &str,
) -> Option<(ChannelName, Message)> {
    let [value, threshold] = [lag, limit].map(|ms| (ms / 1_000).to_string());
    let summary = format!("changes of the order book {symbol} are published {value} s late");
    let data = Alert { severity: "warning", summary, value, threshold, since: delta.at, instance };
    let id = format!("{symbol}-{generation}-{}-delay", delta.sequence);
    let channel = ChannelName::parse("system:alerts").ok()?;
    Some((channel, Message::of_service(id, "MarketDataDelay", symbol.as_str(), &data)?))
}

/// The messages of the deltas after the sequence `after`, each with its channel.
pub(super) fn messages(symbol: &Symbol, after: u64, changes: Changes) -> Vec<(ChannelName, Message)> {
    let generation = changes.state.generation;
    let mut messages = Vec::new();
    for delta in &changes.deltas {
        for (number, order) in delta.orders.iter().enumerate() {
            let id = format!("{symbol}-{generation}-{}-{number}", delta.sequence);
            let Some(message) = order_message(symbol, &changes.state.rules, delta, order, id) else { continue };
            let mut add = |channel: &str, message| {
                let channel = ChannelName::parse(&format!("{channel}:{}", order.owner));
                messages.extend(channel.ok().map(|channel| (channel, message)));
            };
            if delta.trade.is_some() {
                add("trades", message.clone());
            }
            add("orders", message);
        }
    }
    let rules_only = changes.deltas.iter().all(|delta| delta.kind == "settings");
    if let Ok(channel) = ChannelName::parse(&format!("orderbook:{symbol}"))
        && !rules_only
    {
        let body = changes.into_message(symbol, after, DeltaContent::Levels);
        let id = format!("{symbol}-{generation}-{}", body.last_sequence);
        messages.extend(Message::of_service(id, "OrderBookDelta", "deltas", &body).map(|message| (channel, message)));
    }
    messages
}

fn order_message(symbol: &Symbol, rules: &Rules, delta: &Delta, order: &OrderLine, id: String) -> Option<Message> {
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
    Message::of_service(id, kind, &order.id, &event)
}
