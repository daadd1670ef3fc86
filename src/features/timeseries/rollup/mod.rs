//! Rollups: buckets of a series that are kept ready, and that fill themselves.
//!
//! A rollup holds the finished numbers of one aggregation over one grid of buckets. The series' hash remembers up to
//! when its rollups are filled, and every write or deletion before that time notes, in the same script, what it changed.
//! So a rollup always knows what it does not know: [`filling`] computes that again from the samples, on whichever replica
//! comes to it, and [`view`] reads it from the samples until then. A stopped replica, a late sample or a lost message makes
//! a query slower, never wrong.
//!
//! The newest samples, those of the open head chunk, are never rolled up: they change all the time and are read fast.
//! Buckets stay when their samples have expired, for as long as the rollup's own retention says.

mod blocks;
mod filling;
mod manage;
mod model;
mod view;

pub(super) use filling::Filling;
pub(super) use manage::Rollups;
pub(super) use model::{NewRollup, RollupEntry};
pub(super) use view::{RollupView, WindowPart};
