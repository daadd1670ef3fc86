//! The task that carries out erasures, at one replica at a time, and after a restart again from the beginning.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::error::SubjectError;
use super::matcher::Matcher;
use super::model::{Receipt, Status};
use super::service::{Job, SubjectService};
use super::sweep::{Counts, Found, Mode, Sweep};
use crate::lifecycle::Tasks;
use crate::redis::RedisFault;

pub(super) const NAME: &str = "subjects.erasure";

/// How often a replica looks for erasures of others. It learns at once of those that are requested from it.
const LOOK: Duration = Duration::from_secs(15);
/// A replica that has reported no progress for so long has ended, milliseconds.
const GONE: u64 = 30_000;
/// How often a replica that works reports progress.
const PROGRESS: Duration = Duration::from_secs(10);

/// What is not in Redis, or leaves by itself.
const REMAINS: &[&str] = &[
    "Samples of hosts that wait in a spool contain no persons; they leave within minutes.",
    "Backups made before the erasure contain the data. A restore erases it again, and none but the newest is kept longer than \
     erasure.tombstone_life.",
    "Logs of the service name callers; delete them as your policy for logs says.",
];

/// Carries out erasures from the start of the service until it stops.
pub(super) async fn run(subjects: Arc<SubjectService>, reports: Tasks, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = subjects.wake.notified() => {}
            () = tokio::time::sleep(LOOK) => {}
        }
        let round = tokio::select! {
            () = stop.cancelled() => return,
            round = subjects.round() => round,
        };
        reports.report(NAME, round.map_err(|error| error.to_string()));
    }
}

impl SubjectService {
    async fn round(&self) -> Result<(), SubjectError> {
        let open = self.open().await?;
        let oldest = open.iter().map(|job| job.erasure.receipt.requested).min();
        self.metrics.oldest_open.set(oldest.map_or(0, |oldest| (self.clock.now() - oldest).max(0) / 1_000));
        let Some(turn) = (if open.is_empty() { None } else { self.turn(None).await? }) else { return Ok(()) };
        let mut held = turn;
        for job in open {
            let work = self.carry_out(job);
            let mut work = std::pin::pin!(work);
            // The turn is kept while the work goes on.
            let done = loop {
                tokio::select! {
                    done = &mut work => break done,
                    () = tokio::time::sleep(PROGRESS) => match self.turn(Some(held)).await? {
                        Some(turn) => held = turn,
                        None => return Ok(()),
                    },
                }
            };
            let result = match &done {
                Ok(Status::Complete) => "complete",
                Ok(_) => "waiting",
                Err(_) => "failed",
            };
            self.metrics.erasures.with_label_values(&[result]).inc();
            done?;
        }
        self.state().query::<i64>(redis::cmd("DEL").arg(&self.keys.turn), crate::redis::Effect::Write).await?;
        Ok(())
    }

    async fn turn(&self, held: Option<crate::redis::Turn>) -> Result<Option<crate::redis::Turn>, RedisFault> {
        self.state().keep_turn(&self.keys.turn, held, GONE, &self.clock).await
    }

    /// Erases, verifies, and stores what came of it.
    async fn carry_out(&self, mut job: Job) -> Result<Status, SubjectError> {
        let matcher = self.matcher(&job.ids).await?;
        let is_dry = job.erasure.receipt.dry_run;
        let erased = self.sweep(&matcher, if is_dry { Mode::Look } else { Mode::Erase }).await?;
        add(&mut job.erasure.receipt.capabilities, erased);
        let left = if is_dry { Found::new() } else { self.sweep(&matcher, Mode::Look).await? };
        let receipt = &mut job.erasure.receipt;
        settle(receipt, &left);
        if receipt.status == Status::Complete {
            receipt.completed = Some(self.clock.now());
            receipt.remains = REMAINS.iter().map(|&text| text.to_owned()).collect();
            let text = serde_json::to_string(&receipt).unwrap_or_default();
            job.erasure.signed = Some(self.ring()?.sign(&text));
            job.ids = BTreeSet::new();
            let details = [("erasure", receipt.id.clone()), ("subject", receipt.subject.clone())];
            let details = details.map(|(name, text)| (name.to_owned(), serde_json::Value::from(text)));
            self.audit.note("subject.erased", serde_json::Map::from_iter(details));
        }
        self.store(&job).await?;
        Ok(job.erasure.receipt.status)
    }

    /// Walks over the keys of every server.
    pub(super) async fn sweep(&self, matcher: &Matcher, mode: Mode) -> Result<Found, RedisFault> {
        let mut found = Found::new();
        for redis in self.roles.distinct() {
            add(&mut found, Sweep::new(redis, &self.owners, matcher, mode).run().await?);
        }
        Ok(found)
    }
}

/// Adds what a walk has found. What is kept or waits is found by every walk.
fn add(capabilities: &mut Found, found: Found) {
    for counts in capabilities.values_mut() {
        counts.found -= counts.kept + counts.waiting;
        (counts.kept, counts.waiting) = (0, 0);
    }
    for (capability, counts) in found {
        let known: &mut Counts = capabilities.entry(capability).or_default();
        known.found += counts.found;
        known.erased += counts.erased;
        known.kept += counts.kept;
        known.waiting += counts.waiting;
        known.reason = counts.reason.or(known.reason.take());
    }
}

/// Decides whether the erasure is complete: nothing is left but what is kept for a reason.
fn settle(receipt: &mut Receipt, left: &Found) {
    let is_waiting = left.values().any(|counts| counts.waiting > 0);
    let is_left = left.values().any(|counts| counts.found > counts.kept + counts.waiting);
    receipt.status = match (is_left, is_waiting) {
        // Another client has written since: the next round removes it.
        (true, _) => Status::Running,
        (false, true) => Status::Waiting,
        (false, false) => Status::Complete,
    };
}
