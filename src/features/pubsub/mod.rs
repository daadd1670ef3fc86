//! Real-time channels: publish messages, and receive them over WebSocket, Server-Sent Events or long polling.
//!
//! Files, in reading order:
//! - `model.rs`, `admin_model.rs`: requests and responses; `routes/`: the HTTP operations; `websocket.rs`: the
//!   native protocol, and `native_frames.rs`; `centrifugo/`: Centrifugo's; `sse.rs`: Server-Sent Events; `socket.rs`: the life of a WebSocket; `session.rs`: a connected client.
//! - `service.rs`: publishing and reading. `access.rs`: who may do what. `event_types.rs`: the platform's typed events.
//!   `cloud_event.rs`: messages that are published as `CloudEvents`.
//! - `subscriber.rs`: the subscriptions of one connection; `subscription.rs`: one of them; `filter.rs`: filters on tags.
//! - `channel.rs`: a channel at this replica. `ring.rs`: its newest messages; `log_page.rs`: older ones; `loader.rs` reads them. `channels.rs`: all of them, fed by one subscribed
//!   connection. `presence.rs`: who is subscribed, and `presence_digest.rs`: who joined and left. `hub.rs`: wakes the connections of a thread. `delivery.rs`: a message in every wire format.
//! - `asyncapi.rs`: the `AsyncAPI` document.
//! - `sockets.rs`: the open connections and their limits. `control.rs`: messages to all replicas.
//!   `revocation.rs`: tokens that may not connect any more.
//!   `channel_token.rs`: tokens that permit subscriptions. `error.rs`, `metrics.rs`.
//!
//! Keys: see [`crate::events`]. Without Redis: publishing and reading fail with 503. Connections stay open, learn that they
//! are stale, and receive what they missed, or a gap, when Redis is back.
//!
//! Decisions:
//! - The newest messages of a channel are the queue of all its subscribers. A subscriber is a position in it, so a slow
//!   client costs an integer and delays no other; one that falls behind reads the log.
//! - Messages are delivered in the order of their offsets. A missing offset is read from the log once per replica, before
//!   later messages are delivered; what is lost is a gap that every subscriber learns of.
//! - A message is encoded once for each wire format.

mod access;
mod admin_model;
mod asyncapi;
mod centrifugo;
mod channel;
mod channel_token;
mod channels;
mod cloud_event;
mod control;
mod delivery;
mod error;
mod event_types;
mod filter;
mod hub;
mod loader;
mod log_page;
mod metrics;
mod model;
mod native_frames;
mod presence;
mod presence_digest;
mod revocation;
mod ring;
mod routes;
mod service;
mod session;
mod socket;
mod sockets;
mod sse;
mod subscriber;
mod subscription;
mod websocket;

pub use asyncapi::describe_channels;
pub use ring::IGNORES_HOLES;

use super::feature::{Feature, StartError};
use crate::config::http::HttpConfig;
use crate::config::{Config, ConfigError, FieldError, Section, SectionCheck};
use crate::deps::Deps;
use crate::events::{self, PubSubConfig};
use crate::http::access::{Access, Repetition};
use crate::http::auth::ADMIN;
use crate::http::openapi_router::{OpenApiRouter, routes};
use crate::http::problem::{
    CALLER, INVALID_QUERY, JSON_BODY, OVERLOADED, ProblemKind, REDIS_READ, REDIS_WRITE, UPGRADE_REQUIRED,
};
use error::{CHANNEL, CONNECT, PUBLISH};
use service::PubSubService;

/// The settings that follow a reloaded configuration.
pub const RELOADED: &[&str] = &["pubsub.namespaces"];

const READ: &str = "pubsub:read";
const WRITE: &str = "pubsub:write";

/// The problems of reading who is subscribed. Expired clients are removed, so this writes.
const PRESENCE: &[&[&ProblemKind]] = &[CALLER, REDIS_WRITE, CHANNEL, &[&error::PRESENCE_DISABLED]];

/// The problems of Centrifugo's server API, whose other errors have status 200.
const SERVER_API: &[&[&ProblemKind]] = &[CALLER, &[&OVERLOADED, &INVALID_QUERY]];

