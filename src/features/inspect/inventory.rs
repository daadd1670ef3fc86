//! The inventory: what a server holds, and what it takes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::Value;
use tokio_util::sync::CancellationToken;

use super::error::InspectError;
use super::model::{HoldingSize, Inventory, InventoryStatus, KeySize, UnknownNames};
use super::service::InspectService;
use crate::holdings::{Holding, OTHER, beginning};
use crate::redis::{Effect, KeyScan, Redis, RedisFault, Role};

const NAME: &str = "inspect.inventory";
/// Keys that one SCAN looks at.
const STEP: usize = 100;
/// The time of a step, of which there are 20 in a second: 2,000 keys.
const PACE: Duration = Duration::from_millis(50);
/// A step that takes longer means that the server is busy ...
const SLOW: Duration = Duration::from_millis(250);
/// ... and so many of them in sequence stop the run.
const SLOW_STEPS: u32 = 3;
/// A run that has reported nothing for so long has ended with its replica, milliseconds.
const GONE: u64 = 30_000;
/// Steps between reports: about a second.
const REPORT: usize = 20;
/// How long an inventory is kept, seconds.
const KEPT: u64 = 7 * 86_400;
const LARGEST: usize = 100;
const UNKNOWN: usize = 20;

impl InspectService {
    /// The last inventory.
    ///
    /// # Errors
    /// [`InspectError::NoInventory`], [`InspectError::Redis`].
    pub(super) async fn inventory(&self) -> Result<Inventory, InspectError> {
        let command = redis::cmd("GET").arg(&self.keys.inventory).take();
        let text: Option<String> = self.server(Role::State).query(&command, Effect::Read).await?;
        text.and_then(|text| serde_json::from_str(&text).ok()).ok_or(InspectError::NoInventory)
    }

    /// Starts an inventory in the background.
    ///
    /// # Errors
    /// [`InspectError::Running`], [`InspectError::Redis`].
    pub(super) async fn start(self: Arc<Self>, role: Role) -> Result<Inventory, InspectError> {
        if !self.server(Role::State).take_turn(&self.keys.turn, GONE, &self.clock).await? {
            return Err(InspectError::Running);
        }
        let now = self.clock.now();
        let mut run = Run { role, started: now, ..Run::default() };
        let begun = run.inventory(InventoryStatus::Running, None, now);
        self.store(&begun).await?;
        let (tasks, service) = (self.tasks.clone(), self);
        tasks.spawn(NAME, |stop| async move {
            let ended = service.run(&mut run, &stop).await;
            let (status, reason) = match &ended {
                Ok(None) => (InventoryStatus::Done, None),
                Ok(Some(reason)) => (InventoryStatus::Stopped, Some((*reason).to_owned())),
                Err(fault) => (InventoryStatus::Stopped, Some(fault.to_string())),
            };
            let inventory = run.inventory(status, reason, service.clock.now());
            let stored = service.store(&inventory).await;
            let _ = service.release().await;
            service.tasks.report(NAME, stored.and(ended.map(|_| ())).map_err(|error| error.to_string()));
        });
        Ok(begun)
    }

