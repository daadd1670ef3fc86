//! Changing orders: amend one, cancel those of an owner, and batches of changes.

use std::sync::Arc;

use super::actor::Actor;
use super::error::BookError;
use super::identifier::{Identifier, Owner};
use super::model::{AmendRequest, BookCancelled, Cancelled, CancelledEverywhere, Order};
use super::placing::{ended, order_of, require_orders};
use super::record::word;
use super::rules::{Rules, Side};
use super::scripts::{self, Amendment, BookCall, Reply, Target};
use super::service::OrderBookService;
use crate::http::reply::ItemError;
use crate::tape::Symbol;

/// How often one request cancels 64 orders of an owner in a book: more than an owner may have by default.
const CANCEL_ROUNDS: usize = 32;

impl OrderBookService {
    /// Amends an order. `version` is the sequence and the revision that it must have.
    ///
    /// # Errors
    /// [`BookError::OrderNotFound`], [`BookError::OrderEnded`], [`BookError::Precondition`] for another version, or
    /// [`BookError::OutOfRange`] for a quantity that is filled already. Nothing was changed then.
    pub(super) async fn amend(
        &self,
        symbol: &Symbol,
        actor: &Actor,
        id: &Identifier,
        request: &AmendRequest,
        version: Option<(u64, u64)>,
    ) -> Result<Order, BookError> {
        let _timer = self.metrics.time("amend");
        let called =
            self.call(symbol, None, |target| self.amendment(symbol, target, actor, id, request, version)).await;
        let amended = called.and_then(|(rules, reply)| self.amended(id, &rules, &reply));
        self.metrics.count("amend", &amended);
        amended
    }

    /// The script call that amends an order.
    pub(super) fn amendment(
        &self,
        symbol: &Symbol,
        target: &Target<'_>,
        actor: &Actor,
        id: &Identifier,
        request: &AmendRequest,
        version: Option<(u64, u64)>,
    ) -> Result<BookCall, BookError> {
        require_orders(symbol, target.rules)?;
        let price = request.price.as_deref().map(|text| target.rules.price("/price", text)).transpose()?;
        let quantity = request.quantity.as_deref().map(|text| target.rules.quantity("/quantity", text)).transpose()?;
        let amendment = Amendment {
            id: id.as_str(),
            owner: &actor.limit(),
            ticks: price,
            quantity,
            expires_at: request.expires_at,
            longest_life: self.config.max_order_life.as_millis(),
            version,
        };
        Ok(scripts::amend(target, &amendment))
    }

    /// The result of `amend.lua`.
    pub(super) fn amended(&self, id: &Identifier, rules: &Rules, reply: &Reply) -> Result<Order, BookError> {
        match reply.status.as_str() {
            "order" | "unknown" => Ok(order_of(id.as_str(), reply)?.show(rules)),
            "ended" => Err(ended(&order_of(id.as_str(), reply)?, rules)),
            "version" => Err(BookError::Precondition),
            "filled" => {
                let order = order_of(id.as_str(), reply)?;
                let filled = rules.print_quantity(order.quantity - order.remaining);
                let rule = format!("must be above {filled}, which is filled");
                Err(BookError::OutOfRange { pointer: "/quantity".to_owned(), rule })
            }
            _ => Err(self.refused(reply)),
        }
    }

    /// Cancels the orders of an owner in a book.
    ///
    /// # Errors
    /// [`BookError::BookNotFound`] or a fault; [`BookError::Interrupted`] if some orders are cancelled.
    pub(super) async fn cancel_owner(
        &self,
        symbol: &Symbol,
        owner: &Owner,
        side: Option<Side>,
    ) -> Result<Cancelled, BookError> {
        let escaped = word(owner.as_str());
        let side = side.map(Side::letter).unwrap_or_default();
        let mut cancelled = 0;
        for _ in 0..CANCEL_ROUNDS {
            let called = self.call(symbol, None, |target| {
                require_orders(symbol, target.rules)?;
                Ok(scripts::cancel_owner(target, target.keys.owner(owner), &escaped, side))
            });
            let (_, reply) = called.await.map_err(|error| match cancelled {
                0 => error,
                _ => BookError::Interrupted { cancelled, error: Box::new(error) },
            })?;
            cancelled += reply.number::<u64>(0);
            if reply.word(1) == "0" {
                return Ok(Cancelled { cancelled, more: false });
            }
        }
        Ok(Cancelled { cancelled, more: true })
    }