pub static FEATURE: Feature = Feature {
    name: "pubsub",
    mount,
    access: &[
        Access::in_band("POST", "/pubsub").heavy().streaming().problems(&[
            CALLER,
            REDIS_WRITE,
            JSON_BODY,
            PUBLISH,
            &[&error::MESSAGES_REFUSED, &error::CHANNEL_UNKNOWN],
        ]),
        Access::in_band("POST", "/pubsub/{channel}").fenced().problems(&[
            CALLER,
            REDIS_WRITE,
            JSON_BODY,
            CHANNEL,
            PUBLISH,
        ]),
        Access::in_band("GET", "/pubsub/{channel}/history").waiting().problems(&[CALLER, REDIS_WRITE, CHANNEL]),
        Access::in_band("GET", "/pubsub/{channel}/presence").problems(PRESENCE),
        Access::in_band("GET", "/pubsub/{channel}/presence/stats").problems(PRESENCE),
        Access::in_band("GET", "/pubsub/{channel}/latest").problems(&[CALLER, REDIS_READ, CHANNEL]),
        Access::scoped("DELETE", "/pubsub/{channel}/history", ADMIN).repeated_by(Repetition::Rerun).problems(&[
            CALLER,
            REDIS_WRITE,
            CHANNEL,
        ]),
        Access::scoped("DELETE", "/fences/pubsub/{channel}", ADMIN).problems(&[CALLER, REDIS_WRITE]),
        Access::scoped("GET", "/pubsub/namespaces", READ).problems(&[CALLER]),
        Access::scoped("GET", "/pubsub/channels", READ).problems(&[CALLER, CHANNEL]),
        Access::scoped("POST", "/pubsub/tokens", WRITE)
            .problems(&[CALLER, JSON_BODY, CHANNEL, &[&error::TOKENS_DISABLED]])
            .repeated_by(Repetition::Rerun),
        Access::scoped("POST", "/pubsub/disconnect", ADMIN).problems(&[CALLER, JSON_BODY, REDIS_WRITE]),
        Access::scoped("POST", "/pubsub/unsubscribe", ADMIN).problems(&[CALLER, JSON_BODY, REDIS_WRITE]),
        Access::in_band("GET", "/pubsub/ws").problems(&[CALLER, CONNECT, &[&UPGRADE_REQUIRED]]),
        Access::in_band("GET", "/pubsub/sse").problems(&[CALLER, REDIS_READ, CHANNEL, CONNECT]),
        Access::in_band("GET", "/connection/websocket").problems(&[
            CALLER,
            CONNECT,
            &[&INVALID_QUERY, &UPGRADE_REQUIRED],
        ]),
        Access::scoped("POST", "/publish", WRITE).problems(SERVER_API),
        Access::scoped("POST", "/broadcast", WRITE).heavy().problems(SERVER_API),
        Access::scoped("POST", "/history", READ).repeated_by(Repetition::Ignore).problems(SERVER_API),
        Access::scoped("POST", "/history_remove", ADMIN).frees().repeated_by(Repetition::Rerun).problems(SERVER_API),
        Access::scoped("POST", "/presence", READ).repeated_by(Repetition::Ignore).problems(SERVER_API),
        Access::scoped("POST", "/presence_stats", READ).repeated_by(Repetition::Ignore).problems(SERVER_API),
        Access::scoped("POST", "/disconnect", ADMIN).problems(SERVER_API),
        Access::scoped("POST", "/unsubscribe", ADMIN).problems(SERVER_API),
        Access::scoped("POST", "/channels", READ).repeated_by(Repetition::Ignore).problems(SERVER_API),
        Access::scoped("POST", "/info", READ).repeated_by(Repetition::Ignore).problems(SERVER_API),
        Access::in_band("POST", "/batch").heavy().problems(SERVER_API),
    ],
    problems: error::PROBLEMS,
    scripts: events::SCRIPTS,
    section: Some(SectionCheck { name: PubSubConfig::NAME, check }),
};

/// Reads the section, whose namespaces may name families of events that only this capability knows.
fn check(config: &Config) -> Result<(), ConfigError> {
    let section: PubSubConfig = config.section()?;
    for (at, namespace) in section.namespaces.iter().enumerate() {
        if let Some(family) = &namespace.schema
            && !event_types::families().any(|known| known == family)
        {
            let known = event_types::families().collect::<Vec<_>>().join(", ");
            let rule = format!("`{family}` is not a family of events; the families are {known}");
            return Err(config.refuse::<PubSubConfig>(FieldError::new(format!("namespaces[{at}].schema"), rule)));
        }
    }
    Ok(())
}

fn mount(deps: &Deps) -> Result<OpenApiRouter, StartError> {
    let http: HttpConfig = deps.config.section()?;
    let pubsub = PubSubService::new(deps, deps.config.section()?, http);
    Ok(OpenApiRouter::new()
        .routes(routes!(routes::publish_message))
        .routes(routes!(routes::publish_messages))
        .routes(routes!(routes::get_history, routes::delete_history))
        .routes(routes!(routes::reset_channel_fence))
        .routes(routes!(routes::get_latest))
        .routes(routes!(routes::get_presence))
        .routes(routes!(routes::get_presence_stats))
        .routes(routes!(routes::list_namespaces))
        .routes(routes!(routes::list_channels))
        .routes(routes!(routes::create_token))
        .routes(routes!(routes::disconnect))
        .routes(routes!(routes::unsubscribe))
        .routes(routes!(websocket::open_socket))
        .routes(routes!(sse::stream_events))
        .routes(routes!(centrifugo::open_centrifugo_socket))
        .routes(routes!(centrifugo::publish_as_centrifugo))
        .routes(routes!(centrifugo::broadcast_as_centrifugo))
        .routes(routes!(centrifugo::read_history_as_centrifugo))
        .routes(routes!(centrifugo::remove_history_as_centrifugo))
        .routes(routes!(centrifugo::get_presence_as_centrifugo))
        .routes(routes!(centrifugo::count_presence_as_centrifugo))
        .routes(routes!(centrifugo::disconnect_as_centrifugo))
        .routes(routes!(centrifugo::unsubscribe_as_centrifugo))
        .routes(routes!(centrifugo::list_channels_as_centrifugo))
        .routes(routes!(centrifugo::get_info_as_centrifugo))
        .routes(routes!(centrifugo::run_centrifugo_batch))
        .with_state(pubsub))
}
