//! Moving one series to the other backend.
//!
//! Its samples are copied to names beside its own, and counted. Then one transaction puts the copy in the place of the
//! original, if no key of that was written meanwhile. So a series is in one backend or in the other, whole; who is stopped
//! in between leaves a copy behind that expires, and that the next one begins anew. Rollups keep their buckets, and what
//! they know of them, where they are.

use std::slice;
use std::sync::Arc;
use std::time::Duration;

use redis::{Cmd, Pipeline};

use super::super::description::Description;
use super::super::window::{Order, Window};
use super::SamplePage;
use super::module::ModuleBackend;
use super::native::NativeBackend;
use super::packing::Packing;
use crate::clock::{Clock, MAX_TIMESTAMP};
use crate::redis::{Answers, Backend, Batch, Dedicated, Effect, Key, Redis, RedisFault};

use super::super::config::TimeseriesConfig;
use super::super::error::TimeseriesError;
use super::super::families::Families;
use super::super::keys::SeriesKeys;
use super::super::metrics::TimeseriesMetrics;
use super::super::scripts::Append;
use super::super::series::{Definition, DuplicatePolicy, Labels, Sample, SeriesKey};

/// Samples of one TS.MADD, which takes the module some 0.5 ms.
const ADDED: usize = 1_000;

/// How long a copy stays that nobody goes on with.
const COPY_LIFE: Duration = Duration::from_secs(86_400);

/// What only native series have in their hash ...
const NATIVE_FIELDS: [&str; 3] = ["sealed", "sealed_bytes", "plain"];

/// ... and what only those of the module have.
const MODULE_FIELDS: [&str; 1] = ["behind"];

#[derive(Debug)]
pub(in crate::features::timeseries) struct Mover {
    redis: Redis,
    native: NativeBackend,
    module: ModuleBackend,
    packing: Packing,
    chunk_samples: usize,
    batch_samples: usize,
}

/// What became of a series that was to be moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::features::timeseries) enum Moved {
    /// It is in the other backend, with this many samples.
    Done(u64),
    /// Somebody wrote to it meanwhile: it is where it was.
    Changed,
    /// There is no such series in the backend that it was to be moved from.
    Absent,
}

/// Samples of a series and of its copy.
#[derive(Clone, Copy, Debug, Default)]
struct Copied {
    read: u64,
    stored: u64,
}

impl Mover {
    pub(in crate::features::timeseries) fn new(
        redis: Redis,
        families: Arc<Families>,
        metrics: TimeseriesMetrics,
        config: &TimeseriesConfig,
    ) -> Self {
        let clock = Clock::System;
        Self {
            packing: Packing::new(redis.clone(), metrics.clone()),
            module: ModuleBackend::new(redis.clone(), clock.clone(), Arc::clone(&families), metrics.clone(), config),
            native: NativeBackend::new(redis.clone(), clock, families, metrics, config),
            chunk_samples: config.chunk_samples,
            batch_samples: config.batch_samples,
            redis,
        }
    }

    /// The series as one backend keeps it; `None`: there it is not.
    ///
    /// # Errors
    /// [`TimeseriesError`]; its fault is of the kind `WrongType` for what is no series of ours.
    pub(in crate::features::timeseries) async fn describe(
        &self,
        key: &SeriesKey,
        backend: Backend,
    ) -> Result<Option<Description>, TimeseriesError> {
        match backend {
            Backend::Native => self.native.describe(key).await,
            Backend::Module => self.module.describe(key).await,
        }
    }

    /// Moves a series; `tell` hears how many samples were copied with every stretch.
    ///
    /// # Errors
    /// [`TimeseriesError`]: the series is where it was, unless the outcome of the last step is unknown.
    pub(in crate::features::timeseries) async fn transfer(
        &self,
        key: &SeriesKey,
        to: Backend,
        tell: impl FnMut(u64),
    ) -> Result<Moved, TimeseriesError> {
        let (native, module) = (self.native.keys(key), self.module.keys(key));
        let copy = native.of_copy();
        let mut connection = self.redis.dedicated().await?;
        self.watch(&mut connection, [&native.hash, &native.head, &native.chunks, &module.hash]).await?;
        let (hash, Copied { read, stored }) = match to {
            Backend::Module => {
                let Some(original) = self.native.describe(key).await? else { return Ok(Moved::Absent) };
                (&native.hash, self.copy_to_module(key, &copy, &original.definition, tell).await?)
            }
            Backend::Native => {
                // A description would count as a write: TS.INFO opens the series for writing.
                if self.module.latest(key).await?.is_none() {
                    return Ok(Moved::Absent);
                }
                (&module.hash, self.copy_to_native(key, &copy, tell).await?)
            }
        };
        if read != stored {
            return Ok(Moved::Changed);
        }
        let end = self.end_of(hash).await?;
        let mut swap = Pipeline::new();
        match to {
            Backend::Module => {
                swap.add_command(command("RENAME", &native.hash).arg(&module.hash).clone());
                swap.add_command(command("HDEL", &module.hash).arg(&NATIVE_FIELDS).clone());
                swap.add_command(command("RENAME", &copy.head).arg(&module.head).clone());
                swap.add_command(command("UNLINK", &native.head).arg(&native.chunks).clone());
                for key in [&module.hash, &module.head, &module.blocks] {
                    swap.add_command(living_until(key, end));
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
                    swap.add_command(living_until(key, end));
                }
            }
        }
        let is_done = connection.transaction(&swap, self.redis.command_timeout()).await?;
        Ok(if is_done { Moved::Done(stored) } else { Moved::Changed })
    }

