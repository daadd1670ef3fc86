//! Moves a series to the other layout.
//!
//! The samples are copied to other keys of the series and counted. Then one transaction replaces the original by the copy,
//! unless a key of the original was written since. So the series is always in one layout, whole. A copy that a stopped
//! migration leaves expires, and the next migration starts again. Rollups keep their buckets and their state.

use std::slice;
use std::time::Duration;

use redis::{Cmd, Pipeline};

use super::super::error::TimeseriesError;
use super::super::families::TimeLimits;
use super::super::keys::SeriesKeys;
use super::super::scripts::{self, LatestSample, Reach};
use super::super::series::{Definition, DuplicatePolicy, Labels, Sample, SeriesKey};
use super::super::window::{Order, Window};
use super::append::BATCH_SAMPLES;
use super::store::{SamplePage, Store};
use crate::clock::MAX_TIMESTAMP;
use crate::redis::{Answers, Backend, Batch, Dedicated, Effect, Key, RedisFault};

/// The TTL of a copy, which an interrupted migration leaves.
const COPY_TTL: Duration = Duration::from_secs(86_400);

/// The fields that only native series have in their hash.
const NATIVE_FIELDS: [&str; 3] = ["sealed", "sealed_bytes", "plain"];

/// The fields that only series of the module have in their hash.
const MODULE_FIELDS: [&str; 2] = ["behind", "trims"];

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

impl Store {
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
        let (native, module) = (self.keys_in(Backend::Native, key), self.keys_in(Backend::Module, key));
        let copy = native.of_copy();
        let mut connection = self.redis.dedicated().await?;
        self.watch(&mut connection, [&native.hash, &native.head, &native.chunks, &module.hash]).await?;
        let original = match to {
            Backend::Module => {
                let Some(description) = self.describe(&native).await? else { return Ok(Moved::Absent) };
                self.discard(&copy).await?;
                let mut create = command("TS.CREATE", &copy.head);
                create.arg("DUPLICATE_POLICY").arg(description.definition.duplicate_policy.name());
                self.write(&copy, |batch| batch.command(create, Effect::Write)).await?.1.value()?;
                &native
            }
            Backend::Native => {
                // A description would count as a write: TS.INFO opens the series for writing.
                if self.latest(&module).await? == LatestSample::NoSeries {
                    return Ok(Moved::Absent);
                }
                self.discard(&copy).await?;
                &module
            }
        };
        let Some(moved) = self.copy(original, &copy, report).await? else { return Ok(Moved::Changed) };
        let end = self.expiry_of(&original.hash).await?;
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
        Ok(if is_done { Moved::Done(moved) } else { Moved::Changed })
    }

    /// Makes the next transaction of the connection fail if one of the keys is written before it.
    async fn watch(&self, connection: &mut Dedicated, keys: [&Key; 4]) -> Result<(), RedisFault> {
        let limit = self.redis.command_timeout();
        // The connection may still watch the keys of a series that was not moved.
        connection.query::<()>(&redis::cmd("UNWATCH"), Effect::Read, limit).await?;
        connection.query(redis::cmd("WATCH").arg(&keys), Effect::Read, limit).await
    }

    /// Copies all samples of a series and returns their number, or `None` if a sample was not stored: another client wrote to
    /// the copy.
    async fn copy(
        &self,
        original: &SeriesKeys,
        copy: &SeriesKeys,
        mut report: impl FnMut(u64),
    ) -> Result<Option<u64>, TimeseriesError> {
        let (mut read, mut stored, mut rest) = (0, 0, Some(EVERYTHING));
        while let Some(window) = rest {
            let found = self.read(original, window, Order::Asc, usize::MAX, Reach::Kept).await?;
            let SamplePage { samples, rest: left } = found.unwrap_or_default();
            read += samples.len();
            for samples in samples.chunks(BATCH_SAMPLES) {
                stored += match original.layout {
                    Backend::Native => self.add_to_module(copy, samples).await?,
                    Backend::Module => self.add_to_native(copy, samples).await?,
                };
            }
            if original.layout == Backend::Module {
                self.packer.pack_all(slice::from_ref(copy)).await?;
            }
            report(count(stored));
            rest = left;
        }
        Ok(Some(count(stored)).filter(|_| read == stored))
    }

    /// Appends samples to a copy in the module, which takes it about 0.5 ms.
    async fn add_to_module(&self, copy: &SeriesKeys, samples: &[Sample]) -> Result<usize, RedisFault> {
        let mut add = redis::cmd("TS.MADD");
        for Sample { timestamp, value } in samples {
            // The shortest digits that parse to the same bits.
            add.arg(&copy.head).arg(timestamp).arg(format!("{value:e}"));
        }
        let added = self.write(copy, |batch| batch.command(add, Effect::Write)).await?.1.value()?;
        let added: Vec<i64> =
            redis::from_redis_value(added).map_err(|error| RedisFault::bad_reply(error, Effect::Write))?;
        Ok(added.len())
    }

    /// Appends samples to a native copy.
    async fn add_to_native(&self, copy: &SeriesKeys, samples: &[Sample]) -> Result<usize, RedisFault> {
        let endless =
            Definition { retention_ms: 0, duplicate_policy: DuplicatePolicy::Block, labels: Labels::default() };
        let append = scripts::append(copy, samples, None, Some(&endless), TimeLimits::NONE, "", None);
        let (decoder, mut answers) = self.write(copy, |batch| batch.call(append)).await?;
        Ok(answers.reply(&decoder)?.map_or(0, |appended| appended.stored))
    }

    /// Deletes a copy that an interrupted migration left.
    async fn discard(&self, copy: &SeriesKeys) -> Result<(), RedisFault> {
        let unlink = redis::cmd("UNLINK").arg(&[&copy.hash, &copy.head, &copy.chunks]).clone();
        self.redis.query(&unlink, Effect::Write).await
    }

    /// Makes one write to a copy. The same exchange sets the expiry of its keys.
    async fn write<T>(&self, copy: &SeriesKeys, add: impl FnOnce(&mut Batch) -> T) -> Result<(T, Answers), RedisFault> {
        let mut batch = Batch::new();
        let added = add(&mut batch);
        for key in [&copy.hash, &copy.head, &copy.chunks] {
            batch.command(command("EXPIRE", key).arg(COPY_TTL.as_secs()).clone(), Effect::Write);
        }
        Ok((added, self.redis.run(batch).await?))
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
