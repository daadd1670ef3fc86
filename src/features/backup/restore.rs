//! Writes a backup to an empty server, or below another key prefix.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use age::x25519::Identity;
use redis::{Cmd, Value, from_redis_value};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::archive;
use super::crc64;
use super::digest;
use super::error::BackupError;
use super::job::blocking;
use super::model::{Manifest, Restored};
use super::record::{Parser, Record};
use super::scripts;
use super::tombstones::ErasedAgain;
use super::verify::verify;
use crate::clock::Clock;
use crate::holdings::{Class, Holding, Owners, never_decreases, own_name, prefix_position};
use crate::redis::{Effect, Key, KeyScan, KeySpace, Redis, RedisFault};

/// Records of a round trip, and the bytes of their values after which a round trip has no more of them.
const ROUND: usize = 100;
const ROUND_BYTES: usize = 1 << 20;
/// Names that a refusal shows.
const SHOWN: usize = 5;
/// Keys that one step of a scan looks at.
const STEP: usize = 1_000;

/// What is restored, and where.
#[derive(Clone, Debug, Default)]
pub struct RestoreOptions {
    /// Whether anything is written.
    pub apply: bool,
    /// The capabilities; empty: all.
    pub only: BTreeSet<String>,
}

/// How far a restore is: `backup:{restoring}` - string, JSON. Deleted at its end.
#[derive(Debug, Serialize, Deserialize)]
struct Progress {
    id: String,
    only: BTreeSet<String>,
    /// Records that are done, those that were not written included.
    records: u64,
    done: Restored,
}

/// What becomes of a record.
enum Fate {
    Write(Record),
    /// A record backend that the target may have, and must not change.
    WriteIfAbsent(Record),
    Raise {
        key: Key,
        value: String,
        expires: Option<i64>,
    },
    Expired,
    Transient,
    Unselected,
}

/// Restores one backup.
pub struct Restore {
    redis: Redis,
    file: PathBuf,
    identities: Vec<Identity>,
    options: RestoreOptions,
    clock: Clock,
    owners: Owners,
    /// The key prefix of the restored keys.
    prefix: String,
    state: Key,
    erased: ErasedAgain,
}

impl Restore {
    /// Verifies the whole file. Nothing is written.
    ///
    /// # Errors
    /// [`BackupError::File`].
    pub(super) async fn prepare(
        redis: &Redis,
        owners: Owners,
        file: &Path,
        identities: Vec<Identity>,
        options: RestoreOptions,
        erased: ErasedAgain,
    ) -> Result<(Self, Manifest), BackupError> {
        let manifest = verify(file, &identities, Arc::default()).await?;
        manifest.require(&options.only)?;
        let (prefix, state) = (redis.keys().prefix().to_owned(), redis.keys().key("backup:{restoring}"));
        let owners = owners.with_prefix(&manifest.key_prefix);
        let (redis, file, clock) = (redis.clone(), file.to_owned(), Clock::System);
        Ok((Self { redis, file, identities, options, clock, owners, prefix, state, erased }, manifest))
    }

    /// Checks the server, and writes the records if the options say so. A restore that was interrupted continues where it
    /// was. `shown` receives how many records are done.
    ///
    /// # Errors
    /// [`BackupError::Target`] if the server must not receive the backup: then nothing was written.
    pub async fn run(&self, manifest: &Manifest, shown: impl Fn(u64)) -> Result<Restored, BackupError> {
        let begun = self.check_target(manifest).await?;
        let skipped = begun.as_ref().map_or(0, |begun| begun.records);
        let (sender, rounds) = mpsc::channel::<Vec<Record>>(2);
        let (file, identities) = (self.file.clone(), self.identities.clone());
        let reading = blocking(move || read_rounds(&file, &identities, skipped, &sender));
        // The first error drops the receiver, which ends the reader.
        let (read, written) = tokio::join!(reading, self.write_all(rounds, manifest, begun, shown));
        let mut done = written?;
        read?;
        if self.options.apply {
            // Until then, the restore is not complete and can be repeated.
            done.erased = self.erased.apply(&self.redis).await?;
            let _: i64 = self.redis.query(redis::cmd("DEL").arg(&self.state), Effect::Write).await?;
        }
        Ok(done)
    }

    async fn write_all(
        &self,
        mut rounds: mpsc::Receiver<Vec<Record>>,
        manifest: &Manifest,
        begun: Option<Progress>,
        shown: impl Fn(u64),
    ) -> Result<Restored, BackupError> {
        let continues = begun.is_some();
        let (skipped, mut done) = begun.map_or((0, Restored::default()), |begun| (begun.records, begun.done));
        let mut records = skipped;
        if self.options.apply {
            // From this point the server is not empty, and this restore may continue.
            self.store(manifest, records, &done).await?;
        }
        while let Some(round) = rounds.recv().await {
            // The interrupted run may have written a part of the round that it did not count.
            let is_repeated = continues && records == skipped;
            records += round.len() as u64;
            self.write(round, manifest.rdb_version, is_repeated, &mut done).await?;
            shown(records);
            if self.options.apply {
                self.store(manifest, records, &done).await?;
            }
        }
        Ok(done)
    }