    /// Looks at every key. Returns why it stopped before the end.
    async fn run(&self, run: &mut Run, stop: &CancellationToken) -> Result<Option<&'static str>, RedisFault> {
        let redis = self.server(run.role);
        let (mut scan, mut slow) = (KeyScan::new(redis, STEP), 0);
        for step in 1.. {
            let started = Instant::now();
            let Some(names) = scan.next().await? else { break };
            self.look_at(redis, names, run).await?;
            slow = if started.elapsed() > SLOW { slow + 1 } else { 0 };
            if scan.is_over() {
                break;
            }
            if slow >= SLOW_STEPS {
                return Ok(Some("Redis has become slow"));
            }
            if step % REPORT == 0 {
                self.store(&run.inventory(InventoryStatus::Running, None, self.clock.now())).await?;
                // Reports progress, so that no other run begins.
                self.server(Role::State).take_turn(&self.keys.turn, 1, &self.clock).await?;
            }
            tokio::select! {
                () = stop.cancelled() => return Ok(Some("the replica stops")),
                () = tokio::time::sleep(PACE.saturating_sub(started.elapsed())) => {}
            }
        }
        Ok(None)
    }

    async fn look_at(&self, redis: &Redis, names: Vec<Vec<u8>>, run: &mut Run) -> Result<(), RedisFault> {
        let mut commands = Vec::with_capacity(names.len() * 2);
        for name in &names {
            commands.push(redis::cmd("MEMORY").arg("USAGE").arg(name).take());
            commands.push(redis::cmd("PTTL").arg(name).take());
        }
        let answers = redis.query_all(&commands, Effect::Read).await?;
        let number = |answer: Option<Result<Value, RedisFault>>| match answer {
            Some(Ok(Value::Int(number))) => Some(number),
            _ => None,
        };
        let mut answers = answers.into_iter();
        for name in names {
            let (bytes, ttl) = (number(answers.next()), number(answers.next()));
            // A key that is gone has no memory.
            let Some(bytes) = bytes.and_then(|bytes| u64::try_from(bytes).ok()) else { continue };
            let key = String::from_utf8_lossy(&name).into_owned();
            run.count(self.holding(&key), redis.keys().prefix(), key, bytes, ttl == Some(-1));
        }
        Ok(())
    }

    async fn store(&self, inventory: &Inventory) -> Result<(), RedisFault> {
        // Texts and integers always serialise.
        let text = serde_json::to_string(inventory).unwrap_or_default();
        let command = redis::cmd("SET").arg(&self.keys.inventory).arg(text).arg("EX").arg(KEPT).take();
        self.server(Role::State).query(&command, Effect::Write).await
    }

    /// Lets the next run begin at once.
    async fn release(&self) -> Result<(), RedisFault> {
        self.server(Role::State).query::<i64>(redis::cmd("DEL").arg(&self.keys.turn), Effect::Write).await.map(|_| ())
    }
}

/// What a run has seen so far.
#[derive(Debug)]
struct Run {
    role: Role,
    started: i64,
    keys: u64,
    bytes: u64,
    holdings: BTreeMap<&'static str, HoldingSize>,
    largest: Vec<KeySize>,
    never_expiring: Vec<KeySize>,
    unknown: BTreeMap<String, u64>,
}

impl Default for Run {
    fn default() -> Self {
        let (holdings, unknown) = (BTreeMap::new(), BTreeMap::new());
        let (largest, never_expiring) = (Vec::new(), Vec::new());
        Self { role: Role::State, started: 0, keys: 0, bytes: 0, holdings, largest, never_expiring, unknown }
    }
}

impl Run {
    fn count(&mut self, found: Holding, prefix: &str, key: String, bytes: u64, without_ttl: bool) {
        let empty = || HoldingSize { holding: found.name.to_owned(), keys: 0, bytes: 0, without_ttl: 0 };
        let size = self.holdings.entry(found.name).or_insert_with(empty);
        size.keys += 1;
        size.bytes += bytes;
        size.without_ttl += u64::from(without_ttl);
        self.keys += 1;
        self.bytes += bytes;
        if found == OTHER {
            let start = beginning(key.strip_prefix(prefix).unwrap_or(&key));
            // Names of no order must not fill the memory.
            if self.unknown.len() < 10_000 || self.unknown.contains_key(&start) {
                *self.unknown.entry(start).or_default() += 1;
            }
        }
        if without_ttl && found.expires && self.never_expiring.len() < LARGEST {
            self.never_expiring.push(KeySize { bytes, key: key.clone() });
        }
        if self.largest.len() < LARGEST || self.largest.last().is_some_and(|last| last.bytes < bytes) {
            let at = self.largest.partition_point(|larger| larger.bytes >= bytes);
            self.largest.insert(at, KeySize { bytes, key });
            self.largest.truncate(LARGEST);
        }
    }

    fn inventory(&self, status: InventoryStatus, reason: Option<String>, now: i64) -> Inventory {
        let mut holdings: Vec<HoldingSize> = self.holdings.values().cloned().collect();
        holdings.sort_by_key(|size| std::cmp::Reverse(size.bytes));
        let mut unknown: Vec<UnknownNames> =
            self.unknown.iter().map(|(names, keys)| UnknownNames { names: names.clone(), keys: *keys }).collect();
        unknown.sort_by_key(|names| std::cmp::Reverse(names.keys));
        unknown.truncate(UNKNOWN);
        Inventory {
            role: self.role,
            status,
            reason,
            started: self.started,
            updated: now,
            keys: self.keys,
            bytes: self.bytes,
            holdings,
            largest: self.largest.clone(),
            never_expiring: self.never_expiring.clone(),
            unknown,
        }
    }
}
