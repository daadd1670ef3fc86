//! One run of a task: its keys, its batches, and its record.

use std::collections::VecDeque;
use std::time::Duration;

use serde_json::value::to_raw_value;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Work;
use crate::clock::UnixMillis;
use crate::events::{ChannelName, Message, TagMap};
use crate::features::warming::error::WarmingError;
use crate::features::warming::keys::TaskKeys;
use crate::features::warming::model::{Counts, Run, RunKind, RunRequest, RunResult};
use crate::features::warming::plan::Task;
use crate::features::warming::scripts::{self, Recorded};
use crate::features::warming::service::WarmingService;
use crate::features::warming::sources::{Listed, SourceError};
use crate::features::warming::store::StoredState;
use crate::random;
use crate::redis::{Backoff, RedisFault, Turn};

/// The keys of one batch.
const BATCH: usize = 100;
/// The values that are written per second, so that a large run leaves Redis to the clients.
const WRITES_PER_SECOND: u32 = 2_000;
/// The longest run.
const LONGEST: Duration = Duration::from_secs(600);
/// The first pause before a fetch is repeated, and the longest.
const RETRY: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(30)];
/// The time between two events about a run.
const EVENTS: Duration = Duration::from_millis(500);
/// The keys that a record names.
pub(super) const NAMED: usize = 20;

/// A run in progress.
pub(super) struct Pass<'a> {
    pub task: &'a Task,
    pub run: Run,
    pub started: Instant,
    keys: TaskKeys,
    turn: Turn,
    told: Option<Instant>,
    is_lost: bool,
}

/// What a run does with its keys, and what it notes at its end.
struct Errand {
    keys: VecDeque<String>,
    since: Option<UnixMillis>,
    is_cut: bool,
}

impl WarmingService {
    /// Gives a turn back that is not needed.
    pub(super) async fn give_back(&self, keys: &TaskKeys, turn: Turn) -> Result<(), WarmingError> {
        let unused = scripts::record(keys, turn, &self.clock, scripts::UNUSED, &[]);
        Ok(self.store.redis.call(unused).await.map(|_| ())?)
    }

    pub(super) async fn run_task(
        &self,
        task: &Task,
        work: Work,
        state: StoredState,
        turn: Turn,
        stop: &CancellationToken,
    ) -> Result<(), WarmingError> {
        let now = self.clock.now();
        let is_requested = matches!(work, Work::Requested { .. });
        let (id, kind, request) = match work {
            Work::Requested { id, request } => {
                let kind = if request.keys.is_empty() { RunKind::Full } else { RunKind::Requested };
                (id, kind, request)
            }
            Work::Scheduled(kind) => (format!("{}.{}", task.name, turn.fence()), kind, RunRequest::default()),
        };
        let run = Run {
            id,
            task: task.name.clone(),
            kind,
            dry_run: request.dry_run,
            replica: self.replica.clone(),
            started: now,
            ended: None,
            result: None,
            counts: Counts::default(),
            attempts: 0,
            error: None,
            keys: Vec::new(),
        };
        let keys = self.store.keys.task(&task.name);
        let mut pass = Pass { task, run, started: Instant::now(), keys, turn, told: None, is_lost: false };
        if kind == RunKind::Hot {
            return self.hot_round(&mut pass).await;
        }
        // A scheduled run leaves a request that has come meanwhile.
        let taken: &[&str] = if is_requested { &["request", "stop"] } else { &["stop"] };
        self.record(&mut pass, &taken.iter().map(|&field| (field, String::new())).collect::<Vec<_>>()).await?;
        self.tell(&mut pass).await;
        let errand = match self.errand(&mut pass, &request, &state).await {
            Ok(errand) => errand,
            Err(error) => {
                pass.run.error = Some(error.reason);
                return self.end(&mut pass, RunResult::Failed, None).await;
            }
        };
        let (since, is_cut) = (errand.since, errand.is_cut);
        let result = match self.work_off(&mut pass, errand, stop).await {
            Ok(result) if is_cut && result == RunResult::Succeeded => RunResult::Partial,
            Ok(result) => result,
            Err(WarmingError::Redis(fault)) => {
                pass.run.error = Some(fault.to_string());
                RunResult::Failed
            }
            Err(error) => return Err(error),
        };
        if pass.is_lost {
            // Another runner goes on: nothing more is written, not even a record.
            return Ok(());
        }
        self.end(&mut pass, result, since).await
    }

