//! The seam below which samples are kept.
//!
//! Above it: validation, families, units, paging, aggregation, errors. Below it a small set of primitives: create,
//! alter, describe, delete, append batches, read raw samples stretch by stretch, delete a window. [`native`] keeps them on
//! Redis's own types and [`module`] in RedisTimeSeries; [`store`] asks the one that has the series of a deployment.

mod module;
mod mover;
mod native;
mod outcome;
pub(super) mod packing;
pub(super) mod queue;
mod store;

pub(super) use mover::{Moved, Mover};
pub(super) use native::SampleBatch;
pub(super) use outcome::BatchOutcome;
pub(super) use store::{SERIES, Store};

use super::series::Sample;
use super::window::Window;

/// A page of raw samples.
#[derive(Debug, Default)]
pub(super) struct SamplePage {
    /// In the requested order, within the window and retention.
    pub samples: Vec<Sample>,
    /// The part of the window that is still to be read; `None` at its end.
    pub rest: Option<Window>,
}
