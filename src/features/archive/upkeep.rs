//! Work on the files: packing, retention, checksums and verification, as background work and on request.

use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::error::ArchiveError;
use super::file_model::{RunItem, RunReport, RunRequest, Step, Verified, VerifyRequest};
use super::files::calendar::{DAY, day_of};
use super::files::{Files, PackOutcome, RetentionOutcome};
use super::rounds::SYMBOLS;
use super::service::ArchiveService;
use crate::clock::UnixMillis;
use crate::config::archive::Retention;
use crate::tape::Symbol;

/// How long a request works; then it says where the next one goes on.
const WORK: Duration = Duration::from_secs(15);

/// The most findings and items of an answer.
const MAX_ITEMS: usize = 1_000;

/// How long after its end a day gets its checksums, milliseconds: its last minutes have files by then.
const SUMS_AFTER: i64 = 3_600_000;

/// How long the checksums of a day follow its late versions by themselves, milliseconds.
const SUMS_UNTIL: i64 = 35 * DAY;

/// The most minutes that a dry run counts.
const COUNTED: usize = 100_000;

/// What a step was started by.
#[derive(Clone, Copy)]
enum Trigger {
    Round,
    Request { dry_run: bool },
}

impl ArchiveService {
    /// Packs, copies and deletes days, and writes checksums, for all symbols that have files.
    ///
    /// # Errors
    /// [`ArchiveError`]; the rest is done in the next round.
    pub(super) async fn maintain(&self, stop: &CancellationToken) -> Result<(), ArchiveError> {
        let Some(directory) = &self.directory else { return Ok(()) };
        let symbols = directory.run(Files::symbols).await?;
        for symbol in &symbols {
            let now = self.clock.now();
            for step in [Step::Pack, Step::Copy, Step::Retention] {
                if stop.is_cancelled() {
                    return Ok(());
                }
                self.days_step(
                    symbol,
                    step,
                    Trigger::Round,
                    Instant::now() + Duration::from_secs(600),
                    &mut Vec::new(),
                )
                .await?;
            }
            let (of, from) = (symbol.clone(), now - SUMS_UNTIL);
            directory
                .run(move |files| {
                    let days = files.days(&of)?;
                    let is_due = |day: &UnixMillis| *day >= from && day + DAY + SUMS_AFTER < now;
                    days.into_iter().filter(is_due).try_for_each(|day| files.write_sums(&of, day, now))
                })
                .await?;
        }
        Ok(())
    }

    /// Runs a step now.
    ///
    /// # Errors
    /// [`ArchiveError`]; what was done stays done.
    pub(super) async fn run(&self, request: RunRequest) -> Result<RunReport, ArchiveError> {
        let directory = self.require_directory()?;
        let RunRequest { symbol, step, dry_run } = request;
        let symbols = match (&symbol, step) {
            (Some(symbol), _) => vec![symbol.clone()],
            (None, Step::Archive) => self.listing.symbols(0, SYMBOLS).await?,
            (None, _) => directory.run(Files::symbols).await?,
        };
        let mut report = RunReport { step, dry_run, stored: 0, removed: 0, items: Vec::new(), complete: true };
        let end = Instant::now() + WORK;
        for symbol in symbols {
            if Instant::now() >= end || report.items.len() >= MAX_ITEMS {
                report.complete = false;
                break;
            }
            if step == Step::Archive {
                // What was reported before the call is due, too.
                self.fold(&symbol).await?;
            }
            match step {
                Step::Archive if dry_run => {
                    let [stored, removed] = self.due(&symbol).await?;
                    report.stored += stored;
                    report.removed += removed;
                }
                Step::Archive => {
                    let done = self.archive(&symbol, Some(end)).await?;
                    report.complete &= !done.is_cut;
                    report.stored += done.stored;
                    report.removed += done.removed;
                }
                Step::Pack | Step::Copy | Step::Retention => {
                    let trigger = Trigger::Request { dry_run };
                    report.complete &= self.days_step(&symbol, step, trigger, end, &mut report.items).await?;
                }
                Step::Adopt => {
                    directory.run(Files::check).await?;
                    let store = directory.store().unwrap_or_default();
                    if !dry_run {
                        self.window.adopt(&self.window.keys(&symbol), store).await?;
                    }
                    report.items.push(RunItem { symbol, day: None, outcome: format!("the directory is {store}") });
                }
            }
        }
        Ok(report)
    }

    /// How many minutes of a symbol are due to be written, and to be removed.
    async fn due(&self, symbol: &Symbol) -> Result<[usize; 2], ArchiveError> {
        let keys = self.window.keys(symbol);
        let [written_before, kept_from] = self.due_before();
        let written = self.window.minutes(&keys.dirty, i64::MIN, written_before, COUNTED).await?;
        let removed = self.window.minutes(&keys.index, i64::MIN, kept_from, COUNTED).await?;
        Ok([written.len(), removed.len()])
    }