    /// Cancels the orders of an owner in all books.
    ///
    /// # Errors
    /// A fault, if no order was cancelled. Otherwise a fault that concerns a book is in its result.
    pub(super) async fn cancel_everywhere(
        &self,
        owner: &Owner,
        side: Option<Side>,
    ) -> Result<CancelledEverywhere, BookError> {
        let symbols = self.symbols().await?;
        let mut reply = CancelledEverywhere { books: Vec::new(), cancelled: 0, more: false };
        let results =
            futures_util::future::join_all(symbols.iter().map(|symbol| self.cancel_owner(symbol, owner, side))).await;
        let mut failure: Option<BookError> = None;
        for (symbol, result) in symbols.into_iter().zip(results) {
            let book = match result {
                Ok(Cancelled { cancelled: 0, more: false })
                | Err(BookError::BookNotFound { .. } | BookError::BookIsLevels { .. }) => continue,
                Ok(Cancelled { cancelled, more }) => BookCancelled { symbol, cancelled, more, error: None },
                Err(error) => {
                    failure = failure.filter(|_| !error.may_be_applied()).or_else(|| Some(error.clone()));
                    let cancelled = if let BookError::Interrupted { cancelled, .. } = error { cancelled } else { 0 };
                    BookCancelled { symbol, cancelled, more: true, error: Some(ItemError::of(error).1) }
                }
            };
            reply.cancelled += book.cancelled;
            reply.more |= book.more;
            reply.books.push(book);
        }
        match failure {
            Some(error) if reply.cancelled == 0 => Err(error),
            _ => Ok(reply),
        }
    }

    /// Makes several calls of one book in one round trip for each 64, in their order; each has its own result.
    ///
    /// # Errors
    /// [`BookError::BookNotFound`], or a fault of the first round trip.
    pub(super) async fn call_each(
        &self,
        symbol: &Symbol,
        builds: &[CallBuilder<'_>],
    ) -> Result<(Arc<Rules>, Vec<Result<Reply, BookError>>), BookError> {
        // A cheap call makes sure that the rules are those of the book, as far as can be known before the others run.
        let (rules, _) = self.call(symbol, None, |target| Ok(scripts::sweep(target))).await?;
        let keys = self.keys(symbol);
        let now = self.clock.redis_arg();
        let life = self.config.book_life.as_millis();
        let target = Target { keys: &keys, rules: &rules, now: &now, life, fence: None };
        let mut results: Vec<Option<BookError>> = Vec::with_capacity(builds.len());
        let mut calls = Vec::with_capacity(builds.len());
        for build in builds {
            match build(&target) {
                Ok(call) => {
                    calls.push(call);
                    results.push(None);
                }
                Err(error) => results.push(Some(error)),
            }
        }
        let mut replies = self.redis.call_all(calls).await?.into_iter();
        let results = results.into_iter().map(|refused| match refused {
            Some(error) => Err(error),
            None => match replies.next() {
                Some(Ok(reply)) if reply.status == "missing" => Err(BookError::BookNotFound { symbol: symbol.clone() }),
                Some(Ok(reply)) if reply.status == "rules" => Err(BookError::Unsettled { symbol: symbol.clone() }),
                Some(Ok(reply)) => Ok(reply),
                Some(Err(fault)) => Err(fault.into()),
                None => Err(BookError::Unreadable { what: "batch without all replies".to_owned() }),
            },
        });
        Ok((rules, results.collect()))
    }
}

/// Builds the call of one item of a batch.
pub(super) type CallBuilder<'a> = Box<dyn Fn(&Target<'_>) -> Result<BookCall, BookError> + Send + Sync + 'a>;
