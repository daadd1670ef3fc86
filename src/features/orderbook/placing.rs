//! Placing, reading and cancelling orders.

use std::sync::Arc;

use super::actor::Actor;
use super::error::BookError;
use super::identifier::{Identifier, Owner};
use super::model::{Order, OrderRequest, OrderStatus, PlacedOrder};
use super::record::{OrderRecord, digest, rest, word};
use super::rules::{Kind, Rules};
use super::scripts::{self, Placement, Reply, Target};
use super::service::OrderBookService;
use crate::tape::Symbol;

/// The most bytes of an order's metadata.
const MAX_METADATA: usize = 512;
/// Names of routes, which no order can have.
const RESERVED: &[&str] = &["batch"];

/// An order whose id and owner are known.
#[derive(Debug)]
pub(super) struct NewOrder {
    pub id: Identifier,
    pub owner: Owner,
    request: OrderRequest,
}

impl NewOrder {
    /// # Errors
    /// [`BookError::Invalid`] or [`BookError::OtherOwner`].
    pub(super) fn new(symbol: &Symbol, actor: &Actor, mut request: OrderRequest) -> Result<Self, BookError> {
        let owner = actor.owner(request.owner.take())?;
        let id = match (&request.order_id, &request.client_order_id) {
            (Some(id), _) if RESERVED.contains(&id.as_str()) => {
                return Err(BookError::invalid("/order_id", format!("must not be `{id}`, the name of a route")));
            }
            (Some(id), _) => id.clone(),
            (None, Some(client)) => Identifier::of_client_order(symbol, &owner, client),
            (None, None) => return Err(BookError::invalid("/order_id", "is missing, as is client_order_id")),
        };
        let length = request.metadata.as_ref().map_or(0, |metadata| metadata.text().len());
        if length > MAX_METADATA {
            let rule = format!("must have at most {MAX_METADATA} bytes of JSON, got {length}");
            return Err(BookError::invalid("/metadata", rule));
        }
        Ok(Self { id, owner, request })
    }
}

impl OrderBookService {
    /// Places an order. Placing it again returns it as it is then.
    ///
    /// # Errors
    /// [`BookError`]; after a fault with an unknown outcome, place it again with the same id.
    pub(super) async fn place(
        &self,
        symbol: &Symbol,
        actor: &Actor,
        request: OrderRequest,
    ) -> Result<PlacedOrder, BookError> {
        let _timer = self.metrics.time("place");
        let order = NewOrder::new(symbol, actor, request)?;
        let place = |target: &Target<'_>| Ok(scripts::place(target, self.placement(symbol, target, &order)?));
        let called = self.call(symbol, None, place).await;
        let placed = called.and_then(|(rules, reply)| self.placed(&order.id, &rules, &reply));
        self.metrics.count("place", &placed);
        placed
    }