    /// Packs or deletes the days of a symbol that are due, while this replica has the turn. Returns whether it reached the end.
    async fn days_step(
        &self,
        symbol: &Symbol,
        step: Step,
        trigger: Trigger,
        end: Instant,
        items: &mut Vec<RunItem>,
    ) -> Result<bool, ArchiveError> {
        let directory = self.require_directory()?;
        let now = self.clock.now();
        let dry_run = matches!(trigger, Trigger::Request { dry_run: true });
        let age = match (step, self.config.retention) {
            (Step::Retention, Retention::For(span)) => span,
            (Step::Retention, Retention::Never) => return Ok(true),
            (Step::Copy, _) if self.copies.is_none() => return Ok(true),
            _ => self.config.compact_after,
        };
        let before = now.saturating_sub_unsigned(age.as_millis()) - DAY;
        let (of, min_free) = (symbol.clone(), self.config.min_free.bytes());
        let (days, has_space) = directory
            .run(move |files| {
                files.check()?;
                let [free, _] = files.space()?;
                Ok((files.days(&of)?, free >= min_free))
            })
            .await?;
        if step == Step::Pack && !has_space {
            items.push(RunItem { symbol: symbol.clone(), day: None, outcome: "min_free: not enough space".to_owned() });
            return Ok(true);
        }
        for day in days.into_iter().filter(|day| *day <= before) {
            if Instant::now() >= end || items.len() >= MAX_ITEMS {
                return Ok(false);
            }
            let mut turns = self.turns.lock().await;
            if self.turn_of(&mut turns, symbol).await?.is_none() {
                items.push(RunItem {
                    symbol: symbol.clone(),
                    day: None,
                    outcome: "another replica is at work".to_owned(),
                });
                return Ok(true);
            }
            if step == Step::Copy {
                // A store may be slow; what another replica copies meanwhile is the same.
                drop(turns);
                let checks = matches!(trigger, Trigger::Request { .. });
                let outcomes = self.copy_day(symbol, day, checks, dry_run).await?;
                let item = |outcome| RunItem { symbol: symbol.clone(), day: Some(day), outcome };
                items.extend(outcomes.into_iter().map(item));
                continue;
            }
            let of = symbol.clone();
            let outcome = if step == Step::Pack {
                match directory.run(move |files| files.pack(&of, day, now, dry_run)).await? {
                    PackOutcome::Nothing => continue,
                    PackOutcome::Packed { file, minutes } => format!("{minutes} minutes in {file}"),
                    PackOutcome::Unreadable { file } => {
                        tracing::warn!(%symbol, file, "a day is not packed: a file cannot be read");
                        format!("not packed: {file} cannot be read")
                    }
                }
            } else {
                let to = self.copies.as_ref().map(|copies| copies.name().to_owned());
                match directory.run(move |files| files.expire(&of, day, now, to.as_deref(), dry_run)).await? {
                    RetentionOutcome::Kept("it has no files") => continue,
                    RetentionOutcome::Kept(reason) => format!("kept: {reason}"),
                    RetentionOutcome::Deleted { files } => format!("{files} files deleted"),
                }
            };
            items.push(RunItem { symbol: symbol.clone(), day: Some(day), outcome });
        }
        Ok(true)
    }

    /// Reads all files of a range of days, and compares them with their manifests.
    ///
    /// # Errors
    /// [`ArchiveError`] of the directory.
    pub(super) async fn verify(&self, request: VerifyRequest) -> Result<Verified, ArchiveError> {
        let directory = self.require_directory()?;
        let now = self.clock.now();
        let VerifyRequest { symbol, from, to } = request;
        let (from, to) = (from.map_or(0, |from| from.resolve(now)), to.map_or(now, |to| to.resolve(now)));
        let of = symbol.clone();
        let days = directory.run(move |files| files.days(&of)).await?;
        let mut verified = Verified { days: 0, findings: Vec::new(), next_from: None };
        let end = Instant::now() + WORK;
        for day in days.into_iter().filter(|day| *day >= day_of(from) && *day < to) {
            if Instant::now() >= end || verified.findings.len() >= MAX_ITEMS {
                verified.next_from = Some(day);
                break;
            }
            let of = symbol.clone();
            let findings = directory.run(move |files| files.verify(&of, day)).await?;
            self.metrics.verify_failures.inc_by(u64::try_from(findings.len()).unwrap_or_default());
            verified.days += 1;
            verified.findings.extend(findings.into_iter().map(Into::into));
        }
        Ok(verified)
    }
}