    /// Returns how far an earlier run of the same restore came.
    async fn check_target(&self, manifest: &Manifest) -> Result<Option<Progress>, BackupError> {
        let info: Value = self.redis.query(redis::cmd("INFO").arg("server"), Effect::Read).await?;
        // Every node of a cluster answers.
        let infos =
            if let Value::Map(nodes) = info { nodes.into_iter().map(|(_, info)| info).collect() } else { vec![info] };
        for info in infos {
            let info: String = from_redis_value(info).map_err(|error| BackupError::Target(error.to_string()))?;
            let version = info.lines().find_map(|line| line.strip_prefix("redis_version:")).unwrap_or_default().trim();
            if let Some(known) = rdb_version(version).filter(|known| *known < manifest.rdb_version) {
                return Err(BackupError::Target(format!(
                    "the values have the RDB version {}, and Redis {version} reads up to {known}",
                    manifest.rdb_version
                )));
            }
        }
        let text: Option<String> = self.redis.query(redis::cmd("GET").arg(&self.state), Effect::Read).await?;
        if let Some(text) = text {
            let begun: Progress = serde_json::from_str(&text)
                .map_err(|_| BackupError::Target(format!("{} is malformed", self.state.as_str())))?;
            if begun.id != manifest.id || begun.only != self.options.only {
                return Err(BackupError::Target(format!(
                    "a restore of {} was interrupted there: complete it, or empty the server",
                    begun.id
                )));
            }
            return Ok(Some(begun));
        }
        self.require_empty().await?;
        Ok(None)
    }

    async fn require_empty(&self) -> Result<(), BackupError> {
        let owners = self.owners.clone().with_prefix(&self.prefix);
        let (mut scan, mut found, mut names) =
            (KeyScan::new(&self.redis, STEP), BTreeMap::<&str, u64>::new(), Vec::new());
        while let Some(keys) = scan.next().await? {
            for key in keys {
                let name = String::from_utf8_lossy(&key).into_owned();
                let Some(holding) = owners.holding(&key) else { continue };
                if holding.class == Class::Marker
                    || own_name(owners.prefix(), &name).is_none_or(|name| never_decreases(&name))
                    || !self.selects(holding)
                {
                    continue;
                }
                *found.entry(holding.name).or_default() += 1;
                if names.len() < SHOWN {
                    names.push(name);
                }
            }
        }
        if found.is_empty() {
            return Ok(());
        }
        let counts: Vec<String> = found.iter().map(|(name, keys)| format!("{keys} of {name}")).collect();
        Err(BackupError::Target(format!(
            "the server is not empty: it has keys, {}, such as {names:?}",
            counts.join(", ")
        )))
    }

    fn selects(&self, holding: Holding) -> bool {
        self.options.only.is_empty() || self.options.only.contains(holding.name)
    }

    async fn write(
        &self,
        round: Vec<Record>,
        version: u32,
        is_repeated: bool,
        done: &mut Restored,
    ) -> Result<(), BackupError> {
        let now = self.clock.now();
        let (mut commands, mut raises) = (Vec::new(), Vec::new());
        for record in round {
            match self.fate(record, now)? {
                Fate::Write(record) => commands.push((restore_command(&record, version, is_repeated), true)),
                Fate::WriteIfAbsent(record) => commands.push((restore_command(&record, version, false), false)),
                Fate::Raise { key, value, expires } => raises.push(scripts::raise(&key, &value, expires)),
                Fate::Expired => done.expired += 1,
                Fate::Transient => done.transient += 1,
                Fate::Unselected => done.unselected += 1,
            }
        }
        if !self.options.apply {
            done.written += (commands.len() + raises.len()) as u64;
            return Ok(());
        }
        let (commands, required): (Vec<Cmd>, Vec<bool>) = commands.into_iter().unzip();
        let replies = self.redis.query_all(&commands, Effect::Write).await?;
        for (reply, is_required) in replies.into_iter().zip(required) {
            match reply {
                Ok(Value::Okay) => done.written += 1,
                Err(fault) if is_busy(&fault) && !is_required => done.kept += 1,
                Err(fault) if is_busy(&fault) => {
                    return Err(BackupError::Target("another client writes to the server: stop it".to_owned()));
                }
                Err(fault) => return Err(fault.into()),
                Ok(other) => return Err(BackupError::Target(format!("Redis replied {other:?} to RESTORE"))),
            }
        }
        for raised in self.redis.call_all(raises).await? {
            if raised? { done.written += 1 } else { done.kept += 1 }
        }
        Ok(())
    }

