//! Fills: the matching engine reports which orders traded with each other.

use std::collections::HashSet;

use super::error::BookError;
use super::model::{Fill, Filled, FillsReply};
use super::placing::require_orders;
use super::record::digest;
use super::rules::{Rules, Side};
use super::scripts::{self, FillCall, Reply};
use super::service::OrderBookService;
use crate::redis::FencingToken;
use crate::tape::Symbol;

impl OrderBookService {
    /// Applies fills, all or none. Trades that were reported before are not applied again.
    ///
    /// # Errors
    /// [`BookError::FillRefused`], naming the fill and the rule; [`BookError::FenceRequired`]; [`BookError::ArchiveBehind`];
    /// after a fault with an unknown outcome, report the same fills again.
    pub(super) async fn fill(
        &self,
        symbol: &Symbol,
        fills: &[Fill],
        token: Option<FencingToken>,
    ) -> Result<FillsReply, BookError> {
        let _timer = self.metrics.time("fill");
        self.require_fence(token)?;
        let mut trades = HashSet::new();
        for (at, fill) in fills.iter().enumerate() {
            if !trades.insert(&fill.trade_id) {
                return Err(BookError::invalid(&format!("/fills/{at}/trade_id"), "must not be repeated"));
            }
        }
        self.tapes.list(symbol).await?;
        let called = self
            .call(symbol, token, |target| {
                require_orders(symbol, target.rules)?;
                let calls = fills.iter().enumerate().map(|(at, fill)| fill_call(target.rules, at, fill));
                Ok(scripts::fills(target, &calls.collect::<Result<Vec<_>, _>>()?, self.most_minutes))
            })
            .await;
        let filled = called.and_then(|(rules, reply)| match reply.status.as_str() {
            "behind" => Err(BookError::ArchiveBehind { symbol: symbol.clone() }),
            _ => filled(&rules, fills, &reply),
        });
        self.metrics.count("fill", &filled);
        filled
    }

    /// # Errors
    /// [`BookError::FenceRequired`] if the matching engine must send a token and does not.
    pub(super) fn require_fence(&self, token: Option<FencingToken>) -> Result<(), BookError> {
        if token.is_none() && self.config.require_fence { Err(BookError::FenceRequired) } else { Ok(()) }
    }
}

fn fill_call<'a>(rules: &Rules, at: usize, fill: &'a Fill) -> Result<FillCall<'a>, BookError> {
    let ticks = rules.price(&format!("/fills/{at}/price"), &fill.price)?;
    let quantity = rules.quantity(&format!("/fills/{at}/quantity"), &fill.quantity)?;
    let taker = match fill.taker_side {
        Some(Side::Buy) => "buy",
        Some(Side::Sell) => "sell",
        None => "",
    };
    let (buy, sell) = (fill.buy_order_id.as_str(), fill.sell_order_id.as_str());
    let content = format!("{buy} {sell} {ticks} {quantity} {taker} {:?}", fill.timestamp);
    Ok(FillCall {
        trade: fill.trade_id.as_str(),
        buy,
        sell,
        ticks,
        quantity,
        price_text: rules.print_price(ticks),
        quantity_text: rules.print_quantity(quantity),
        taker,
        timestamp: fill.timestamp,
        digest: digest(&content),
    })
}

/// The result of `fills.lua`.
fn filled(rules: &Rules, fills: &[Fill], reply: &Reply) -> Result<FillsReply, BookError> {
    if reply.status == "refused" {
        return Err(refused(rules, reply));
    }
    let unreadable = || BookError::Unreadable { what: "reply to fills".to_owned() };
    let results = fills.iter().zip(reply.words.iter().skip(1)).map(|(fill, result)| {
        let mut words = result.split(' ');
        let replayed = words.next()? == "1";
        let sequence = words.next()?.parse().ok()?;
        let mut remaining = || words.next()?.parse().ok().map(|units| rules.print_quantity(units));
        Some(Filled {
            trade_id: fill.trade_id.clone(),
            sequence,
            replayed,
            buy_remaining: remaining()?,
            sell_remaining: remaining()?,
        })
    });
    let fills = results.collect::<Option<Vec<_>>>().ok_or_else(unreadable)?;
    Ok(FillsReply { sequence: reply.number(0), fills })
}

/// The rule that a fill violates, in words.
fn refused(rules: &Rules, reply: &Reply) -> BookError {
    let (at, rule, value) = (reply.word(0), reply.word(1), reply.word(2));
    let (order, rule) = rule.split_once('-').unwrap_or_default();
    let price = || rules.print_price(value.parse().unwrap_or_default());
    let quantity = || rules.print_quantity(value.parse().unwrap_or_default());
    let (field, rule) = match rule {
        "reused" => ("trade_id".to_owned(), "names a trade with other content".to_owned()),
        "unknown" => (format!("{order}_order_id"), "must name a resting order".to_owned()),
        "side" => (format!("{order}_order_id"), format!("must name a {order} order")),
        "expired" => (format!("{order}_order_id"), format!("must name a resting order, but it expired at {value}")),
        "price" if order == "buy" => {
            ("price".to_owned(), format!("must be at most {}, the buy order's price", price()))
        }
        "price" => ("price".to_owned(), format!("must be at least {}, the sell order's price", price())),
        _ => ("quantity".to_owned(), format!("must be at most {}, what is left of the {order} order", quantity())),
    };
    BookError::FillRefused { pointer: format!("/fills/{at}/{field}"), rule }
}
