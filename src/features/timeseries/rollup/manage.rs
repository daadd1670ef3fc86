//! Adding, listing and dropping the rollups of a series.

use super::super::backend::Store;
use super::super::error::{TimeseriesError, Violation};
use super::super::query::{BucketLength, Zone};
use super::super::rollup_rule::{self, RollupSpec};
use super::super::rollup_state::RollupState;
use super::super::scripts;
use super::super::series::{MAX_RETENTION_MS, SeriesKey};
use super::model::{NewRollup, RollupEntry};
use crate::redis::FencingToken;

/// The most rollups of one series. Every late sample recomputes a bucket of each.
const MAX_ROLLUPS: usize = 16;

/// Adds, lists and drops rollups.
#[derive(Clone, Debug)]
pub struct Rollups {
    backend: Store,
}

impl Rollups {
    pub fn new(backend: Store) -> Self {
        Self { backend }
    }

    /// Adds a rollup, which is then filled from all existing samples. Returns whether it is new.
    ///
    /// # Errors
    /// [`TimeseriesError::InvalidBody`], [`TimeseriesError::NotFound`], [`TimeseriesError::RollupExists`] if it exists with
    /// another retention, [`TimeseriesError::TooManyRollups`].
    pub async fn add(
        &self,
        key: SeriesKey,
        new: NewRollup,
        token: Option<FencingToken>,
    ) -> Result<(bool, RollupEntry), TimeseriesError> {
        let added = checked(new).map_err(TimeseriesError::InvalidBody)?;
        loop {
            let state = self.state(&key).await?;
            let mut specs = specs(&state);
            if let Some(existing) = specs.iter().find(|spec| spec.id() == added.id()) {
                if *existing != added {
                    return Err(TimeseriesError::RollupExists { key, id: added.id() });
                }
                if self.check_fence(&key, &state, &specs, token).await? {
                    return Ok((false, entry(&added, &state)));
                }
                continue;
            }
            if specs.len() >= MAX_ROLLUPS {
                return Err(TimeseriesError::TooManyRollups { limit: MAX_ROLLUPS });
            }
            specs.push(added.clone());
            if self.replace(&key, &state, &specs, None, token).await? {
                self.backend.note_stale(&key);
                let state = self.state(&key).await.map_err(TimeseriesError::applied)?;
                return Ok((true, entry(&added, &state)));
            }
        }
    }

    /// All rollups, in the order in which they were added.
    ///
    /// # Errors
    /// [`TimeseriesError::NotFound`].
    pub async fn list(&self, key: &SeriesKey) -> Result<Vec<RollupEntry>, TimeseriesError> {
        let state = self.state(key).await?;
        if !state.is_complete() {
            self.backend.note_stale(key);
        }
        Ok(state.rules.iter().map(|rule| entry(&rule.spec, &state)).collect())
    }

    /// Drops a rollup with its buckets.
    ///
    /// # Errors
    /// [`TimeseriesError::NotFound`], [`TimeseriesError::NoRollup`].
    pub async fn drop_one(&self, key: SeriesKey, id: &str, token: Option<FencingToken>) -> Result<(), TimeseriesError> {
        loop {
            let state = self.state(&key).await?;
            let mut specs = specs(&state);
            specs.retain(|spec| spec.id() != id);
            if specs.len() == state.rules.len() {
                if self.check_fence(&key, &state, &specs, token).await? {
                    return Err(TimeseriesError::NoRollup { key, id: id.to_owned() });
                }
            } else if self.replace(&key, &state, &specs, Some(id), token).await? {
                return Ok(());
            }
        }
    }

    async fn state(&self, key: &SeriesKey) -> Result<RollupState, TimeseriesError> {
        let state = self.backend.rollups(&self.backend.keys(key).await?).await?;
        state.ok_or_else(|| TimeseriesError::NotFound(key.clone()))
    }

    /// Refuses an older token, without a change. Returns `false` if the list has changed since it was read.
    async fn check_fence(
        &self,
        key: &SeriesKey,
        state: &RollupState,
        specs: &[RollupSpec],
        token: Option<FencingToken>,
    ) -> Result<bool, TimeseriesError> {
        Ok(token.is_none() || self.replace(key, state, specs, None, token).await?)
    }

    /// Replaces the list of rollups. Returns `false` if the list has changed since it was read.
    async fn replace(
        &self,
        key: &SeriesKey,
        state: &RollupState,
        specs: &[RollupSpec],
        dropped: Option<&str>,
        token: Option<FencingToken>,
    ) -> Result<bool, TimeseriesError> {
        let keys = self.backend.keys(key).await?;
        let fence = self.backend.fence(&keys, token);
        let outlive = specs.iter().filter_map(|spec| spec.retention_ms);
        let outlive_ms = outlive.map(|ms| if ms == 0 { MAX_RETENTION_MS } else { ms }).max().unwrap_or(0);
        let other = list(specs);
        let define = scripts::define_rollups(&keys, &state.list, &other, outlive_ms, dropped, fence.as_ref());
        let is_replaced = self.backend.redis().call(define).await?;
        is_replaced.ok_or_else(|| TimeseriesError::NotFound(key.clone()))
    }
}

fn specs(state: &RollupState) -> Vec<RollupSpec> {
    state.rules.iter().map(|rule| rule.spec.clone()).collect()
}

/// The list as the hash stores it; empty without rollups.
fn list(specs: &[RollupSpec]) -> String {
    // Numbers and strings always serialise.
    if specs.is_empty() { String::new() } else { serde_json::to_string(specs).unwrap_or_default() }
}

fn entry(spec: &RollupSpec, state: &RollupState) -> RollupEntry {
    RollupEntry {
        id: spec.id(),
        bucket: spec.bucket.clone(),
        agg: spec.agg.clone(),
        tz: spec.tz.clone(),
        align: spec.align,
        retention_ms: spec.retention_ms,
        complete: state.is_complete(),
    }
}

fn checked(new: NewRollup) -> Result<RollupSpec, Violation> {
    let NewRollup { bucket, agg, tz, align, retention_ms } = new;
    let length: BucketLength = bucket.parse().map_err(|rule: String| Violation::new("bucket", rule))?;
    let zone: Option<Zone> =
        tz.as_deref().map(str::parse).transpose().map_err(|rule: String| Violation::new("tz", rule))?;
    let align = align.map(|align| align.0);
    length.grid(zone.as_ref(), align)?;
    let Some(name) = agg.name().filter(|_| rollup_rule::has_rollups(agg)) else {
        let rule = "cannot have rollups; possible are avg, sum, min, max, range, count, first, last, std_p, std_s, var_p and var_s";
        return Err(Violation::new("agg", rule));
    };
    Ok(RollupSpec { bucket, agg: name.to_owned(), tz, align, retention_ms: retention_ms.map(|retention| retention.0) })
}
