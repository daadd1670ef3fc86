//! The index of series: all of them by name, and by label.
//!
//! The index is in one cluster slot and the series are in others, so it is updated in steps that can fail. Three rules keep it
//! correct: a write reports that the series is not listed until the index has it under its labels; a name is removed only if
//! the series still does not exist afterwards; and what the index finds is looked up in the series itself.

mod by_label;
#[cfg(feature = "promql")]
mod label_parts;

use redis::{Cmd, Value};

use super::backend::Store;
use super::keys::IndexKeys;
use super::model::SeriesEntry;
use super::scripts;
use super::series::{Definition, SeriesKey};
use crate::close_matches::close_matches;
use crate::http::reply::Page;
use crate::redis::{Effect, Redis, RedisFault, ScriptCall};
use crate::telemetry::episodes;

/// How many random names a registration checks, so that the names of expired series do not accumulate. Two would be enough to
/// keep them below one half.
const PROBES: usize = 4;

/// How many names on each side of a missing one are compared with it.
const NEIGHBOURS: usize = 50;

#[derive(Clone, Debug)]
pub(super) struct SeriesIndex {
    redis: Redis,
    backend: Store,
    keys: IndexKeys,
}

impl SeriesIndex {
    pub(super) fn new(redis: Redis, backend: Store) -> Self {
        let keys = IndexKeys::new(redis.keys());
        Self { redis, backend, keys }
    }

    /// Whether the index can be read.
    #[cfg(feature = "promql")]
    pub(super) fn is_connected(&self) -> bool {
        self.redis.report().connected
    }

    /// Adds series to the index, by name and by label, and notes in each that the index has it.
    ///
    /// # Errors
    /// [`RedisFault`]; the next write of the series tries again.
    pub(super) async fn register(&self, series: Vec<SeriesKey>) -> Result<(), RedisFault> {
        if series.is_empty() {
            return Ok(());
        }
        let (entries, _) = self.look_up(series).await?;
        self.add(&entries).await?;
        let mut marks = Vec::with_capacity(entries.len());
        for entry in &entries {
            let hash = self.backend.keys(&entry.key).await?.hash;
            marks.push(scripts::mark_indexed(&hash, &entry.labels));
        }
        self.call_all(marks).await?;
        let probe = redis::cmd("ZRANDMEMBER").arg(&self.keys.names).arg(PROBES).to_owned();
        let names: Vec<String> = self.redis.query(&probe, Effect::Read).await?;
        self.remove_missing(names.iter().filter_map(|name| SeriesKey::new(name).ok()).collect()).await
    }

