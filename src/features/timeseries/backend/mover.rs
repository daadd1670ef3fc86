//! Moves a series to the other layout.
//!
//! The samples are copied to other keys of the series and counted. Then one transaction replaces the original by the copy,
//! unless a key of the original was written since. So the series is always in one layout, whole. A copy that a stopped
//! migration leaves expires, and the next migration starts again. Rollups keep their buckets and their state.

use std::slice;
use std::sync::Arc;
use std::time::Duration;

use redis::{Cmd, Pipeline};

use super::super::config::TimeseriesConfig;
use super::super::description::Description;
use super::super::error::TimeseriesError;
use super::super::families::Families;
use super::super::keys::SeriesKeys;
use super::super::metrics::TimeseriesMetrics;
use super::super::scripts::{Append, LatestSample};
use super::super::series::{Definition, DuplicatePolicy, Labels, Sample, SeriesKey};
use super::super::window::{Order, Window};
use super::store::{SamplePage, Store};
use crate::clock::{Clock, MAX_TIMESTAMP};
use crate::redis::{Answers, Backend, Batch, Dedicated, Effect, Key, Redis, RedisFault};

/// The samples of one TS.MADD, which takes the module about 0.5 ms.
const MADD_SAMPLES: usize = 1_000;

/// The TTL of a copy, which an interrupted migration leaves.
const COPY_TTL: Duration = Duration::from_secs(86_400);

/// The fields that only native series have in their hash.
const NATIVE_FIELDS: [&str; 3] = ["sealed", "sealed_bytes", "plain"];

/// The fields that only series of the module have in their hash.
const MODULE_FIELDS: [&str; 1] = ["behind"];

#[derive(Debug)]
pub struct Mover {
    redis: Redis,
    store: Store,
    batch_samples: usize,
}

/// The result of moving a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moved {
    /// It is in the other layout, with this many samples.
    Done(u64),
    /// Another client wrote to it during the copy: it is where it was.
    Changed,
    /// The series does not exist in the layout that it was to be moved from.
    Absent,
}

/// How many samples were read from a series, and stored in its copy.
#[derive(Clone, Copy, Debug, Default)]
struct Copied {
    read: u64,
    stored: u64,
}

impl Mover {
    pub fn new(redis: Redis, families: Arc<Families>, metrics: TimeseriesMetrics, config: &TimeseriesConfig) -> Self {
        let store = Store::new(redis.clone(), Clock::System, families, metrics, config);
        Self { redis, store, batch_samples: config.batch_samples }
    }

    /// The store of the series, for the record of the layout.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Describes the series in one layout. Returns `None` if it does not exist there.
    ///
    /// # Errors
    /// [`TimeseriesError`]; its fault is of the kind `WrongType` if the key holds something else.
    pub async fn describe(&self, key: &SeriesKey, layout: Backend) -> Result<Option<Description>, TimeseriesError> {
        self.store.describe_in(layout, key).await
    }

