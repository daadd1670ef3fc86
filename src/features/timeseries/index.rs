//! The list of all series. It lives in one key and the series in theirs, so it is kept up in steps that may fail: a write
//! tells as long as the index does not know its series, and a name is dropped only if its series is still gone afterwards.

use redis::{Cmd, Value};

use super::backend::native::NativeBackend;
use super::keys;
use super::model::SeriesEntry;
use super::scripts::{DESCRIBE, MarkListed, decode_definition};
use super::series::SeriesKey;
use crate::http::reply::Page;
use crate::redis::{Effect, Key, Redis, RedisFault};

/// Names that a registration looks at, so that those of expired series do not gather: two would keep the dead from
/// outnumbering the living.
const PROBES: usize = 4;

#[derive(Clone, Debug)]
pub(super) struct SeriesIndex {
    redis: Redis,
    backend: NativeBackend,
    key: Key,
}

impl SeriesIndex {
    pub(super) fn new(redis: Redis, backend: NativeBackend) -> Self {
        let key = keys::index(redis.keys());
        Self { redis, backend, key }
    }

    /// Makes series known, then notes with each that it is.
    ///
    /// # Errors
    /// [`RedisFault`]: the next write of the series tries again.
    pub(super) async fn register(&self, series: &[SeriesKey]) -> Result<(), RedisFault> {
        if series.is_empty() {
            return Ok(());
        }
        self.redis.query::<()>(&self.adding(series), Effect::Write).await?;
        let keys: Vec<Key> = series.iter().map(|key| self.backend.keys(key).series).collect();
        let marks: Vec<MarkListed<'_>> = keys.iter().map(MarkListed).collect();
        for marked in self.redis.call_all(&marks).await? {
            marked?;
        }
        let probe = redis::cmd("ZRANDMEMBER").arg(&self.key).arg(PROBES).to_owned();
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
        command.arg(&self.key).arg(low).arg(high).arg("LIMIT").arg(0).arg(limit + 1);
        let mut names: Vec<String> = self.redis.query(&command, Effect::Read).await?;
        let next_cursor = if names.len() > limit { names.get(limit - 1).cloned() } else { None };
        names.truncate(limit);

        let series: Vec<SeriesKey> = names.iter().filter_map(|name| SeriesKey::new(name).ok()).collect();
        let commands: Vec<Cmd> = series.iter().map(|key| self.definition_of(key)).collect();
        let (mut items, mut gone) = (Vec::with_capacity(series.len()), Vec::new());
        for (key, answer) in series.into_iter().zip(self.redis.query_all(&commands, Effect::Read).await?) {
            match entry(key.clone(), answer?)? {
                Some(entry) => items.push(entry),
                None => gone.push(key),
            }
        }
        self.drop_gone(gone).await?;
        Ok(Page { items, next_cursor })
    }

    /// Drops the names of series that are gone.
    ///
    /// # Errors
    /// [`RedisFault`]: the names are dropped another time.
    pub(super) async fn drop_gone(&self, series: Vec<SeriesKey>) -> Result<(), RedisFault> {
        let (_, gone) = self.split(series).await?;
        if gone.is_empty() {
            return Ok(());
        }
        let mut removing = redis::cmd("ZREM");
        removing.arg(&self.key);
        for key in &gone {
            removing.arg(key.as_str());
        }
        self.redis.query::<()>(&removing, Effect::Write).await?;
        // One may have been created, and registered, between the look and the removal.
        let (back, _) = self.split(gone).await?;
        if back.is_empty() {
            return Ok(());
        }
        self.redis.query::<()>(&self.adding(&back), Effect::Write).await
    }

    /// Those that exist, and those that do not.
    async fn split(&self, series: Vec<SeriesKey>) -> Result<(Vec<SeriesKey>, Vec<SeriesKey>), RedisFault> {
        let exists = |key| redis::cmd("EXISTS").arg(self.backend.keys(key).series).to_owned();
        let commands: Vec<Cmd> = series.iter().map(exists).collect();
        let answers = self.redis.query_all(&commands, Effect::Read).await?;
        let (mut there, mut gone) = (Vec::new(), Vec::new());
        for (key, answer) in series.into_iter().zip(answers) {
            if answer? == Value::Int(0) { gone.push(key) } else { there.push(key) }
        }
        Ok((there, gone))
    }

    fn adding(&self, series: &[SeriesKey]) -> Cmd {
        let mut command = redis::cmd("ZADD");
        command.arg(&self.key);
        for key in series {
            command.arg(0).arg(key.as_str());
        }
        command
    }

    fn definition_of(&self, key: &SeriesKey) -> Cmd {
        let series = self.backend.keys(key).series;
        redis::cmd("HMGET").arg(series).arg(&["retention_ms", "duplicate_policy", "labels"]).to_owned()
    }
}

/// The entry of a series that is there.
fn entry(key: SeriesKey, fields: Value) -> Result<Option<SeriesEntry>, RedisFault> {
    let bad = |error| RedisFault::bad_reply(error, Effect::Read);
    let fields: [Option<Vec<u8>>; 3] =
        redis::from_redis_value(fields).map_err(|error| RedisFault::bad_reply(error, Effect::Read))?;
    let [Some(retention), Some(policy), Some(labels)] = fields else { return Ok(None) };
    let retention = String::from_utf8_lossy(&retention).parse().unwrap_or_default();
    let definition = decode_definition(&DESCRIBE, retention, &policy, &labels).map_err(bad)?;
    Ok(Some(SeriesEntry {
        key,
        retention_ms: definition.retention_ms,
        duplicate_policy: definition.duplicate_policy,
        labels: definition.labels,
    }))
}
