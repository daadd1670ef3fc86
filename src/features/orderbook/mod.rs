//! Order books: exact prices and quantities, price-time priority, orders that are placed once, and changes that clients can
//! follow and verify.
//!
//! Files, in reading order:
//! - `model.rs`, `identifier.rs`: requests and responses; `routes/`: the HTTP operations; `actor.rs`: for whom a caller acts.
//! - `service.rs`: how every operation calls the scripts of a book. `placing.rs`: place, read, cancel. `amending.rs`: amend, and
//!   cancel the orders of an owner. `batch.rs`. `listing.rs`: pages of orders. `filling.rs`: fills of the matching engine.
//!   `snapshots.rs`: snapshots of levels and of orders. `state.rs`, `views.rs`: the best levels. `deltas.rs`: changes, with
//!   long polling.
//! - `rules.rs`: how the numbers of a book are read and printed. `record.rs`: orders as Redis keeps them. `checksum.rs`.
//! - `directory.rs`: the list of books. `follower.rs`: ends expired orders and publishes changes, as `messages.rs` words them.
//! - `scripts.rs`, `keys.rs`, `config.rs`, `error.rs`, `metrics.rs`.
//!
//! Keys: see `keys.rs`. Without Redis: every call fails with 503. No book is shown from memory.
//!
//! Decisions:
//! - A price is a whole number of ticks and the score of a sorted set; a quantity is 30 digits of text, which scripts add in
//!   two halves if a double would not be exact. No digit is lost.
//! - All keys of a book share a slot, so each operation is one script, which checks everything before its first write.
//! - Every script first ends expired orders. A view that finds more than it can end in one call is read again, so that no
//!   client sees an expired order, even if no sweeper runs.
//! - A stream of deltas is the history of the book and its outbox. Generation and sequence name a state; a new generation
//!   begins when Redis may have lost changes.
//! - The service knows the rules of a book and sends them with every call. A script refuses other rules than those of the
//!   book, so that no price is read with the wrong decimals.
//! - Levels have totals, so a view costs as much as it shows, regardless of the number of orders.

mod actor;
mod amending;
mod batch;
mod checksum;
mod computed;
mod config;
mod deltas;
mod directory;
mod error;
mod filling;
mod follower;
mod identifier;
mod keys;
mod listing;
mod messages;
mod metrics;
mod model;
mod placing;
mod record;
mod routes;
mod rules;
mod scripts;
mod service;
mod snapshots;
mod state;
mod views;

use std::sync::Arc;

use super::feature::{Feature, StartError};
use crate::config::SectionCheck;
use crate::deps::Deps;
use crate::http::access::{Access, Repetition};
use crate::http::auth::ADMIN;
use crate::http::openapi_router::{OpenApiRouter, routes};
use crate::http::problem::{ARCHIVE_BEHIND, CALLER, INVALID_HEADER, INVALID_QUERY, JSON_BODY, REDIS_WRITE};
use config::OrderBookConfig;
use error::{AMEND, BOOK, CANCEL, MATCHING, NUMBERS, ORDERS, PLACE, SETTINGS};
use follower::Follower;
use service::OrderBookService;

const MARKET: &str = "market:read";
const READ: &str = "orders:read";
const WRITE: &str = "orders:write";
const MATCH: &str = "orders:match";

