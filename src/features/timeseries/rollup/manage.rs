//! The list of a series' rollups.

use super::super::backend::Store;
use super::super::error::TimeseriesError;
use super::super::query::{BucketLength, Violation, Zone};
use super::super::rollup_rule::{self, RuleText};
use super::super::rollup_state::RollupState;
use super::super::scripts::{Define, Defined};
use super::super::series::{MAX_RETENTION_MS, SeriesKey};
use super::model::{NewRollup, RollupEntry};
use crate::http::problem::Problem;
use crate::redis::FencingToken;

/// Adds, lists and drops rollups.
#[derive(Clone, Debug)]
pub(in crate::features::timeseries) struct Rollups {
    backend: Store,
    /// Rollups of one series at most.
    most: usize,
}

impl Rollups {
    pub(in crate::features::timeseries) fn new(backend: Store, most: usize) -> Self {
        Self { backend, most }
    }

    /// Adds a rollup, which is then filled from all the samples that there are; says whether it is new.
    ///
    /// # Errors
    /// `invalid-body`, [`TimeseriesError::NotFound`], [`TimeseriesError::RollupExists`] with another retention,
    /// [`TimeseriesError::TooManyRollups`].
    pub(in crate::features::timeseries) async fn add(
        &self,
        key: SeriesKey,
        new: NewRollup,
        token: Option<FencingToken>,
    ) -> Result<(bool, RollupEntry), Problem> {
        let added = checked(new).map_err(Violation::of_body)?;
        loop {
            let state = self.state(&key).await?;
            let mut texts = texts(state.as_ref());
            if let Some(there) = texts.iter().find(|text| text.id() == added.id()) {
                if *there != added {
                    return Err(TimeseriesError::RollupExists { key, id: added.id() }.into());
                }
                if self.keep(&key, state.as_ref(), &texts, token).await? {
                    return Ok((false, view(&added, state.as_ref())));
                }
                continue;
            }
            if texts.len() >= self.most {
                return Err(TimeseriesError::TooManyRollups { limit: self.most }.into());
            }
            texts.push(added.clone());
            if self.put(&key, state.as_ref(), &texts, None, token).await? {
                self.backend.note_stale(&key);
                return Ok((true, view(&added, self.state(&key).await?.as_ref())));
            }
        }
    }

    /// All rollups, in the order in which they were added.
    ///
    /// # Errors
    /// [`TimeseriesError::NotFound`].
    pub(in crate::features::timeseries) async fn list(
        &self,
        key: &SeriesKey,
    ) -> Result<Vec<RollupEntry>, TimeseriesError> {
        let state = self.state(key).await?;
        if state.as_ref().is_some_and(|state| !state.unrolled.is_empty()) {
            self.backend.note_stale(key);
        }
        Ok(texts(state.as_ref()).iter().map(|text| view(text, state.as_ref())).collect())
    }

    /// Drops a rollup with its buckets.
    ///
    /// # Errors
    /// [`TimeseriesError::NotFound`], [`TimeseriesError::NoRollup`].
    pub(in crate::features::timeseries) async fn drop_one(
        &self,
        key: SeriesKey,
        id: &str,
        token: Option<FencingToken>,
    ) -> Result<(), TimeseriesError> {
        loop {
            let state = self.state(&key).await?;
            let mut texts = texts(state.as_ref());
            let before = texts.len();
            texts.retain(|text| text.id() != id);
            if texts.len() == before {
                if self.keep(&key, state.as_ref(), &texts, token).await? {
                    return Err(TimeseriesError::NoRollup { key, id: id.to_owned() });
                }
                continue;
            }
            if self.put(&key, state.as_ref(), &texts, Some(id), token).await? {
                return Ok(());
            }
        }
    }

    /// `None`: the series has no rollups.
    async fn state(&self, key: &SeriesKey) -> Result<Option<RollupState>, TimeseriesError> {
        let state = self.backend.rollups(&self.backend.keys(key).await?).await?;
        state.ok_or_else(|| TimeseriesError::NotFound(key.clone()))
    }

    /// Changes nothing, but refuses an older token all the same; `false`: there is another list by now.
    async fn keep(
        &self,
        key: &SeriesKey,
        state: Option<&RollupState>,
        texts: &[RuleText],
        token: Option<FencingToken>,
    ) -> Result<bool, TimeseriesError> {
        Ok(token.is_none() || self.put(key, state, texts, None, token).await?)
    }

    /// Stores a list in the place of the one that was read; `false`: that is another one by now.
    async fn put(
        &self,
        key: &SeriesKey,
        state: Option<&RollupState>,
        texts: &[RuleText],
        dropped: Option<&str>,
        token: Option<FencingToken>,
    ) -> Result<bool, TimeseriesError> {
        let keys = self.backend.keys(key).await?;
        let fence = self.backend.fence(&keys, token);
        let outlive = texts.iter().filter_map(|text| text.retention_ms);
        let define = Define {
            keys: &keys,
            current: state.map(|state| state.list.as_str()).unwrap_or_default(),
            other: &list(texts),
            outlive_ms: outlive.map(|ms| if ms == 0 { MAX_RETENTION_MS } else { ms }).max().unwrap_or(0),
            dropped,
            fence: fence.as_ref(),
        };
        match self.backend.redis().call(&define).await? {
            Defined::Done => Ok(true),
            Defined::Overtaken => Ok(false),
            Defined::NoSeries => Err(TimeseriesError::NotFound(key.clone())),
        }
    }
}

fn texts(state: Option<&RollupState>) -> Vec<RuleText> {
    state.map(|state| state.rules.iter().map(|rule| rule.text.clone()).collect()).unwrap_or_default()
}

/// The list as the hash holds it; empty without rollups.
fn list(texts: &[RuleText]) -> String {
    // Numbers and strings always serialise.
    if texts.is_empty() { String::new() } else { serde_json::to_string(texts).unwrap_or_default() }
}

fn view(text: &RuleText, state: Option<&RollupState>) -> RollupEntry {
    RollupEntry {
        id: text.id(),
        bucket: text.bucket.clone(),
        agg: text.agg.clone(),
        tz: text.tz.clone(),
        align: text.align,
        retention_ms: text.retention_ms,
        complete: state.is_some_and(RollupState::is_complete),
    }
}

fn checked(new: NewRollup) -> Result<RuleText, Violation> {
    let NewRollup { bucket, agg, tz, align, retention_ms } = new;
    let length: BucketLength = bucket.parse().map_err(|rule: String| Violation::new("bucket", rule))?;
    let zone: Option<Zone> =
        tz.as_deref().map(str::parse).transpose().map_err(|rule: String| Violation::new("tz", rule))?;
    let align = align.map(|align| align.0);
    length.grid(zone.as_ref(), align)?;
    let Some(name) = agg.name().filter(|_| rollup_rule::is_possible(agg)) else {
        let rule =
            "has no rollups: one holds avg, sum, min, max, range, count, first, last, std_p, std_s, var_p or var_s";
        return Err(Violation::new("agg", rule));
    };
    Ok(RuleText { bucket, agg: name.to_owned(), tz, align, retention_ms: retention_ms.map(|retention| retention.0) })
}