    /// Reads a page of the series whose keys start with `prefix`, in byte order.
    ///
    /// A page leaves out series that no longer exist, so it may be short even if another page follows.
    ///
    /// # Errors
    /// [`RedisFault`].
    pub(super) async fn page(
        &self,
        prefix: &str,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<SeriesEntry>, RedisFault> {
        let low = match cursor {
            Some(cursor) if cursor >= prefix => format!("({cursor}"),
            _ => format!("[{prefix}"),
        };
        // UTF-8 never has this byte, so the bound is after every name with the prefix.
        let high = [b"(", prefix.as_bytes(), b"\xff"].concat();
        let mut command = redis::cmd("ZRANGEBYLEX");
        command.arg(&self.keys.names).arg(low).arg(high).arg("LIMIT").arg(0).arg(limit + 1);
        let mut names: Vec<String> = self.redis.query(&command, Effect::Read).await?;
        let next_cursor = if names.len() > limit { names.get(limit - 1).cloned() } else { None };
        names.truncate(limit);

        let series = names.iter().filter_map(|name| SeriesKey::new(name).ok()).collect();
        let (items, missing) = self.look_up(series).await?;
        self.remove_missing(missing).await?;
        Ok(Page { items, next_cursor })
    }

    /// Up to three existing series whose keys are similar to `key`, among the neighbours of `key` in byte order.
    ///
    /// # Errors
    /// [`RedisFault`].
    pub(super) async fn close_to(&self, key: &SeriesKey) -> Result<Vec<SeriesKey>, RedisFault> {
        let names = |command: &str, end: &str| {
            let mut command = redis::cmd(command);
            command.arg(&self.keys.names).arg(format!("({key}")).arg(end).arg("LIMIT").arg(0).arg(NEIGHBOURS).to_owned()
        };
        let commands = [names("ZRANGEBYLEX", "+"), names("ZREVRANGEBYLEX", "-")];
        let mut neighbours: Vec<String> = Vec::new();
        for reply in self.redis.query_all(&commands, Effect::Read).await? {
            let part: Vec<String> =
                redis::from_redis_value(reply?).map_err(|error| RedisFault::bad_reply(error, Effect::Read))?;
            neighbours.extend(part);
        }
        let close = close_matches(key.as_str(), neighbours.iter().map(String::as_str));
        let close = close.into_iter().filter_map(|name| SeriesKey::new(name).ok()).collect();
        let (existing, _) = self.look_up(close).await?;
        Ok(existing.into_iter().map(|entry| entry.key).collect())
    }

    /// Removes the given series from the index if they no longer exist.
    ///
    /// # Errors
    /// [`RedisFault`]; a later call removes them.
    pub(super) async fn remove_missing(&self, series: Vec<SeriesKey>) -> Result<(), RedisFault> {
        let (_, missing) = self.look_up(series).await?;
        if missing.is_empty() {
            return Ok(());
        }
        self.call_all(missing.iter().map(|series| scripts::unindex_series(&self.keys, series))).await?;
        // A client may have created and registered one of them between the lookup and the removal.
        let (created, _) = self.look_up(missing).await?;
        self.add(&created).await
    }

    async fn add(&self, entries: &[SeriesEntry]) -> Result<(), RedisFault> {
        let call = |entry: &SeriesEntry| scripts::index_series(&self.keys, &entry.key, &entry.labels);
        self.call_all(entries.iter().map(call)).await
    }

    async fn call_all(&self, calls: impl IntoIterator<Item = ScriptCall<i64, bool>>) -> Result<(), RedisFault> {
        self.redis.call_all(calls).await?.into_iter().try_for_each(|reply| reply.map(|_| ()))
    }

    /// Reads the entries of the series that exist. Also returns the series that do not.
    ///
    /// # Errors
    /// [`RedisFault`].
    pub(super) async fn look_up(
        &self,
        series: Vec<SeriesKey>,
    ) -> Result<(Vec<SeriesEntry>, Vec<SeriesKey>), RedisFault> {
        let mut commands: Vec<Cmd> = Vec::with_capacity(series.len());
        for key in &series {
            let hash = self.backend.keys(key).await?.hash;
            let fields = ["retention_ms", "duplicate_policy", "labels", "rollups"];
            commands.push(redis::cmd("HMGET").arg(hash).arg(&fields).to_owned());
        }
        let (mut found, mut missing) = (Vec::with_capacity(series.len()), Vec::new());
        for (key, answer) in series.into_iter().zip(self.redis.query_all(&commands, Effect::Read).await?) {
            match entry(key.clone(), answer?)? {
                Some(entry) => found.push(entry),
                None => missing.push(key),
            }
        }
        Ok((found, missing))
    }
}

/// Decodes the entry of a series; `None` if the series does not exist.
fn entry(key: SeriesKey, fields: Value) -> Result<Option<SeriesEntry>, RedisFault> {
    let fields: [Option<Vec<u8>>; 4] =
        redis::from_redis_value(fields).map_err(|error| RedisFault::bad_reply(error, Effect::Read))?;
    let [Some(retention), Some(policy), Some(labels), rollups] = fields else { return Ok(None) };
    let retention = String::from_utf8_lossy(&retention).parse().unwrap_or_default();
    let Definition { retention_ms, duplicate_policy, labels } = scripts::decode_definition(retention, &policy, &labels)
        .map_err(|error| RedisFault::bad_reply(error, Effect::Read))?;
    Ok(Some(SeriesEntry { key, retention_ms, duplicate_policy, labels, has_rollups: rollups.is_some() }))
}

/// Logs that the index is behind; the samples are stored, and the next write of the series registers it.
pub(super) fn warn_not_registered(fault: &RedisFault) {
    if let Some(repeated) = episodes::next("index of series") {
        let consequence = "the next write of the series tries again";
        tracing::warn!(error = %fault, repeated, consequence, "could not update the index of series");
    }
}
