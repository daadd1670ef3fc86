//! Batches: changes of one book in one round trip.

use super::actor::Actor;
use super::amending::CallBuilder;
use super::error::BookError;
use super::identifier::Identifier;
use super::model::{BatchReply, BatchRequest, BatchResult, Order, PlacedOrder};
use super::placing::{NewOrder, cancelled, order_of, require_orders};
use super::rules::Rules;
use super::scripts::{self, Reply};
use super::service::OrderBookService;
use crate::http::batch_item::BatchItem;
use crate::http::reply::ItemError;
use crate::tape::Symbol;

impl BatchResult {
    fn refused(status: u16, error: ItemError) -> Self {
        Self { status, order: None, replayed: None, error: Some(error) }
    }

    fn of_error(error: BookError) -> Self {
        let (status, error) = ItemError::of(error);
        Self::refused(status, error)
    }

    fn of_order(result: Result<Order, BookError>) -> Self {
        match result {
            Ok(order) => Self { status: 200, order: Some(order), replayed: None, error: None },
            Err(error) => Self::of_error(error),
        }
    }

    fn of_placed(result: Result<PlacedOrder, BookError>) -> Self {
        match result {
            Ok(PlacedOrder { order, replayed }) => {
                Self { status: 201, order: Some(order), replayed: Some(replayed), error: None }
            }
            Err(error) => Self::of_error(error),
        }
    }
}

/// An item that runs, or its result.
enum Planned<T> {
    Run(T),
    Refused(Box<BatchResult>),
}

impl<T> Planned<T> {
    /// Checks an item of a body.
    fn of<R>(item: BatchItem<R>, check: impl Fn(R) -> Result<T, BookError>) -> Self {
        match item {
            BatchItem::Invalid { problem, .. } => {
                let (status, error) = ItemError::of_problem(&problem);
                Self::Refused(Box::new(BatchResult::refused(status, error)))
            }
            BatchItem::Valid(item) => match check(item) {
                Ok(item) => Self::Run(item),
                Err(error) => Self::Refused(Box::new(BatchResult::of_error(error))),
            },
        }
    }

    fn runs(&self) -> Option<&T> {
        match self {
            Self::Run(item) => Some(item),
            Self::Refused(_) => None,
        }
    }
}

impl OrderBookService {
    /// Cancels, amends and places orders of one book, in this order; each item has its own result.
    ///
    /// # Errors
    /// [`BookError::BookNotFound`], or a fault of the whole batch.
    pub(super) async fn batch(
        &self,
        symbol: &Symbol,
        actor: &Actor,
        request: BatchRequest,
    ) -> Result<BatchReply, BookError> {
        let _timer = self.metrics.time("batch");
        let cancel: Vec<_> = request.cancel.into_iter().map(|item| Planned::of(item, Ok)).collect();
        let amend = request.amend.into_iter().map(|item| {
            Planned::of(item, |item| match item.order_id.clone() {
                Some(id) => Ok((id, item)),
                None => Err(BookError::invalid("/order_id", "is missing")),
            })
        });
        let amend: Vec<_> = amend.collect();
        let place: Vec<_> = request
            .place
            .into_iter()
            .map(|item| Planned::of(item, |item| NewOrder::new(symbol, actor, item)))
            .collect();
        let owner = actor.limit();
        let mut builds: Vec<CallBuilder<'_>> = Vec::new();
        for id in cancel.iter().filter_map(Planned::runs) {
            let owner = &owner;
            builds.push(Box::new(move |target| {
                require_orders(symbol, target.rules)?;
                Ok(scripts::cancel(target, id.as_str(), owner))
            }));
        }
        for (id, item) in amend.iter().filter_map(Planned::runs) {
            builds.push(Box::new(move |target| self.amendment(symbol, target, actor, id, item, None)));
        }
        for order in place.iter().filter_map(Planned::runs) {
            builds.push(Box::new(move |target| Ok(scripts::place(target, self.placement(symbol, target, order)?))));
        }
        let (rules, results) = self.call_each(symbol, &builds).await?;
        drop(builds);
        let mut results = results.into_iter();
        let mut next = || {
            results
                .next()
                .unwrap_or_else(|| Err(BookError::Unreadable { what: "batch without all replies".to_owned() }))
        };
        let cancel = cancel.into_iter().map(|item| match item {
            Planned::Refused(result) => *result,
            Planned::Run(id) => self.counted_cancel(&id, &rules, next()),
        });
        let cancel = cancel.collect();
        let amend = amend.into_iter().map(|item| match item {
            Planned::Refused(result) => *result,
            Planned::Run((id, _)) => self.counted_amend(&id, &rules, next()),
        });
        let amend = amend.collect();
        let place = place.into_iter().map(|item| match item {
            Planned::Refused(result) => *result,
            Planned::Run(order) => self.counted_place(&order, &rules, next()),
        });
        Ok(BatchReply { cancel, amend, place: place.collect() })
    }

    /// Replaces the orders of an earlier response by what became of them since. An order that is no longer kept stays as it
    /// was.
    ///
    /// # Errors
    /// A fault.
    pub(super) async fn refresh(&self, symbol: &Symbol, orders: Vec<&mut Order>) -> Result<(), BookError> {
        let find = |order: &&mut Order| -> CallBuilder<'_> {
            let id = order.order_id.clone();
            Box::new(move |target| {
                require_orders(symbol, target.rules)?;
                Ok(scripts::find(target, &id))
            })
        };
        let builds: Vec<_> = orders.iter().map(find).collect();
        let (rules, results) = match self.call_each(symbol, &builds).await {
            Err(BookError::BookNotFound { .. }) => return Ok(()),
            called => called?,
        };
        drop(builds);
        for (order, result) in orders.into_iter().zip(results) {
            match result.and_then(|reply| order_of(&order.order_id, &reply)) {
                // Another order may have taken the id.
                Ok(now) if (&now.owner, now.created_at) == (&order.owner, order.created_at) => {
                    *order = now.show(&rules);
                }
                Err(BookError::Redis(fault)) => return Err(fault.into()),
                Ok(_) | Err(_) => {}
            }
        }
        Ok(())
    }

    fn counted_cancel(&self, id: &Identifier, rules: &Rules, reply: Result<Reply, BookError>) -> BatchResult {
        let result = reply.and_then(|reply| cancelled(id.as_str(), rules, &reply));
        self.metrics.count("cancel", &result);
        BatchResult::of_order(result)
    }

    fn counted_amend(&self, id: &Identifier, rules: &Rules, reply: Result<Reply, BookError>) -> BatchResult {
        let result = reply.and_then(|reply| self.amended(id, rules, &reply));
        self.metrics.count("amend", &result);
        BatchResult::of_order(result)
    }

    fn counted_place(&self, order: &NewOrder, rules: &Rules, reply: Result<Reply, BookError>) -> BatchResult {
        let result = reply.and_then(|reply| self.placed(&order.id, rules, &reply));
        self.metrics.count("place", &result);
        BatchResult::of_placed(result)
    }
}