    /// An order as scripts store it.
    pub(super) fn placement<'a>(
        &self,
        symbol: &Symbol,
        target: &Target<'_>,
        order: &'a NewOrder,
    ) -> Result<Placement<'a>, BookError> {
        require_orders(symbol, target.rules)?;
        let request = &order.request;
        let ticks = target.rules.price("/price", &request.price)?;
        let quantity = target.rules.quantity("/quantity", &request.quantity)?;
        let owner = word(order.owner.as_str());
        let rest = rest(request.client_order_id.as_ref(), request.epoch_number, request.metadata.as_ref());
        let side = request.side.letter();
        let request_text = format!("{side} {ticks} {quantity} {owner} {:?} {rest}", request.expires_at);
        Ok(Placement {
            id: order.id.as_str(),
            side,
            ticks,
            quantity,
            owner,
            owner_key: target.keys.owner(&order.owner),
            expires_at: request.expires_at,
            default_life: self.config.order_life.as_millis(),
            longest_life: self.config.max_order_life.as_millis(),
            content: format!("{} {rest}", digest(&request_text)),
            max_orders: self.config.max_orders,
            max_own: self.config.max_orders_per_owner,
        })
    }

    /// The result of `place.lua`.
    pub(super) fn placed(&self, id: &Identifier, rules: &Rules, reply: &Reply) -> Result<PlacedOrder, BookError> {
        match reply.status.as_str() {
            status @ ("placed" | "replayed") => {
                let order = order_of(id.as_str(), reply)?.show(rules);
                Ok(PlacedOrder { order, replayed: status == "replayed" })
            }
            "reused" => Err(BookError::OrderIdReused { id: id.to_string() }),
            "full" => Err(BookError::BookFull { limit: self.config.max_orders }),
            "owner-full" => Err(BookError::OwnerFull { limit: self.config.max_orders_per_owner }),
            _ => Err(self.refused(reply)),
        }
    }

    /// The error of a quantity or a time that a script has refused.
    pub(super) fn refused(&self, reply: &Reply) -> BookError {
        match reply.status.as_str() {
            "overflow" => BookError::OutOfRange {
                pointer: "/quantity".to_owned(),
                rule: "must not raise the total of its price above 30 digits".to_owned(),
            },
            "expires" => {
                let (now, life) = (reply.number::<u64>(0), self.config.max_order_life);
                BookError::invalid(
                    "/expires_at",
                    format!("must be after now, {now}, and at most {life} after the order is placed"),
                )
            }
            other => BookError::Unreadable { what: format!("reply `{other}`") },
        }
    }

    /// The record of an order that rests, or that ended within the last two hours.
    ///
    /// # Errors
    /// [`BookError::OrderNotFound`], for the order of another owner as well.
    pub(super) async fn record(
        &self,
        symbol: &Symbol,
        actor: &Actor,
        id: &Identifier,
    ) -> Result<(Arc<Rules>, OrderRecord), BookError> {
        let (rules, reply) = self
            .call(symbol, None, |target| {
                require_orders(symbol, target.rules)?;
                Ok(scripts::find(target, id.as_str()))
            })
            .await?;
        let record = order_of(id.as_str(), &reply)?;
        if actor.may_see(&record.owner) { Ok((rules, record)) } else { Err(not_found(id.as_str())) }
    }

    /// Cancels an order. Cancelling it again returns the same order.
    ///
    /// # Errors
    /// [`BookError::OrderNotFound`], or [`BookError::OrderEnded`] if it was filled or expired before.
    pub(super) async fn cancel(&self, symbol: &Symbol, actor: &Actor, id: &Identifier) -> Result<Order, BookError> {
        let _timer = self.metrics.time("cancel");
        let owner = actor.limit();
        let called = self
            .call(symbol, None, |target| {
                require_orders(symbol, target.rules)?;
                Ok(scripts::cancel(target, id.as_str(), &owner))
            })
            .await;
        let cancelled = called.and_then(|(rules, reply)| cancelled(id.as_str(), &rules, &reply));
        self.metrics.count("cancel", &cancelled);
        cancelled
    }
}

/// The result of `cancel.lua`.
pub(super) fn cancelled(id: &str, rules: &Rules, reply: &Reply) -> Result<Order, BookError> {
    let record = order_of(id, reply)?;
    match record.status() {
        OrderStatus::Cancelled => Ok(record.show(rules)),
        _ => Err(ended(&record, rules)),
    }
}

/// The order of a reply.
pub(super) fn order_of(id: &str, reply: &Reply) -> Result<OrderRecord, BookError> {
    if reply.status == "unknown" {
        return Err(not_found(id));
    }
    let unreadable = || BookError::Unreadable { what: format!("order `{id}`") };
    OrderRecord::parse(id, reply.word(0)).ok_or_else(unreadable)
}

pub(super) fn not_found(id: &str) -> BookError {
    BookError::OrderNotFound { id: id.to_owned() }
}

/// Why an order that has ended cannot be changed.
pub(super) fn ended(record: &OrderRecord, rules: &Rules) -> BookError {
    BookError::OrderEnded {
        id: record.id.clone(),
        status: record.status(),
        at: record.ended_at,
        remaining: rules.print_quantity(record.remaining),
    }
}

/// # Errors
/// [`BookError::BookIsLevels`] for a book without orders.
pub(super) fn require_orders(symbol: &Symbol, rules: &Rules) -> Result<(), BookError> {
    match rules.kind {
        Kind::Orders => Ok(()),
        Kind::Levels => Err(BookError::BookIsLevels { symbol: symbol.clone() }),
    }
}
