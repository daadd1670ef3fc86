//! The task that appends what this replica records, in batches.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::chain::{Known, Progress};
use super::error::AuditError;
use super::model::Entry;
use super::service::{AuditService, Log, Queued};
use crate::config::Config;
use crate::lifecycle::{Component, ComponentHealth, ComponentMember, Finding};
use crate::redis::RedisFault;

/// The name of the part in `/health/ready`.
pub(super) const PART: &str = "audit";
/// The target of log lines that are written at every level.
const LOG: &str = "audit";
/// The most entries of one script.
const BATCH: usize = 64;
/// The most entries that wait for Redis; the oldest are dropped.
const MAX_WAITING: usize = 10_000;
/// The pause after a failed batch.
const RETRY: Duration = Duration::from_secs(1);
/// How often counted requests are recorded.
const MINUTE: Duration = Duration::from_secs(60);
/// A checkpoint is written to the log of the service after this many entries ...
const CHECKPOINT_ENTRIES: u64 = 1_000;
/// ... and after this time.
const CHECKPOINT_TIME: Duration = Duration::from_secs(3_600);

/// What the task works with.
pub(super) struct Writer {
    pub audit: Arc<AuditService>,
    pub queue: mpsc::Receiver<Queued>,
    pub configs: watch::Receiver<Config>,
    pub health: ComponentHealth,
}

/// What the task keeps between batches.
#[derive(Default)]
struct State {
    known: Known,
    waiting: VecDeque<Queued>,
    /// The newest entry for which this replica has written a checkpoint.
    checkpoint: u64,
    /// What the log has lost, as far as this replica has seen.
    finding: Option<String>,
}

/// The state of the part in `/health/ready`.
pub(super) fn report(health: &ComponentHealth, state: &'static str, finding: Option<String>) {
    let member = ComponentMember { name: "log".to_owned(), state, until: None, heard: None };
    health.report(
        PART,
        Component { members: vec![member], findings: finding.map(Finding::degraded).into_iter().collect() },
    );
}

impl Writer {
    /// Appends from the start of the service until it stops, and what is left then.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let audit = Arc::clone(&self.audit);
        let Some(log) = audit.log() else { return };
        let mut state = State::default();
        let mut known_config = self.configs.borrow_and_update().clone();
        let version = Map::from_iter([("version".to_owned(), Value::from(env!("CARGO_PKG_VERSION")))]);
        audit.note("service.start", version);
        let (mut counts_at, mut checkpoint_at) = (Instant::now() + MINUTE, Instant::now() + CHECKPOINT_TIME);
        let mut retry_at = None;
        loop {
            let retry = retry_at.unwrap_or(counts_at).min(counts_at).min(checkpoint_at);
            tokio::select! {
                () = stop.cancelled() => break,
                Some(queued) = self.queue.recv() => state.waiting.push_back(queued),
                Ok(()) = self.configs.changed() => {
                    let config = self.configs.borrow_and_update().clone();
                    let settings = config.changed_since(&known_config);
                    known_config = config;
                    audit.note("config.reload", Map::from_iter([("settings".to_owned(), settings.into())]));
                }
                () = tokio::time::sleep_until(retry) => {}
            }
            if Instant::now() >= counts_at {
                counts_at = Instant::now() + MINUTE;
                log.counts.take().into_iter().for_each(|entry| audit.queue(entry));
            }
            if Instant::now() >= checkpoint_at {
                checkpoint_at = Instant::now() + CHECKPOINT_TIME;
                state.write_checkpoint(log, None).await;
            }
            retry_at = if self.append(log, &mut state).await { None } else { Some(Instant::now() + RETRY) };
        }
        self.queue.close();
        log.counts.take().into_iter().for_each(|entry| state.push(log, entry));
        state.push(log, Entry { action: "service.stop".to_owned(), actor: "service".to_owned(), ..Entry::default() });
        // A Redis that does not answer must not delay the stop further.
        let _ = self.append(log, &mut state).await;
    }

    /// Appends all that wait. Returns whether nothing is left.
    async fn append(&mut self, log: &Log, state: &mut State) -> bool {
        loop {
            while let Ok(queued) = self.queue.try_recv() {
                state.waiting.push_back(queued);
            }
            // An action that has given up must not be recorded as one that may happen.
            state.waiting.retain(|queued| queued.reply.as_ref().is_none_or(|reply| !reply.is_closed()));
            let excess = state.waiting.len().saturating_sub(MAX_WAITING);
            log.metrics.lost.inc_by(u64::try_from(excess).unwrap_or_default());
            state.waiting.drain(..excess);
            log.metrics.waiting.set(i64::try_from(state.waiting.len()).unwrap_or(i64::MAX));
            if state.waiting.is_empty() {
                return true;
            }
            let mut entries: Vec<Entry> = state.waiting.iter().take(BATCH).map(|queued| queued.entry.clone()).collect();
            let size = entries.len();
            match log.chain.append(&mut state.known, &mut entries).await {
                Ok(progress) => {
                    for queued in state.waiting.drain(..size) {
                        log.metrics.appended(&queued.entry);
                        if let Some(reply) = queued.reply {
                            // The action may have given up.
                            let _ = reply.send(Ok(()));
                        }
                    }
                    state.note_loss(log, &progress);
                    report(&self.health, "on", state.finding.clone());
                    if progress.head.seq / CHECKPOINT_ENTRIES > state.checkpoint / CHECKPOINT_ENTRIES {
                        state.write_checkpoint(log, Some(&progress)).await;
                    }
                }
                Err(error) => {
                    log.metrics.failures.inc();
                    let fault = if let AuditError::Redis(fault) = &error { Some(fault.clone()) } else { None };
                    state.refuse_actions(size, fault.as_ref());
                    report(&self.health, "failing", Some(format!("the audit log cannot be written: {error}")));
                    return false;
                }
            }
        }
    }
}

