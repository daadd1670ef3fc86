//! The lists of series: all of them by name, and by label. They live in one slot and the series in theirs, so they are
//! kept up in steps that may fail: a write tells as long as the lists do not know its series under its labels, a name is
//! dropped only if its series is still gone afterwards, and what a list finds is looked up with the series itself.

mod by_label;

use redis::{Cmd, Value};

use super::backend::Store;
use super::keys::IndexKeys;
use super::model::SeriesEntry;
use super::scripts::{Delist, Describe, Enlist, MarkListed, decode_definition};
use super::series::SeriesKey;
use crate::http::reply::Page;
use crate::redis::{Effect, Key, Redis, RedisFault, ScriptCall};

/// Names that a registration looks at, so that those of expired series do not gather: two would keep the dead from
/// outnumbering the living.
const PROBES: usize = 4;

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

    /// Makes series known by name and by label, then notes with each that it is.
    ///
    /// # Errors
    /// [`RedisFault`]: the next write of the series tries again.
    pub(super) async fn register(&self, series: Vec<SeriesKey>) -> Result<(), RedisFault> {
        if series.is_empty() {
            return Ok(());
        }
        let (entries, _) = self.look_up(series).await?;
        self.enlist(&entries).await?;
        let mut keys: Vec<Key> = Vec::with_capacity(entries.len());
        for entry in &entries {
            keys.push(self.backend.keys(&entry.key).await?.hash);
        }
        let marks: Vec<MarkListed<'_>> =
            keys.iter().zip(&entries).map(|(series, entry)| MarkListed { series, labels: &entry.labels }).collect();
        for marked in self.redis.call_all(&marks).await? {
            marked?;
        }
        let probe = redis::cmd("ZRANDMEMBER").arg(&self.keys.names).arg(PROBES).to_owned();
        let names: Vec<String> = self.redis.query(&probe, Effect::Read).await?;
        self.drop_gone(names.iter().filter_map(|name| SeriesKey::new(name).ok()).collect()).await
    }

    /// A page of series whose keys start with `prefix`, in byte order.
    ///
    /// Series that are gone are left out, so a page may be short although another one follows.
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
        // No UTF-8 text has this byte, so it is behind every name with the prefix.
        let high = [b"(", prefix.as_bytes(), b"\xff"].concat();
        let mut command = redis::cmd("ZRANGEBYLEX");
        command.arg(&self.keys.names).arg(low).arg(high).arg("LIMIT").arg(0).arg(limit + 1);
        let mut names: Vec<String> = self.redis.query(&command, Effect::Read).await?;
        let next_cursor = if names.len() > limit { names.get(limit - 1).cloned() } else { None };
        names.truncate(limit);

        let series = names.iter().filter_map(|name| SeriesKey::new(name).ok()).collect();
        let (items, gone) = self.look_up(series).await?;
        self.drop_gone(gone).await?;
        Ok(Page { items, next_cursor })
    }

    /// Those of the given series that exist.
    ///
    /// # Errors
    /// [`RedisFault`].
    pub(super) async fn named(&self, series: Vec<SeriesKey>) -> Result<Vec<SeriesEntry>, RedisFault> {
        Ok(self.look_up(series).await?.0)
    }

    /// Drops the names of series that are gone.
    ///
    /// # Errors
    /// [`RedisFault`]: the names are dropped another time.
    pub(super) async fn drop_gone(&self, series: Vec<SeriesKey>) -> Result<(), RedisFault> {
        let (_, gone) = self.look_up(series).await?;
        if gone.is_empty() {
            return Ok(());
        }
        let calls: Vec<Delist<'_>> = gone.iter().map(|series| Delist { index: &self.keys, series }).collect();
        for dropped in self.redis.call_all(&calls).await? {
            dropped?;
        }
        // One may have been created, and registered, between the look and the removal.
        let (back, _) = self.look_up(gone).await?;
        self.enlist(&back).await
    }

    async fn enlist(&self, entries: &[SeriesEntry]) -> Result<(), RedisFault> {
        let calls: Vec<Enlist<'_>> = entries
            .iter()
            .map(|SeriesEntry { key: series, labels, .. }| Enlist { index: &self.keys, series, labels })
            .collect();
        if calls.is_empty() {
            return Ok(());
        }
        for enlisted in self.redis.call_all(&calls).await? {
            enlisted?;
        }
        Ok(())
    }

    /// Those that exist, as they are, and those that do not.
    async fn look_up(&self, series: Vec<SeriesKey>) -> Result<(Vec<SeriesEntry>, Vec<SeriesKey>), RedisFault> {
        if series.is_empty() {
            return Ok((Vec::new(), Vec::new()));
        }
        let mut commands: Vec<Cmd> = Vec::with_capacity(series.len());
        for key in &series {
            commands.push(self.definition_of(key).await?);
        }
        let (mut there, mut gone) = (Vec::with_capacity(series.len()), Vec::new());
        for (key, answer) in series.into_iter().zip(self.redis.query_all(&commands, Effect::Read).await?) {
            match entry(key.clone(), answer?)? {
                Some(entry) => there.push(entry),
                None => gone.push(key),
            }
        }
        Ok((there, gone))
    }

    async fn definition_of(&self, key: &SeriesKey) -> Result<Cmd, RedisFault> {
        let hash = self.backend.keys(key).await?.hash;
        Ok(redis::cmd("HMGET").arg(hash).arg(&["retention_ms", "duplicate_policy", "labels"]).to_owned())
    }
}

/// The entry of a series that is there.
fn entry(key: SeriesKey, fields: Value) -> Result<Option<SeriesEntry>, RedisFault> {
    let bad = |error| RedisFault::bad_reply(error, Effect::Read);
    let fields: [Option<Vec<u8>>; 3] =
        redis::from_redis_value(fields).map_err(|error| RedisFault::bad_reply(error, Effect::Read))?;
    let [Some(retention), Some(policy), Some(labels)] = fields else { return Ok(None) };
    let retention = String::from_utf8_lossy(&retention).parse().unwrap_or_default();
    let definition = decode_definition(Describe::SCRIPT, retention, &policy, &labels).map_err(bad)?;
    Ok(Some(SeriesEntry {
        key,
        retention_ms: definition.retention_ms,
        duplicate_policy: definition.duplicate_policy,
        labels: definition.labels,
    }))
}

/// Logs that the index is behind; the samples are stored, and the next write of the series registers it.
pub(super) fn warn_not_registered(fault: &RedisFault) {
    tracing::warn!(error = %fault, "could not update the index of series; the next write of the series tries again");
}
