//! The market's epoch: the period in which orders are collected, cleared together and settled.
//!
//! Files, in reading order:
//! - `model.rs`: wire types and the stored record; `routes.rs`: the HTTP operations.
//! - `lifecycle.rs`: which changes a record permits, as pure functions.
//! - `service.rs`: reads and replaces records; `scripts.rs`: the script call; `keys.rs`: the Redis keys; `error.rs`.
//!
//! Keys: see `keys.rs`. Without Redis: every call answers 503.
//!
//! Decisions:
//! - One script compares the records that the caller has read with the stored ones and replaces them. A caller whose
//!   records were replaced meanwhile decides again, so concurrent calls create one epoch.
//! - The end of an epoch passes by itself and changes no record: a reply says `ended`. A caller clears the epoch.
//! - One epoch is open at a time. The next one begins after the current one is cleared or cancelled.
//! - The current record keeps the platform's key, and its text is the record in JSON.

mod error;
mod keys;
mod lifecycle;
mod model;
mod routes;
mod scripts;
mod service;

use std::sync::Arc;

use super::feature::{Feature, StartError};
use crate::deps::Deps;
use crate::http::access::{Access, Repetition};
use crate::http::auth::ADMIN;
use crate::http::openapi_router::{OpenApiRouter, routes};
use crate::http::problem::{CALLER, JSON_BODY, REDIS_READ, REDIS_WRITE};
use service::EpochService;

const READ: &str = "market:read";
const WRITE: &str = "orders:match";

pub static FEATURE: Feature =
    Feature {
        name: "epoch",
        mount,
        access: &[
            Access::scoped("POST", "/market/epoch/advance", WRITE)
                .repeated_by(Repetition::Refresh)
                .fenced()
                .problems(&[CALLER, JSON_BODY, REDIS_WRITE, error::CHANGE]),
            Access::scoped("DELETE", "/fences/market/epoch", ADMIN).problems(&[CALLER, REDIS_WRITE, error::FENCE]),
            Access::scoped("GET", "/market/epoch", READ).problems(&[CALLER, REDIS_READ, error::READ]),
            Access::scoped("PUT", "/market/epoch", WRITE).fenced().problems(&[
                CALLER,
                JSON_BODY,
                REDIS_WRITE,
                error::READ,
                error::CHANGE,
            ]),
            Access::scoped("GET", "/market/epochs", READ).problems(&[CALLER, REDIS_READ, error::LIST]),
        ],
        problems: error::PROBLEMS,
        scripts: scripts::SCRIPTS,
        section: None,
    };

#[expect(clippy::unnecessary_wraps, reason = "the form of every feature's mount")]
fn mount(deps: &Deps) -> Result<OpenApiRouter, StartError> {
    let epochs = EpochService::new(&deps.redis.state, &deps.clock);
    // In the order in which a newcomer tries them: there is no epoch before the first call of `advance`.
    Ok(OpenApiRouter::new()
        .routes(routes!(routes::advance_epoch))
        .routes(routes!(routes::get_epoch, routes::put_epoch))
        .routes(routes!(routes::list_epochs))
        .routes(routes!(routes::reset_epoch_fence))
        .with_state(Arc::new(epochs)))
}
