//! What became of batches.

use super::super::refusal::RefusedSample;
use super::super::scripts::Append;
use crate::redis::{RedisFault, ScriptCall};

/// What became of a batch of one series.
#[derive(Debug, Default)]
pub(in crate::features::timeseries) struct BatchOutcome {
    /// How many samples, from the first on, are certainly dealt with: all of them, unless `fault` is set.
    pub settled: usize,
    /// How many of them changed the series; the others were there already or were refused.
    pub stored: usize,
    pub refused: Vec<RefusedSample>,
    /// There is no such series, and none was to be created: nothing was stored.
    pub missing: bool,
    /// Why the rest of the batch is not, or not certainly, stored.
    pub fault: Option<RedisFault>,
    /// Whether the index knows the series.
    pub listed: bool,
    /// Whether the series' rollups have something to do.
    pub stale: bool,
}

impl BatchOutcome {
    /// Of a batch that did not get through.
    pub(super) fn failed(fault: RedisFault) -> Self {
        Self { fault: Some(fault), ..Self::default() }
    }

    /// Adds one call's answer; `false` when no further call makes sense.
    pub(super) fn take(&mut self, answer: Result<<Append<'_> as ScriptCall>::Reply, RedisFault>) -> bool {
        match answer {
            Ok(Some(appended)) => {
                let offset = self.settled;
                self.refused.extend(appended.refused.into_iter().map(|mut refused| {
                    refused.at += offset;
                    refused
                }));
                self.settled += appended.consumed;
                self.stored += appended.stored;
                self.listed = appended.listed;
                self.stale |= appended.stale;
                appended.consumed > 0 || !appended.packed.is_empty()
            }
            Ok(None) => {
                self.missing = true;
                false
            }
            Err(fault) => {
                self.fault = Some(fault);
                false
            }
        }
    }
}
