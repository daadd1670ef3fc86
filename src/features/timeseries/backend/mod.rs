//! Storage of series and their samples.
//!
//! The other parts of the feature (validation, families, units, paging, aggregation, errors) call [`Store`] and do not know
//! how the data is laid out. A deployment uses one of two layouts, which a record in Redis names:
//!
//! - native: Redis's own types, an open head chunk and sealed chunks before it; see docs/internals/timeseries.md;
//! - module: a series of RedisTimeSeries under the name that other programs read with TS.RANGE, and a hash beside it with
//!   the definition. Only raw samples are read from the module: aggregation and everything else is shared, and the
//!   module's errors in them (TS.REVRANGE aggregates backwards, for one) cannot occur. The module compresses by itself.
//!
//! The keys and the last argument of a script tell it the layout, so both layouts use the same scripts and the same code.
//!
//! Files in reading order:
//! - `store.rs`: [`Store`], the operations on one series;
//! - `append.rs`: appending batches to several series;
//! - `chunk_packer.rs`: packs sealed chunks in the background, and unpacks them for late samples;
//! - `pending_series.rs`: the queues of background work;
//! - `mover.rs`: moves a series to the other layout.

mod append;
mod chunk_packer;
mod mover;
mod pending_series;
mod store;

pub(super) use super::scripts::Reach;
pub(super) use append::{BATCH_SAMPLES, BatchOutcome, SampleBatch};
pub(super) use mover::Moved;
pub(super) use pending_series::pause;
pub(super) use store::{SamplePage, Store};
