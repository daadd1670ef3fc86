//! Rollups: stored buckets of a series, which fill in the background.
//!
//! A rollup stores the values of one aggregation over one grid of buckets. The hash of the series has the time before which
//! its rollups are filled, and every write or deletion before that time notes in the same script which window it changes. So
//! a rollup always knows which buckets are not valid: [`filling`] computes them again from the samples, on any replica, and
//! until then [`view`] reads the samples. A stopped replica, a late sample or a lost message makes a query slower, never
//! wrong.
//!
//! The newest samples, those of the open head chunk, have no buckets: they change all the time and are read fast. Buckets
//! can outlive their samples, up to the retention of the rollup. Then the samples are trimmed only when no bucket needs them:
//! `needed_from` in the hash is the start of the oldest bucket that is not filled, or in which retention ends.
//!
//! Files in reading order: `model.rs` (bodies and answers), `manage.rs` (add, list and drop rollups), `blocks.rs` (the stored
//! form of buckets), `filling.rs` (the background task), `view.rs` (how a query reads them). The definition of a rollup and
//! its state are in `rollup_rule.rs` and `rollup_state.rs` of the feature.

mod blocks;
mod filling;
mod manage;
mod model;
mod view;

pub(super) use filling::RollupFiller;
pub(super) use manage::Rollups;
pub(super) use model::{NewRollup, RollupEntry};
pub(super) use view::{RollupView, WindowPart};
