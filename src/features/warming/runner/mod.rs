//! The background work: every second, each replica looks for tasks that are due, and begins those whose turn it gets.

mod batch;
mod pace;
mod pass;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::error::WarmingError;
use super::model::{RunKind, RunRequest};
use super::plan::{Task, rank};
use super::service::{Shared, WarmingService};
use super::store::StoredState;
use crate::lifecycle::{Component, ComponentHealth, Finding, Tasks};
use crate::random;
use pace::Paced;

pub(super) const NAME: &str = "warming";

/// How often a replica looks for tasks that are due.
const POLL: Duration = Duration::from_secs(1);
/// How often a replica looks while no task can become due by itself. Requests wake the replica that received them.
const IDLE_POLL: Duration = Duration::from_secs(60);
/// The runs of a replica at the same time.
const PARALLEL: usize = 2;
/// How long the end of the service waits for runs to reach the end of their batch.
const DRAIN: Duration = Duration::from_secs(5);
/// How long a runner may go without progress before another replica takes over, milliseconds.
pub(super) const LEASE: u64 = 30_000;
/// The time between two rounds for the keys that clients use most, milliseconds.
const ROUND: i64 = 5_000;

/// Runs tasks from the start of the service until it stops. Neither the start nor readiness waits for it.
pub(super) async fn run(warming: Shared, reports: Tasks, health: ComponentHealth, stop: CancellationToken) {
    let mut runs = FuturesUnordered::new();
    let mut running: HashSet<String> = HashSet::new();
    let mut rounds: HashMap<String, i64> = HashMap::new();
    // A connection that is being made is no failure.
    warming.store.redis.settled().await;
    let mut next = Instant::now();
    while !stop.is_cancelled() {
        tokio::select! {
            () = stop.cancelled() => break,
            Some(name) = runs.next() => { running.remove(&name); continue; }
            () = tokio::time::sleep_until(next) => {}
            () = warming.wake.notified() => {}
        }
        let due = warming.due(&mut rounds).await;
        let is_idle = runs.is_empty() && due.is_ok() && warming.plan().values().all(|task| task.is_disabled);
        next = Instant::now() + if is_idle { IDLE_POLL } else { POLL };
        reports.report(NAME, due.as_ref().map(|_| ()).map_err(ToString::to_string));
        health.report(NAME, warming.health());
        for Due { task, work } in due.unwrap_or_default() {
            if runs.len() < PARALLEL && running.insert(task.name.clone()) {
                let (warming, stop, name) = (Shared::clone(&warming), stop.clone(), task.name.clone());
                let (share, busy) = (warming.config.cpu_share, warming.metrics.busy.clone());
                let begun = async move { warming.begin(&task, work, &stop).await };
                let run = Paced::new(begun, share, busy);
                runs.push(async move {
                    if let Err(error) = run.await {
                        tracing::warn!(task = name, error = %error, "a warming run ended without a record");
                    }
                    name
                });
            }
        }
    }
    _ = tokio::time::timeout(DRAIN, async { while runs.next().await.is_some() {} }).await;
}

/// A task that is due, as far as this replica knows.
struct Due {
    task: Arc<Task>,
    work: Work,
}

/// What is due of a task.
#[derive(Clone, Debug)]
pub(super) enum Work {
    Requested { id: String, request: RunRequest },
    Scheduled(RunKind),
}

impl WarmingService {
    /// The tasks that are due, the most important ones first, and those of equal importance in random order, so that
    /// replicas share them.
    async fn due(&self, rounds: &mut HashMap<String, i64>) -> Result<Vec<Due>, WarmingError> {
        let states = self.poll().await?;
        let (plan, now) = (self.plan(), self.clock.now());
        let mut due = Vec::new();
        for task in plan.values() {
            let state = states.get(&task.name).cloned().unwrap_or_default();
            let has_uses = task.hot_rule().is_some() && !task.is_disabled && self.publish_uses(task).await?;
            let Some(work) = self.work(task, &state) else { continue };
            if let Work::Scheduled(kind) = work {
                if !self.may_follow(task, &plan, &states) {
                    continue;
                }
                if kind == RunKind::Hot {
                    if !has_uses {
                        continue;
                    }
                    let last = rounds.entry(task.name.clone()).or_insert(now - ROUND);
                    if now - *last < ROUND {
                        continue;
                    }
                    *last = now;
                }
            }
            due.push((rank(task.definition.priority), random::fraction(), Due { task: Arc::clone(task), work }));
        }
        due.sort_by(|(a, a_random, _), (b, b_random, _)| a.cmp(b).then(a_random.total_cmp(b_random)));
        Ok(due.into_iter().map(|(_, _, due)| due).collect())
    }

    /// What is due of a task.
    fn work(&self, task: &Task, state: &StoredState) -> Option<Work> {
        let now = self.clock.now();
        if let Some(request) = &state.request {
            return Some(Work::Requested { id: request.id.clone(), request: request.run.clone() });
        }
        if task.is_disabled || state.is_paused || self.is_left_alone(task) {
            return None;
        }
        if task.next_run(state.last).is_some_and(|at| at <= now) {
            return Some(Work::Scheduled(RunKind::Full));
        }
        if task.next_changes(state.last).is_some_and(|at| at <= now) {
            return Some(Work::Scheduled(RunKind::Changes));
        }
        task.hot_rule().map(|_| Work::Scheduled(RunKind::Hot))
    }

    fn is_left_alone(&self, task: &Task) -> bool {
        self.breakers.left(task.source_name(), self.clock.elapsed()).is_some()
    }

    /// What readiness shows: sources that are left alone. The service is ready without them.
    fn health(&self) -> Component {
        let (plan, now) = (self.plan(), self.clock.elapsed());
        let failing: HashSet<&str> = plan
            .values()
            .map(|task| task.source_name())
            .filter(|name| self.breakers.left(name, now).is_some())
            .collect();
        let finding = |name: &str| Finding::degraded(format!("the warming source `{name}` keeps failing"));
        Component { members: Vec::new(), findings: failing.into_iter().map(finding).collect() }
    }

    /// Begins a run if no other replica has the turn of the task, and it is still due.
    async fn begin(&self, task: &Task, work: Work, stop: &CancellationToken) -> Result<(), WarmingError> {
        let keys = self.store.keys.task(&task.name);
        let Some(turn) = self.store.redis.keep_turn(&keys.turn, None, LEASE, &self.clock).await? else { return Ok(()) };
        // Another replica may have done it between the look and the turn.
        let state = self.store.state(&task.name).await?;
        let still = match (self.work(task, &state), work) {
            (Some(Work::Scheduled(kind)), Work::Scheduled(wanted)) => (kind == wanted).then_some(Work::Scheduled(kind)),
            (requested @ Some(Work::Requested { .. }), _) => requested,
            _ => None,
        };
        match still {
            Some(work) => self.run_task(task, work, state, turn, stop).await,
            None => self.give_back(&keys, turn).await,
        }
    }
}