    fn fate(&self, mut record: Record, now: i64) -> Result<Fate, BackupError> {
        let foreign = || BackupError::File("its records have a key that belongs to no capability".to_owned());
        let holding = self.owners.holding(&record.key).ok_or_else(foreign)?;
        let key = String::from_utf8(record.key).map_err(|_| foreign())?;
        let name = own_name(self.owners.prefix(), &key).ok_or_else(foreign)?;
        if !self.selects(holding) {
            return Ok(Fate::Unselected);
        }
        let is_backend = holding.class == Class::Marker && name.ends_with("{backend}");
        if holding.class == Class::Transient || (holding.class == Class::Marker && !is_backend) {
            return Ok(Fate::Transient);
        }
        if record.expires.is_some_and(|expires| expires <= now) {
            return Ok(Fate::Expired);
        }
        let (kind, own) = name.split_at_checked(prefix_position(&key)).ok_or_else(foreign)?;
        let renamed = format!("{kind}{}{own}", self.prefix);
        if never_decreases(&name)
            && let Some(value) = digest::stored_integer(&record.value)
        {
            return Ok(Fate::Raise { key: KeySpace::new("").key(renamed), value, expires: record.expires });
        }
        record.key = renamed.into_bytes();
        Ok(if is_backend { Fate::WriteIfAbsent(record) } else { Fate::Write(record) })
    }

    async fn store(&self, manifest: &Manifest, records: u64, done: &Restored) -> Result<(), RedisFault> {
        let progress =
            Progress { id: manifest.id.clone(), only: self.options.only.clone(), records, done: done.clone() };
        // Texts and integers always serialise.
        let text = serde_json::to_string(&progress).unwrap_or_default();
        self.redis.query(redis::cmd("SET").arg(&self.state).arg(text), Effect::Write).await
    }
}

/// RESTORE, with the footer of DUMP: the version of the format and the checksum.
pub(super) fn restore_command(record: &Record, version: u32, replaces: bool) -> Cmd {
    let [low, high, ..] = version.to_le_bytes();
    let mut payload = Vec::with_capacity(record.value.len() + 10);
    payload.extend_from_slice(&record.value);
    payload.extend_from_slice(&[low, high]);
    payload.extend_from_slice(&crc64::update(0, &payload).to_le_bytes());
    let mut command = redis::cmd("RESTORE");
    command.arg(&record.key).arg(record.expires.unwrap_or(0)).arg(payload).arg("ABSTTL");
    if replaces {
        command.arg("REPLACE");
    }
    command
}

fn is_busy(fault: &RedisFault) -> bool {
    fault.with_causes().contains("BUSYKEY")
}

/// Sends the records after the first `skipped` ones, in rounds.
pub(super) fn read_rounds(
    file: &Path,
    identities: &[Identity],
    skipped: u64,
    rounds: &mpsc::Sender<Vec<Record>>,
) -> Result<(), BackupError> {
    let (mut parser, mut round, mut bytes, mut seen) = (Parser::default(), Vec::new(), 0, 0);
    // The receiver ends with the error that is reported.
    let send = |round: Vec<Record>| {
        rounds.blocking_send(round).map_err(|_| BackupError::Target("the restore was stopped".to_owned()))
    };
    archive::read(file, identities, |part| {
        parser.feed(part, |record| {
            seen += 1;
            if seen <= skipped {
                return Ok(());
            }
            bytes += record.value.len();
            round.push(record);
            if round.len() == ROUND || bytes >= ROUND_BYTES {
                bytes = 0;
                return send(std::mem::take(&mut round));
            }
            Ok(())
        })
    })?;
    parser.finish()?;
    if round.is_empty() { Ok(()) } else { send(round) }
}

/// The highest version of the RDB format that a version of Redis reads; `None` if it is not known.
fn rdb_version(redis: &str) -> Option<u32> {
    let mut numbers = redis.split('.').map(str::parse::<u32>);
    let (major, minor) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
    match (major, minor) {
        (..=4, _) => Some(8),
        (5 | 6, _) => Some(9),
        (7, 0 | 1) => Some(10),
        (7, 2 | 3) => Some(11),
        (7, _) => Some(12),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn older_versions_of_redis_are_known() {
        let known = ["6.2.14", "7.0.15", "7.2.4", "7.4.1", "8.2.0", "unstable"].map(rdb_version);
        assert_eq!(known, [Some(9), Some(10), Some(11), Some(12), None, None]);
    }
}