// Reads end expired orders, so they have the problems of writes.
pub static FEATURE: Feature = Feature {
    name: "orderbook",
    mount,
    access: &[
        Access::scoped("PUT", "/orderbooks/{symbol}/settings", ADMIN).fenced().problems(&[
            CALLER,
            REDIS_WRITE,
            JSON_BODY,
            BOOK,
            SETTINGS,
        ]),
        Access::scoped("GET", "/orderbooks/{symbol}/settings", MARKET).problems(&[CALLER, REDIS_WRITE, BOOK]),
        Access::scoped("GET", "/orderbooks", MARKET).heavy().problems(&[CALLER, REDIS_WRITE, &[&INVALID_QUERY]]),
        Access::scoped("GET", "/orderbooks/{symbol}", MARKET).problems(&[
            CALLER,
            REDIS_WRITE,
            BOOK,
            &[&INVALID_HEADER],
        ]),
        Access::scoped("GET", "/orderbooks/{symbol}/best", MARKET).problems(&[CALLER, REDIS_WRITE, BOOK]),
        Access::scoped("DELETE", "/orderbooks/{symbol}", ADMIN).fenced().problems(&[CALLER, REDIS_WRITE, BOOK]),
        Access::scoped("DELETE", "/fences/orderbooks/{symbol}", ADMIN).problems(&[CALLER, REDIS_WRITE]),
        Access::scoped("POST", "/orderbooks/{symbol}/orders", WRITE).repeated_by(Repetition::Refresh).problems(&[
            CALLER,
            REDIS_WRITE,
            JSON_BODY,
            BOOK,
            ORDERS,
            NUMBERS,
            PLACE,
        ]),
        Access::scoped("GET", "/orderbooks/{symbol}/orders", READ).problems(&[CALLER, REDIS_WRITE, BOOK, ORDERS]),
        Access::scoped("GET", "/orderbooks/{symbol}/orders/{order_id}", READ).problems(&[
            CALLER,
            REDIS_WRITE,
            BOOK,
            ORDERS,
            &[&error::ORDER_NOT_FOUND],
        ]),
        Access::scoped("DELETE", "/orderbooks/{symbol}/orders/{order_id}", WRITE).problems(&[
            CALLER,
            REDIS_WRITE,
            BOOK,
            ORDERS,
            CANCEL,
        ]),
        Access::scoped("PATCH", "/orderbooks/{symbol}/orders/{order_id}", WRITE)
            .frees()
            .repeated_by(Repetition::Refresh)
            .problems(&[CALLER, REDIS_WRITE, JSON_BODY, BOOK, ORDERS, NUMBERS, CANCEL, AMEND]),
        Access::scoped("POST", "/orderbooks/{symbol}/orders/batch", WRITE)
            .heavy()
            .frees()
            .repeated_by(Repetition::Refresh)
            .problems(&[
                CALLER,
                REDIS_WRITE,
                JSON_BODY,
                BOOK,
                ORDERS,
                NUMBERS,
                PLACE,
                CANCEL,
                &[&error::ORDER_CANCELLED],
            ]),
        Access::scoped("DELETE", "/orderbooks/{symbol}/orders", WRITE).problems(&[CALLER, REDIS_WRITE, BOOK, ORDERS]),
        Access::scoped("DELETE", "/orders", WRITE).heavy().problems(&[CALLER, REDIS_WRITE, &[&INVALID_QUERY]]),
        Access::scoped("POST", "/orderbooks/{symbol}/fills", MATCH).fenced().problems(&[
            CALLER,
            REDIS_WRITE,
            JSON_BODY,
            BOOK,
            ORDERS,
            NUMBERS,
            MATCHING,
            &[&error::FILL_REFUSED, &ARCHIVE_BEHIND],
        ]),
        Access::scoped("PUT", "/orderbooks/{symbol}", MATCH).fenced().heavy().streaming().problems(&[
            CALLER,
            REDIS_WRITE,
            JSON_BODY,
            BOOK,
            ORDERS,
            NUMBERS,
            MATCHING,
            &[&error::STALE_SNAPSHOT, &error::BOOK_MODE, &error::BOOK_FULL, &error::OWNER_FULL],
        ]),
        Access::scoped("GET", "/orderbooks/{symbol}/deltas", MARKET).waiting().problems(&[
            CALLER,
            REDIS_WRITE,
            BOOK,
            &[&error::DELTAS_TRIMMED],
        ]),
    ],
    problems: error::PROBLEMS,
    scripts: scripts::SCRIPTS,
    section: Some(SectionCheck::of::<OrderBookConfig>()),
};

fn mount(deps: &Deps) -> Result<OpenApiRouter, StartError> {
    let books = OrderBookService::new(deps, deps.config.section()?, &deps.config.section()?, &deps.config.section()?);
    computed::provide(&deps.computed, &books);
    let follower = Follower::new(Arc::clone(&books), deps.events.clone());
    deps.tasks.plan("orderbook.follow", |stop| follower.run(stop));
    // In the order in which a newcomer tries them: the book exists before its orders.
    Ok(OpenApiRouter::new()
        .routes(routes!(routes::put_book_settings, routes::get_book_settings))
        .routes(routes!(routes::place_order, routes::list_orders, routes::cancel_orders))
        .routes(routes!(routes::change_orders))
        .routes(routes!(routes::get_order, routes::amend_order, routes::cancel_order))
        .routes(routes!(routes::cancel_orders_everywhere))
        .routes(routes!(routes::report_fills))
        .routes(routes!(routes::get_deltas))
        .routes(routes!(routes::list_books))
        .routes(routes!(routes::get_best_prices))
        .routes(routes!(routes::get_book, routes::replace_book, routes::delete_book))
        .routes(routes!(routes::reset_book_fence))
        .with_state(books))
}