    /// Moves a series. Calls `report` after every page with the number of samples copied so far.
    ///
    /// # Errors
    /// [`TimeseriesError`]; the series is where it was, unless the outcome of the last step is unknown.
    pub async fn transfer(
        &self,
        key: &SeriesKey,
        to: Backend,
        report: impl FnMut(u64),
    ) -> Result<Moved, TimeseriesError> {
        let (native, module) = (self.store.keys_in(Backend::Native, key), self.store.keys_in(Backend::Module, key));
        let copy = native.of_copy();
        let mut connection = self.redis.dedicated().await?;
        self.watch(&mut connection, [&native.hash, &native.head, &native.chunks, &module.hash]).await?;
        let (hash, Copied { read, stored }) = match to {
            Backend::Module => {
                let Some(original) = self.store.describe_in(Backend::Native, key).await? else {
                    return Ok(Moved::Absent);
                };
                (&native.hash, self.copy_to_module(key, &copy, &original.definition, report).await?)
            }
            Backend::Native => {
                // A description would count as a write: TS.INFO opens the series for writing.
                if self.store.latest_in(Backend::Module, key).await? == LatestSample::NoSeries {
                    return Ok(Moved::Absent);
                }
                (&module.hash, self.copy_to_native(key, &copy, report).await?)
            }
        };
        if read != stored {
            return Ok(Moved::Changed);
        }
        let end = self.expiry_of(hash).await?;
        let mut swap = Pipeline::new();
        match to {
            Backend::Module => {
                swap.add_command(command("RENAME", &native.hash).arg(&module.hash).clone());
                swap.add_command(command("HDEL", &module.hash).arg(&NATIVE_FIELDS).clone());
                swap.add_command(command("RENAME", &copy.head).arg(&module.head).clone());
                swap.add_command(command("UNLINK", &native.head).arg(&native.chunks).clone());
                for key in [&module.hash, &module.head, &module.blocks] {
                    swap.add_command(expiry(key, end));
                }
            }
            Backend::Native => {
                swap.add_command(command("UNLINK", &module.head).arg(&native.head).arg(&native.chunks).clone());
                swap.add_command(command("RENAME", &module.hash).arg(&native.hash).clone());
                swap.add_command(command("HDEL", &native.hash).arg(&MODULE_FIELDS).clone());
                swap.add_command(command("HSET", &native.hash).arg(self.sealed(&copy.hash).await?).clone());
                for (from, to) in [(&copy.head, &native.head), (&copy.chunks, &native.chunks)] {
                    if self.redis.query(&command("EXISTS", from), Effect::Read).await? {
                        swap.add_command(command("RENAME", from).arg(to).clone());
                    }
                }
                swap.add_command(command("UNLINK", &copy.hash));
                for key in [&native.hash, &native.head, &native.chunks, &native.blocks] {
                    swap.add_command(expiry(key, end));
                }
            }
        }
        let is_done = connection.transaction(&swap, self.redis.command_timeout()).await?;
        Ok(if is_done { Moved::Done(stored) } else { Moved::Changed })
    }

    /// Makes the next transaction of the connection fail if one of the keys is written before it.
    async fn watch(&self, connection: &mut Dedicated, keys: [&Key; 4]) -> Result<(), RedisFault> {
        let limit = self.redis.command_timeout();
        // The connection may still watch the keys of a series that was not moved.
        connection.query::<()>(&redis::cmd("UNWATCH"), Effect::Read, limit).await?;
        connection.query(redis::cmd("WATCH").arg(&keys), Effect::Read, limit).await
    }

    async fn copy_to_module(
        &self,
        key: &SeriesKey,
        copy: &SeriesKeys,
        definition: &Definition,
        mut report: impl FnMut(u64),
    ) -> Result<Copied, TimeseriesError> {
        self.discard(copy).await?;
        let mut create = command("TS.CREATE", &copy.head);
        create.arg("RETENTION").arg(definition.retention_ms);
        create.arg("DUPLICATE_POLICY").arg(definition.duplicate_policy.name());
        self.write(copy, |batch| batch.command(create, Effect::Write)).await?.value()?;
        let (mut copied, mut rest) = (Copied::default(), Some(EVERYTHING));
        while let Some(window) = rest {
            let found = self.store.read_in(Backend::Native, key, window, Order::Asc, usize::MAX).await?;
            let SamplePage { samples, rest: left } = found.unwrap_or_default();
            copied.read += count(samples.len());
            for samples in samples.chunks(MADD_SAMPLES) {
                let mut add = redis::cmd("TS.MADD");
                for Sample { timestamp, value } in samples {
                    // The shortest digits that parse to the same bits.
                    add.arg(&copy.head).arg(timestamp).arg(format!("{value:e}"));
                }
                let added = self.write(copy, |batch| batch.command(add, Effect::Write)).await?.value()?;
                let added: Vec<i64> =
                    redis::from_redis_value(added).map_err(|error| RedisFault::bad_reply(error, Effect::Write))?;
                copied.stored += count(added.len());
            }
            report(copied.stored);
            rest = left;
        }
        Ok(copied)
    }

