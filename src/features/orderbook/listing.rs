//! Pages of orders: those of an owner, or the queue of a side.

use super::MATCH;
use super::actor::Actor;
use super::error::BookError;
use super::identifier::Owner;
use super::model::{Order, OrdersQuery};
use super::placing::require_orders;
use super::record::{OrderRecord, word};
use super::rules::Side;
use super::scripts::{self, PageRequest};
use super::service::OrderBookService;
use crate::http::reply::Page;
use crate::tape::Symbol;

impl OrderBookService {
    /// Lists the orders of an owner in the order of their arrival, or those of a side in the order in which they match.
    ///
    /// # Errors
    /// [`BookError::OtherOwner`] or [`BookError::AllOwners`] if the caller may not see them; [`BookError::Invalid`] for a
    /// cursor of another list.
    pub(super) async fn orders(
        &self,
        symbol: &Symbol,
        actor: &Actor,
        may_match: bool,
        query: OrdersQuery,
    ) -> Result<Page<Order>, BookError> {
        let owner = match (actor, query.owner) {
            (Actor::Anyone, owner) => owner,
            (user @ Actor::User(_), owner) => Some(user.owner(owner)?),
        };
        if owner.is_none() && !may_match {
            return Err(BookError::AllOwners { scope: MATCH });
        }
        if owner.is_none() && query.side.is_none() {
            return Err(BookError::invalid("/side", "is missing, as is owner"));
        }
        let (score, sequence) = match query.cursor.as_deref() {
            Some(cursor) => {
                position(cursor).ok_or_else(|| BookError::invalid("/cursor", "must be the next_cursor of a page"))?
            }
            None => ("", ""),
        };
        let side = query.side.map(Side::letter).unwrap_or_default();
        let escaped = owner.as_ref().map(|owner| word(owner.as_str())).unwrap_or_default();
        let (rules, reply) = self
            .call(symbol, None, |target| {
                require_orders(symbol, target.rules)?;
                Ok(scripts::page(
                    target,
                    PageRequest {
                        list: if owner.is_some() { "owner" } else { side },
                        owner: &escaped,
                        owner_key: owner
                            .as_ref()
                            .map_or_else(|| target.keys.state(), |owner: &Owner| target.keys.owner(owner)),
                        score,
                        sequence,
                        limit: query.limit,
                        side,
                    },
                ))
            })
            .await?;
        let records = reply.words.iter().skip(2).filter_map(|line| {
            let (id, record) = line.split_once(' ')?;
            OrderRecord::parse(id, record)
        });
        let items = records.map(|record| record.show(&rules)).collect();
        let next_cursor = (!reply.word(1).is_empty()).then(|| format!("{}.{}", reply.word(0), reply.word(1)));
        Ok(Page { items, next_cursor })
    }
}

/// The score and the sequence in a cursor. Other text must not reach the script, which fails after it has ended expired orders.
fn position(cursor: &str) -> Option<(&str, &str)> {
    let (score, sequence) = cursor.split_once('.')?;
    score.parse::<i64>().ok()?;
    sequence.parse::<u64>().ok()?;
    Some((score, sequence))
}
