//! The web page at `/ui/`: the state of the service, energy, market, locks, limits, hosts and stored data.
//!
//! Files, in reading order:
//! - `assets/`: the page. `main.js` is its beginning; `vendor/` has the libraries as their packages contain them.
//! - `totals.rs`: the metrics that the page shows, read from the registry; `frame.rs`: their change in a second.
//! - `live.rs`: the frames of ten minutes, and the background work that makes them.
//! - `routes/`: the files, which are compressed when the service is built, and the stream of frames.
//!
//! Keys: none. Without Redis: the page and its stream are available, and show that Redis is not.
//!
//! Decisions:
//! - The page is a client of the API like any other, with the caller's own credential. It has no data of its own but the
//!   live numbers.
//! - A frame is made and serialised once for all viewers. A viewer that reads too slowly is disconnected, and receives all
//!   frames again when it returns. A stream ends after ten minutes: it is short enough to fit into the buffers of a kernel
//!   whose client does not read, and viewers spread over the replicas again.
//! - The files need no credential, because they contain nothing but the page.

mod frame;
mod live;
mod routes;
mod totals;

use std::sync::Arc;

use super::feature::{Feature, StartError};
use crate::deps::Deps;
use crate::http::access::Access;
use crate::http::openapi_router::{OpenApiRouter, routes};
use crate::http::problem::{CALLER, INVALID_QUERY, OVERLOADED};
use live::Live;
pub use routes::pages;

pub static FEATURE: Feature = Feature {
    name: "ui",
    mount,
    access: &[Access::scoped("GET", "/ui/events", "ui:read").problems(&[CALLER, &[&INVALID_QUERY, &OVERLOADED]])],
    problems: &[],
    scripts: &[],
    section: None,
};

fn mount(deps: &Deps) -> Result<OpenApiRouter, StartError> {
    let live = Arc::new(Live::new(deps)?);
    let frames = Arc::clone(&live);
    deps.tasks.plan("ui.frames", |stop| live::run(frames, stop));
    Ok(OpenApiRouter::new().routes(routes!(routes::stream_live_numbers)).with_state(live))
}