    async fn copy_to_native(
        &self,
        key: &SeriesKey,
        copy: &SeriesKeys,
        mut report: impl FnMut(u64),
    ) -> Result<Copied, TimeseriesError> {
        self.discard(copy).await?;
        let endless =
            Definition { retention_ms: 0, duplicate_policy: DuplicatePolicy::Block, labels: Labels::default() };
        let (mut copied, mut rest) = (Copied::default(), Some(EVERYTHING));
        while let Some(window) = rest {
            let found = self.store.read_in(Backend::Module, key, window, Order::Asc, usize::MAX).await?;
            let SamplePage { samples, rest: left } = found.unwrap_or_default();
            copied.read += count(samples.len());
            for samples in samples.chunks(self.batch_samples) {
                let append = Append {
                    keys: copy,
                    samples,
                    policy: None,
                    create: Some(&endless),
                    chunk_samples: self.store.chunk_samples,
                    min_life_ms: 0,
                    now: "",
                    fence: None,
                };
                let appended = self.write(copy, |batch| drop(batch.call(&append))).await?.call::<Append<'_>>()?;
                copied.stored += appended.map_or(0, |appended| count(appended.stored));
            }
            self.store.packer.pack_all(slice::from_ref(copy)).await?;
            report(copied.stored);
            rest = left;
        }
        Ok(copied)
    }

    /// Deletes a copy that an interrupted migration left.
    async fn discard(&self, copy: &SeriesKeys) -> Result<(), RedisFault> {
        let unlink = redis::cmd("UNLINK").arg(&[&copy.hash, &copy.head, &copy.chunks]).clone();
        self.redis.query(&unlink, Effect::Write).await
    }

    /// Makes one write to a copy. The same exchange sets the expiry of its keys.
    async fn write(&self, copy: &SeriesKeys, add: impl FnOnce(&mut Batch)) -> Result<Answers, RedisFault> {
        let mut batch = Batch::new();
        add(&mut batch);
        for key in [&copy.hash, &copy.head, &copy.chunks] {
            batch.command(command("EXPIRE", key).arg(COPY_TTL.as_secs()).clone(), Effect::Write);
        }
        self.redis.run(batch).await
    }

    /// Reads the fields of a copy that describe its sealed chunks.
    async fn sealed(&self, hash: &Key) -> Result<Vec<(&'static str, Vec<u8>)>, RedisFault> {
        let read = command("HMGET", hash).arg(&NATIVE_FIELDS).clone();
        let values: Vec<Option<Vec<u8>>> = self.redis.query(&read, Effect::Read).await?;
        let default = |field| if field == "plain" { Vec::new() } else { b"0".to_vec() };
        Ok(NATIVE_FIELDS
            .iter()
            .zip(values)
            .map(|(field, value)| (*field, value.unwrap_or_else(|| default(*field))))
            .collect())
    }

    /// When a key expires, in Unix milliseconds; `None` if it does not.
    async fn expiry_of(&self, key: &Key) -> Result<Option<i64>, RedisFault> {
        let left: i64 = self.redis.query(&command("PTTL", key), Effect::Read).await?;
        if left < 0 {
            return Ok(None);
        }
        let (seconds, micros): (i64, i64) = self.redis.query(&redis::cmd("TIME"), Effect::Read).await?;
        Ok(Some(seconds * 1_000 + micros / 1_000 + left))
    }
}

const EVERYTHING: Window = Window { from: 0, to: MAX_TIMESTAMP };

fn command(name: &str, key: &Key) -> Cmd {
    redis::cmd(name).arg(key).clone()
}

fn expiry(key: &Key, end: Option<i64>) -> Cmd {
    match end {
        Some(end) => command("PEXPIREAT", key).arg(end).clone(),
        None => command("PERSIST", key),
    }
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}