    /// Has the connection's next transaction fail if one of the keys is written before.
    async fn watch(&self, connection: &mut Dedicated, keys: [&Key; 4]) -> Result<(), RedisFault> {
        let limit = self.redis.command_timeout();
        // The connection may have watched keys of a series that was left.
        connection.query::<()>(&redis::cmd("UNWATCH"), Effect::Read, limit).await?;
        connection.query(redis::cmd("WATCH").arg(&keys), Effect::Read, limit).await
    }

    async fn copy_to_module(
        &self,
        key: &SeriesKey,
        copy: &SeriesKeys,
        definition: &Definition,
        mut tell: impl FnMut(u64),
    ) -> Result<Copied, TimeseriesError> {
        self.discard(copy).await?;
        let mut create = command("TS.CREATE", &copy.head);
        create.arg("RETENTION").arg(definition.retention_ms);
        create.arg("DUPLICATE_POLICY").arg(definition.duplicate_policy.name());
        self.write(copy, |batch| batch.command(create, Effect::Write)).await?.value()?;
        let (mut copied, mut rest) = (Copied::default(), Some(EVERYTHING));
        while let Some(window) = rest {
            let found = self.native.read(key, window, Order::Asc, usize::MAX).await?;
            let SamplePage { samples, rest: left } = found.unwrap_or_default();
            copied.read += count(samples.len());
            for samples in samples.chunks(ADDED) {
                let mut add = redis::cmd("TS.MADD");
                for Sample { timestamp, value } in samples {
                    // The shortest digits that are read back to the same bits.
                    add.arg(&copy.head).arg(timestamp).arg(format!("{value:e}"));
                }
                let added = self.write(copy, |batch| batch.command(add, Effect::Write)).await?.value()?;
                let added: Vec<i64> =
                    redis::from_redis_value(added).map_err(|error| RedisFault::bad_reply(error, Effect::Write))?;
                copied.stored += count(added.len());
            }
            tell(copied.stored);
            rest = left;
        }
        Ok(copied)
    }

    async fn copy_to_native(
        &self,
        key: &SeriesKey,
        copy: &SeriesKeys,
        mut tell: impl FnMut(u64),
    ) -> Result<Copied, TimeseriesError> {
        self.discard(copy).await?;
        let endless =
            Definition { retention_ms: 0, duplicate_policy: DuplicatePolicy::Block, labels: Labels::default() };
        let (mut copied, mut rest) = (Copied::default(), Some(EVERYTHING));
        while let Some(window) = rest {
            let found = self.module.read(key, window, Order::Asc, usize::MAX).await?;
            let SamplePage { samples, rest: left } = found.unwrap_or_default();
            copied.read += count(samples.len());
            for samples in samples.chunks(self.batch_samples) {
                let append = Append {
                    keys: copy,
                    samples,
                    policy: None,
                    create: Some(&endless),
                    chunk_samples: self.chunk_samples,
                    min_life_ms: 0,
                    now: "",
                    fence: None,
                };
                let appended = self.write(copy, |batch| batch.call(&append)).await?.call::<Append<'_>>()?;
                copied.stored += appended.map_or(0, |appended| count(appended.stored));
            }
            self.packing.pack_all(slice::from_ref(copy)).await?;
            tell(copied.stored);
            rest = left;
        }
        Ok(copied)
    }

    /// Deletes a copy that somebody else has left.
    async fn discard(&self, copy: &SeriesKeys) -> Result<(), RedisFault> {
        let unlink = redis::cmd("UNLINK").arg(&[&copy.hash, &copy.head, &copy.chunks]).clone();
        self.redis.query(&unlink, Effect::Write).await
    }

    /// Makes one write to a copy, whose keys expire from the moment in which they are made.
    async fn write(&self, copy: &SeriesKeys, add: impl FnOnce(&mut Batch)) -> Result<Answers, RedisFault> {
        let mut batch = Batch::new();
        add(&mut batch);
        for key in [&copy.hash, &copy.head, &copy.chunks] {
            batch.command(command("EXPIRE", key).arg(COPY_LIFE.as_secs()).clone(), Effect::Write);
        }
        self.redis.run(batch).await
    }

    /// What the hash of a copy says of its sealed chunks, as fields and values.
    async fn sealed(&self, hash: &Key) -> Result<Vec<(&'static str, Vec<u8>)>, RedisFault> {
        let read = command("HMGET", hash).arg(&NATIVE_FIELDS).clone();
        let values: Vec<Option<Vec<u8>>> = self.redis.query(&read, Effect::Read).await?;
        let of_none = |field| if field == "plain" { Vec::new() } else { b"0".to_vec() };
        Ok(NATIVE_FIELDS
            .iter()
            .zip(values)
            .map(|(field, value)| (*field, value.unwrap_or_else(|| of_none(*field))))
            .collect())
    }

    /// When a key expires, Unix milliseconds; `None`: never.
    async fn end_of(&self, key: &Key) -> Result<Option<i64>, RedisFault> {
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

fn living_until(key: &Key, end: Option<i64>) -> Cmd {
    match end {
        Some(end) => command("PEXPIREAT", key).arg(end).clone(),
        None => command("PERSIST", key),
    }
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}