    /// Lists the keys of a run. One that was interrupted goes on behind its last key.
    async fn errand(
        &self,
        pass: &mut Pass<'_>,
        request: &RunRequest,
        state: &StoredState,
    ) -> Result<Errand, SourceError> {
        if !request.keys.is_empty() {
            return Ok(Errand { keys: request.keys.iter().cloned().collect(), since: None, is_cut: false });
        }
        let since = if pass.run.kind == RunKind::Changes { state.since } else { None };
        let mut backoff = Backoff::new(RETRY[0], RETRY[1]);
        let mut tries = 0;
        let Listed { keys, as_of, is_cut } = loop {
            tries += 1;
            pass.run.attempts += 1;
            let listing = pass.task.source.keys(&pass.task.template, &pass.task.definition, since);
            let listed = match tokio::time::timeout(super::super::values::FETCH, listing).await {
                Ok(listed) => listed,
                Err(_) => Err(SourceError::temporary("the source did not list its keys in time")),
            };
            match listed {
                Err(error) if error.is_temporary && tries < pass.task.attempts() => {
                    tokio::time::sleep(error.retry_after.unwrap_or_else(|| backoff.pause())).await;
                }
                listed => {
                    self.breakers.note(pass.task.source_name(), listed.is_ok(), self.clock.elapsed());
                    break listed?;
                }
            }
        };
        let mut keys: VecDeque<String> = keys.into();
        if let Some(cursor) = state.cursor.as_ref().filter(|_| pass.run.kind == RunKind::Full)
            && let Some(done) = keys.iter().position(|key| key == cursor)
        {
            keys.drain(..=done);
        }
        Ok(Errand { keys, since: as_of, is_cut })
    }

    /// Warms the keys batch by batch. The turn is reported before each write.
    async fn work_off(
        &self,
        pass: &mut Pass<'_>,
        mut errand: Errand,
        stop: &CancellationToken,
    ) -> Result<RunResult, WarmingError> {
        while !errand.keys.is_empty() {
            if stop.is_cancelled() || self.store.state(&pass.task.name).await?.stop.as_ref() == Some(&pass.run.id) {
                return Ok(RunResult::Stopped);
            }
            if pass.started.elapsed() > LONGEST {
                pass.run.error = Some("the run took too long".to_owned());
                return Ok(RunResult::Partial);
            }
            let began = Instant::now();
            let keys: Vec<String> = errand.keys.drain(..BATCH.min(errand.keys.len())).collect();
            let last = keys.last().cloned().unwrap_or_default();
            let written = self.warm_batch(pass, keys).await?;
            if pass.is_lost {
                return Ok(RunResult::Stopped);
            }
            let is_full = pass.run.kind == RunKind::Full && !pass.run.dry_run;
            let cursor = if is_full { last } else { String::new() };
            self.record(pass, &[("cursor", cursor)]).await?;
            if pass.is_lost {
                return Ok(RunResult::Stopped);
            }
            if pass.told.is_none_or(|told| told.elapsed() > EVENTS) {
                self.tell(pass).await;
            }
            let pace = Duration::from_secs(1) / WRITES_PER_SECOND * written;
            tokio::time::sleep_until(began + pace).await;
        }
        let Counts { fetched, failed, .. } = pass.run.counts;
        Ok(match failed {
            0 => RunResult::Succeeded,
            failed if failed == fetched => RunResult::Failed,
            _ => RunResult::Partial,
        })
    }