impl State {
    fn push(&mut self, log: &Log, entry: Entry) {
        log.metrics.waiting.inc();
        self.waiting.push_back(Queued { entry, reply: None });
    }

    /// Tells the actions of the batch that they are not recorded. What has happened already is tried again.
    fn refuse_actions(&mut self, size: usize, fault: Option<&RedisFault>) {
        let batch: Vec<Queued> = self.waiting.drain(..size).collect();
        let mut kept = 0;
        for queued in batch.into_iter().rev() {
            if let Some(reply) = queued.reply {
                let _ = reply.send(Err(AuditError::NotRecorded(fault.cloned())));
            } else {
                self.waiting.push_front(Queued { reply: None, ..queued });
                kept += 1;
            }
        }
        self.known.will_retry(kept);
    }

    /// Records that the log has lost entries.
    fn note_loss(&mut self, log: &Log, progress: &Progress) {
        let Some((expected, found)) = progress.lost else { return };
        let reason = format!("the audit log ended at entry {found} instead of {expected}: verify it");
        tracing::error!(target: LOG, expected, found, "the audit log has lost entries");
        self.finding = Some(reason);
        log.metrics.breaks.set(1);
        let details = [("expected", expected), ("found", found)].map(|(name, seq)| (name.to_owned(), Value::from(seq)));
        let (action, actor) = ("audit.loss".to_owned(), "service".to_owned());
        self.push(log, Entry { action, actor, details: Map::from_iter(details), ..Entry::default() });
    }

    /// Writes the signed end of the log where Redis cannot change it.
    async fn write_checkpoint(&mut self, log: &Log, progress: Option<&Progress>) {
        let (head, now) = match progress {
            Some(progress) => (progress.head.clone(), progress.now),
            None => match log.chain.head().await {
                Ok(found) => (found.head, found.now),
                Err(_) => return,
            },
        };
        if head.seq > self.checkpoint {
            self.checkpoint = head.seq;
            let checkpoint = serde_json::to_string(&log.chain.checkpoint(&head, now)).unwrap_or_default();
            tracing::info!(target: LOG, checkpoint, "checkpoint of the audit log");
        }
    }
}
