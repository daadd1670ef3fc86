//! The value `book.top` that other capabilities compute: the best levels of a book.

use std::sync::Arc;

use super::error::BookError;
use super::model::MAX_DEPTH;
use super::service::OrderBookService;
use crate::computed::Computed;
use crate::tape::Symbol;

/// The levels of both sides, if the arguments name no depth.
const DEPTH: usize = 50;

/// Registers the function.
pub(super) fn provide(computed: &Computed, books: &Arc<OrderBookService>) {
    let books = Arc::clone(books);
    computed.provide("book.top", &["symbol", "depth"], move |mut arguments| {
        let books = Arc::clone(&books);
        async move {
            let symbol = Symbol::try_from(arguments.remove("symbol").unwrap_or_default())?;
            let depth = arguments.get("depth").and_then(|depth| depth.parse().ok()).unwrap_or(DEPTH);
            match books.view(&symbol, depth.clamp(1, MAX_DEPTH)).await {
                // Texts and numbers always serialise.
                Ok(view) => Ok(Some(serde_json::to_string(&view.body).unwrap_or_default())),
                Err(BookError::BookNotFound { .. }) => Ok(None),
                Err(error) => Err(error.to_string()),
            }
        }
    });
}