    /// A round for the keys that clients use most. Only a round that fetched something leaves a record.
    async fn hot_round(&self, pass: &mut Pass<'_>) -> Result<(), WarmingError> {
        let Some(rule) = pass.task.hot_rule() else { return Ok(()) };
        let hot = self.hot_keys(pass.task, super::super::hot::MOST).await?;
        let keys: Vec<String> =
            hot.into_iter().filter(|hot| hot.uses >= rule.uses).take(BATCH).map(|hot| hot.key).collect();
        let due = self.due_keys(pass.task, rule, &keys).await?;
        if due.is_empty() {
            return self.give_back(&pass.keys, pass.turn).await;
        }
        self.warm_batch(pass, due).await?;
        if pass.is_lost {
            return Ok(());
        }
        let Counts { fetched, failed, .. } = pass.run.counts;
        let result = if failed == 0 {
            RunResult::Succeeded
        } else if failed == fetched {
            RunResult::Failed
        } else {
            RunResult::Partial
        };
        self.end(pass, result, None).await
    }

    /// Reports progress. If another runner has the turn by now, the run is lost and must write nothing more.
    pub(super) async fn record(&self, pass: &mut Pass<'_>, fields: &[(&str, String)]) -> Result<(), RedisFault> {
        let text = serde_json::to_string(&pass.run).unwrap_or_default();
        let mut all = vec![("run", text)];
        all.extend_from_slice(fields);
        match self.store.redis.call(scripts::record(&pass.keys, pass.turn, &self.clock, "", &all)).await? {
            Recorded::Held(turn) => pass.turn = turn,
            Recorded::GivenBack | Recorded::Lost => pass.lose(),
        }
        Ok(())
    }

    /// Records the end of a run and gives the turn back.
    async fn end(&self, pass: &mut Pass<'_>, result: RunResult, since: Option<UnixMillis>) -> Result<(), WarmingError> {
        let now = self.clock.now();
        (pass.run.ended, pass.run.result) = (Some(now), Some(result));
        let mut fields = vec![("run", String::new()), ("stop", String::new())];
        let counts = !pass.run.dry_run && matches!(pass.run.kind, RunKind::Full | RunKind::Changes);
        if counts {
            fields.push(("result", result.label().to_owned()));
            if result == RunResult::Succeeded {
                fields.push(("since", since.map(|at| at.to_string()).unwrap_or_default()));
                fields.push(("changes", now.to_string()));
            }
        }
        if counts && pass.run.kind == RunKind::Full {
            fields.push(("end", now.to_string()));
            if result == RunResult::Succeeded {
                fields.push(("success", now.to_string()));
            }
            if result != RunResult::Stopped {
                fields.push(("cursor", String::new()));
            }
        } else if counts && result != RunResult::Succeeded {
            // The next look for changes is a whole interval away, with the same `since`.
            fields.push(("changes", now.to_string()));
        }
        let text = serde_json::to_string(&pass.run).unwrap_or_default();
        let recorded =
            self.store.redis.call(scripts::record(&pass.keys, pass.turn, &self.clock, &text, &fields)).await?;
        if recorded != Recorded::Lost {
            self.metrics.ended(&pass.run, pass.started.elapsed().as_secs_f64());
            self.tell(pass).await;
        }
        Ok(())
    }

    /// Publishes the state of a run. Without the channel, it is not published.
    async fn tell(&self, pass: &mut Pass<'_>) {
        pass.told = Some(Instant::now());
        let (Ok(channel), Ok(data)) = (ChannelName::parse("system:warming"), to_raw_value(&pass.run)) else { return };
        let message = Message {
            id: random::unique_text(),
            may_be_repeated: false,
            message_type: "warming.run".to_owned(),
            version: "1.0".to_owned(),
            data,
            key: Some(pass.task.name.clone()),
            tags: TagMap::new(),
            revision: None,
        };
        if let Err(fault) = self.events.publish_of_service(&[(channel, message)]).await {
            tracing::debug!(error = %fault, "the progress of a warming run was not published");
        }
    }
}

impl Pass<'_> {
    pub(super) fn is_lost(&self) -> bool {
        self.is_lost
    }

    fn lose(&mut self) {
        self.is_lost = true;
        tracing::warn!(run = self.run.id, "another replica has taken over a warming run");
    }

    /// Names a key in the record, if there is room.
    pub(super) fn name(&mut self, key: &str) {
        if self.run.keys.len() < NAMED {
            self.run.keys.push(key.to_owned());
        }
    }
}
