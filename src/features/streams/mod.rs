//! Event streams: append with an expected version, read from any version, and share the work in groups of consumers.
//!
//! Files, in reading order:
//! - `names.rs`, `model.rs`, `group_model.rs`: requests and responses; `routes/`: the HTTP operations.
//! - `service.rs`: appending and reading. `groups.rs`: groups, claims, acknowledgements. `waiting.rs`: consumers that wait.
//! - `announcer.rs`: tells the subscribers of a stream's channel.
//! - `scripts.rs`, `keys.rs`, `config.rs`, `error.rs`, `metrics.rs`.
//!
//! Keys: see `keys.rs`. Without Redis: every call fails with 503.
//!
//! Decisions:
//! - The version of an event is its place in the stream, and the id of its entry in Redis. One script checks the expected
//!   version and appends, so that versions have no duplicates and no gaps.
//! - A group is a cursor and the events that it holds, kept by our scripts instead of Redis's consumer groups: so the lag is
//!   exact, an event can be returned with a delay, and every delivery has its own number. A receipt contains that number, so
//!   a consumer that has lost an event cannot acknowledge it.
//! - Waiting takes no connection and no command: scripts announce what there is to deliver, and at each replica one consumer of
//!   a group asks for all that wait.
//! - Acknowledgements may be lost with a failover: events are delivered at least once.

mod announcer;
mod config;
mod error;
mod group_model;
mod groups;
mod keys;
mod metrics;
mod model;
mod names;
mod routes;
mod scripts;
mod service;
mod waiting;

use super::feature::{Feature, StartError};
use crate::config::SectionCheck;
use crate::deps::Deps;
use crate::http::access::{Access, Repetition};
use crate::http::auth::ADMIN;
use crate::http::openapi_router::{OpenApiRouter, routes};
use crate::http::problem::{CALLER, INVALID_QUERY, JSON_BODY, REDIS_READ, REDIS_WRITE};
use config::StreamsConfig;
use error::{APPEND, GROUP, STREAM};
use service::StreamService;

const READ: &str = "streams:read";
const WRITE: &str = "streams:write";

pub static FEATURE: Feature = Feature {
    name: "streams",
    mount,
    access: &[
        Access::scoped("POST", "/streams/{stream}/events", WRITE).fenced().problems(&[
            CALLER,
            REDIS_WRITE,
            JSON_BODY,
            APPEND,
        ]),
        Access::scoped("GET", "/streams/{stream}/events", READ).waiting().problems(&[CALLER, REDIS_READ, STREAM]),
        Access::scoped("GET", "/streams", READ).heavy().problems(&[CALLER, REDIS_READ, &[&INVALID_QUERY]]),
        Access::scoped("GET", "/streams/{stream}", READ).problems(&[CALLER, REDIS_READ, STREAM]),
        Access::scoped("DELETE", "/streams/{stream}", ADMIN).problems(&[CALLER, REDIS_WRITE, STREAM]),
        Access::scoped("DELETE", "/fences/streams/{stream}", ADMIN).problems(&[CALLER, REDIS_WRITE]),
        Access::scoped("PUT", "/streams/{stream}/groups/{group}", READ).problems(&[
            CALLER,
            REDIS_WRITE,
            JSON_BODY,
            STREAM,
            &[&error::TOO_MANY_GROUPS, &error::GROUP_NOT_FOUND],
        ]),
        Access::scoped("GET", "/streams/{stream}/groups", READ).problems(&[CALLER, REDIS_READ, STREAM]),
        Access::scoped("GET", "/streams/{stream}/groups/{group}", READ).problems(&[CALLER, REDIS_READ, STREAM, GROUP]),
        Access::scoped("DELETE", "/streams/{stream}/groups/{group}", ADMIN).problems(&[
            CALLER,
            REDIS_WRITE,
            STREAM,
            GROUP,
        ]),
        consuming("/streams/{stream}/groups/{group}/claim").waiting().repeated_by(Repetition::Rerun).problems(&[
            CALLER,
            REDIS_WRITE,
            JSON_BODY,
            STREAM,
            GROUP,
        ]),
        consuming("/streams/{stream}/groups/{group}/ack").frees().problems(SETTLE),
        consuming("/streams/{stream}/groups/{group}/nack").frees().problems(SETTLE),
        consuming("/streams/{stream}/groups/{group}/extend").frees().repeated_by(Repetition::Rerun).problems(SETTLE),
        Access::scoped("GET", "/streams/{stream}/groups/{group}/dead-letters", READ).problems(&[
            CALLER,
            REDIS_WRITE,
            STREAM,
            GROUP,
        ]),
        consuming("/streams/{stream}/groups/{group}/dead-letters/redrive").problems(&[
            CALLER,
            REDIS_WRITE,
            JSON_BODY,
            STREAM,
            GROUP,
        ]),
        Access::scoped("POST", "/streams/{stream}/groups/{group}/replay", ADMIN).problems(&[
            CALLER,
            REDIS_WRITE,
            JSON_BODY,
            STREAM,
            GROUP,
        ]),
    ],
    problems: error::PROBLEMS,
    scripts: scripts::SCRIPTS,
    section: Some(SectionCheck::of::<StreamsConfig>()),
};

/// The problems of an operation on receipts.
const SETTLE: &[&[&crate::http::problem::ProblemKind]] =
    &[CALLER, REDIS_WRITE, JSON_BODY, STREAM, GROUP, &[&error::RECEIPT_STALE]];

/// An operation of consumers.
const fn consuming(path: &'static str) -> Access {
    Access::scoped("POST", path, READ)
}

fn mount(deps: &Deps) -> Result<OpenApiRouter, StartError> {
    let streams = StreamService::new(deps, deps.config.section()?);
    // In the order in which a newcomer tries them: a stream exists from its first event.
    Ok(OpenApiRouter::new()
        .routes(routes!(routes::append_events, routes::read_events))
        .routes(routes!(routes::list_streams))
        .routes(routes!(routes::put_group, routes::get_group, routes::delete_group))
        .routes(routes!(routes::list_groups))
        .routes(routes!(routes::claim_events))
        .routes(routes!(routes::extend_events))
        .routes(routes!(routes::acknowledge_events))
        .routes(routes!(routes::return_events))
        .routes(routes!(routes::list_dead_letters))
        .routes(routes!(routes::redrive_dead_letters))
        .routes(routes!(routes::replay_group))
        .routes(routes!(routes::get_stream, routes::delete_stream))
        .routes(routes!(routes::reset_stream_fence))
        .with_state(streams))
}
