//! Alerts of the service itself, for operators without Prometheus and for the platform's channel `system:alerts`.
//!
//! Files, in reading order:
//! - `conditions.rs`: which metric each condition reads, and from which value it holds.
//! - `readings.rs`: the values of the conditions; `episode.rs`: the state machine of one condition.
//! - `board.rs`: the episodes of this replica, compared with the alerts in Redis.
//! - `round.rs`: the background work; `message.rs`: an alert as a message of the channel.
//! - `service.rs`, `routes/`, `model.rs`, `keys.rs`, `config.rs`, `error.rs`.
//!
//! Keys: see `keys.rs`. Without Redis: each replica logs and streams the alerts that it sees, with the ids that the others
//! use as well. Reads answer from memory; the history and acknowledgements are 503.
//!
//! Decisions:
//! - Conditions read the metrics, which every capability keeps anyway.
//! - Every replica keeps all episodes, so that any of them can speak. What all see, one reports: the one whose turn it is.
//!   What is stored was reported; a replica that starts continues those episodes.
//! - A condition has two limits and two times, and what comes and goes is one episode.

mod board;
mod conditions;
mod config;
mod episode;
mod error;
mod keys;
mod message;
mod model;
mod readings;
mod round;
mod routes;
mod service;

use std::sync::Arc;

use super::feature::{Feature, StartError};
use crate::config::SectionCheck;
use crate::deps::Deps;
use crate::http::access::Access;
use crate::http::auth::ADMIN;
use crate::http::openapi_router::{OpenApiRouter, routes};
use crate::http::problem::{CALLER, JSON_BODY, OVERLOADED, REDIS_READ, REDIS_WRITE};
use config::AlertsConfig;
use service::AlertService;

const READ: &str = "alerts:read";

pub static FEATURE: Feature = Feature {
    name: "alerts",
    mount,
    access: &[
        Access::scoped("GET", "/alerts", READ).problems(&[CALLER, error::QUERY]),
        Access::scoped("GET", "/alerts/history", READ).problems(&[CALLER, REDIS_READ, error::QUERY]),
        Access::scoped("GET", "/alerts/events", READ).problems(&[CALLER, error::QUERY, &[&OVERLOADED]]),
        Access::scoped("POST", "/alerts/{id}/ack", ADMIN).problems(&[CALLER, JSON_BODY, REDIS_WRITE, error::ACK]),
    ],
    problems: error::PROBLEMS,
    scripts: &[],
    section: Some(SectionCheck::of::<AlertsConfig>()),
};

fn mount(deps: &Deps) -> Result<OpenApiRouter, StartError> {
    let alerts = Arc::new(AlertService::new(deps, deps.config.section()?)?);
    let (rounds, reports) = (Arc::clone(&alerts), deps.tasks.clone());
    deps.tasks.plan(round::NAME, |stop| round::run(rounds, reports, stop));
    Ok(OpenApiRouter::new()
        .routes(routes!(routes::list_alerts))
        .routes(routes!(routes::list_alert_history))
        .routes(routes!(routes::stream_alerts))
        .routes(routes!(routes::acknowledge_alert))
        .with_state(alerts))
}
