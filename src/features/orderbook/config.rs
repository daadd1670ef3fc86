//! `[orderbook]`: limits and lives of books and orders.

use serde::Deserialize;

use crate::config::value::Span;
use crate::config::{FieldError, Section};

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OrderBookConfig {
    /// The most books.
    pub max_books: usize,
    /// The most resting orders of a book.
    pub max_orders: usize,
    /// The most resting orders of an owner in a book.
    pub max_orders_per_owner: usize,
    /// The life of an order without `expires_at`.
    pub order_life: Span,
    /// The longest life of an order.
    pub max_order_life: Span,
    /// How long a book is kept after its last change.
    pub book_life: Span,
    /// Whether fills and snapshots need a `Fencing-Token`.
    pub require_fence: bool,
    /// The time without a snapshot after which a book of levels is stale.
    pub stale_after: Span,
}

/// The most resting orders of an owner: a script reads all of them at once.
const MAX_PER_OWNER: usize = 5_000;

impl Section for OrderBookConfig {
    const NAME: &'static str = "orderbook";

    fn validate(&self) -> Result<(), FieldError> {
        FieldError::reject_zero([
            ("max_books", self.max_books == 0),
            ("max_orders", self.max_orders == 0),
            ("max_orders_per_owner", self.max_orders_per_owner == 0),
            ("order_life", self.order_life.as_millis() == 0),
            ("stale_after", self.stale_after.as_millis() == 0),
        ])?;
        if self.max_orders_per_owner > MAX_PER_OWNER {
            return Err(FieldError::new("max_orders_per_owner", format!("must be at most {MAX_PER_OWNER}")));
        }
        if self.order_life > self.max_order_life {
            return Err(FieldError::new("order_life", "must not exceed max_order_life"));
        }
        // An order must end before the book that it rests in.
        if self.max_order_life >= self.book_life {
            return Err(FieldError::new("max_order_life", "must be shorter than book_life"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn an_unsafe_setting_is_refused_by_name() {
        for (overrides, field) in [
            ("max_books = 0", "orderbook.max_books"),
            ("max_orders_per_owner = 5001", "orderbook.max_orders_per_owner"),
            ("order_life = \"8d\"", "orderbook.order_life"),
            ("max_order_life = \"8d\"", "orderbook.max_order_life"),
        ] {
            let config = Config::with_overrides(&format!("[orderbook]\n{overrides}")).expect("TOML");
            let error = config.section::<OrderBookConfig>().expect_err(overrides).to_string();
            assert!(error.contains(field), "{overrides}: {error}");
        }
    }
}
