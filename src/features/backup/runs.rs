//! Runs: a backup, a drill or a restore, one at a time in a deployment. Redis has the progress of the last one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::oneshot;
use tokio::time::MissedTickBehavior;

use super::error::BackupError;
use super::job::Job;
use super::model::{Listed, RestoreRequest, Restored, Run, RunKind, RunStatus};
use super::restore::{Restore, RestoreOptions};
use super::scratch::{Scratch, Session};
use super::service::BackupService;
use super::tombstones::ErasedAgain;
use super::{command, drill};
use crate::lifecycle::Tasks;
use crate::random;
use crate::redis::{Effect, RedisRoles, Turn};

const NAME: &str = "backup.run";
/// A run that has reported nothing for so long has ended with its replica, milliseconds.
const GONE: u64 = 60_000;
/// How often a run reports progress.
const REPORT: Duration = Duration::from_secs(5);

/// What runs in the background need.
#[derive(Clone)]
pub(super) struct Background {
    pub roles: RedisRoles,
    pub tasks: Tasks,
}

impl BackupService {
    /// Makes a backup now, copies it to the store, and removes those that are no longer kept.
    ///
    /// # Errors
    /// [`BackupError`]; [`BackupError::Running`] if a replica makes one.
    pub async fn run(&self) -> Result<Listed, BackupError> {
        let (run, turn) = self.begin(RunKind::Backup, None).await?;
        let keys = Arc::default();
        self.follow(run.clone(), turn, &keys, Box::pin(self.back_up(&run.id, &keys))).await
    }

    /// Starts a backup in the background.
    ///
    /// # Errors
    /// [`BackupError::Off`], [`BackupError::Running`], [`BackupError::Redis`].
    pub(super) async fn start(self: Arc<Self>, tasks: &Tasks) -> Result<Run, BackupError> {
        let (run, turn) = self.begin(RunKind::Backup, None).await?;
        let (begun, keys) = (run.clone(), Arc::default());
        spawn(tasks, async move {
            self.follow(run.clone(), turn, &keys, Box::pin(self.back_up(&run.id, &keys))).await.map(|_| ())
        });
        Ok(begun)
    }

    /// Makes the file of a backup that is not kept, for `recipient` or the configured public keys. Waits until it is complete.
    ///
    /// # Errors
    /// [`BackupError`]; [`BackupError::Recipient`] for a text that is no public key.
    pub(super) async fn snapshot(
        self: Arc<Self>,
        recipient: Option<&str>,
        tasks: &Tasks,
    ) -> Result<(Listed, tokio::fs::File), BackupError> {
        self.require_on()?;
        let malformed = |reason: &str| BackupError::Recipient(format!("must be a public key of age: {reason}"));
        let own = recipient.map(|text| text.parse().map_err(malformed)).transpose()?;
        let (run, turn) = self.begin(RunKind::Snapshot, None).await?;
        let keys = Arc::default();
        let recipients = own.map_or_else(|| self.job.recipients.clone(), |own| vec![own]);
        let job = Job { keys: Arc::clone(&keys), recipients, ..self.job.clone() };
        let (sender, receiver) = oneshot::channel();
        // If the caller leaves, the run goes on, and its end lets the next one begin.
        spawn(tasks, async move {
            let staged = async {
                let listed = job.stage(&run.id).await?;
                let path = job.directory.unfinished(&run.id);
                let file = tokio::fs::File::open(&path).await?;
                // The open file stays until it has been sent.
                tokio::fs::remove_file(&path).await?;
                Ok((listed, file))
            };
            let staged = self.follow(run.clone(), turn, &keys, Box::pin(staged)).await;
            // The caller reports the error.
            let _ = sender.send(staged);
            Ok(())
        });
        receiver.await.map_err(|_| std::io::Error::from(std::io::ErrorKind::Interrupted))?
    }

    /// Starts a drill of a backup in the background.
    ///
    /// # Errors
    /// [`BackupError::NoIdentity`], [`BackupError::Running`], and those of [`BackupService::get`].
    pub(super) async fn start_drill(
        self: Arc<Self>,
        id: &str,
        Background { roles, tasks }: &Background,
    ) -> Result<Run, BackupError> {
        self.get(id).await?;
        let identities = self.identities()?;
        let (run, turn) = self.begin(RunKind::Drill, Some(id)).await?;
        let (begun, keys, roles) = (run.clone(), Arc::<AtomicU64>::default(), roles.clone());
        spawn(tasks, async move {
            let drill = async {
                let file = self.file_of_copy(&run.id).await?;
                let scratch = Scratch::open(&roles, &self.config.drill_url).await?;
                let shown = |done| keys.store(done, Ordering::Relaxed);
                let drilled =
                    drill::drill(scratch.redis(), self.job.owners.clone(), file.path(), identities, shown).await;
                scratch.close().await;
                let drill = drilled?;
                self.store(&self.keys.drill, &drill).await?;
                Ok(())
            };
            self.follow(run.clone(), turn, &keys, Box::pin(drill)).await
        });
        Ok(begun)
    }

    /// Starts a restore of a backup below another key prefix in the background.
    ///
    /// # Errors
    /// [`BackupError::Prefix`], [`BackupError::NoIdentity`], [`BackupError::Running`], and those of [`BackupService::get`].
    pub(super) async fn start_restore(
        self: Arc<Self>,
        id: &str,
        request: RestoreRequest,
        Background { roles, tasks }: &Background,
    ) -> Result<Run, BackupError> {
        let RestoreRequest { prefix, only, dry_run } = request;
        self.require_on()?;
        self.check_prefix(&prefix)?;
        self.get(id).await?.manifest.require(&only)?;
        let identities = self.identities()?;
        let file = self.directory.file(id);
        let erased = ErasedAgain::new(&self.whole_config, &file)?;
        let (run, turn) = self.begin(RunKind::Restore, Some(id)).await?;
        let (begun, keys, roles) = (run.clone(), Arc::<AtomicU64>::default(), roles.clone());
        spawn(tasks, async move {
            let restore = async {
                let session = Session::open(&roles, &prefix, None).await?;
                let (owners, options) = (self.job.owners.clone(), RestoreOptions { apply: !dry_run, only });
                let restored = async {
                    let (restore, manifest) =
                        Restore::prepare(&session.redis, owners, &file, identities, options, erased).await?;
                    restore.run(&manifest, |done| keys.store(done, Ordering::Relaxed)).await
                }
                .await;
                session.close();
                restored
            };
            self.follow(run.clone(), turn, &keys, Box::pin(restore)).await.map(|_| ())
        });
        Ok(begun)
    }

    async fn begin(&self, kind: RunKind, id: Option<&str>) -> Result<(Run, Turn), BackupError> {
        self.require_on()?;
        let turn = self.redis.keep_turn(&self.keys.running, None, GONE, &self.clock).await?;
        let turn = turn.ok_or(BackupError::Running)?;
        let now = self.clock.now();
        let id = if let Some(id) = id {
            id.to_owned()
        } else {
            let time = Timestamp::from_millisecond(now).map_err(std::io::Error::other)?.strftime("%Y%m%dT%H%M%SZ");
            let token = random::token().map_err(std::io::Error::other)?;
            format!("{time}-{}", token.get(..8).unwrap_or_default())
        };
        let status = RunStatus::Running;
        let run = Run { id, kind, status, reason: None, started: now, updated: now, keys: 0, restored: None };
        self.store(&self.keys.run, &run).await?;
        Ok((run, turn))
    }

    /// Does the work of a run, and stores how far it is and how it ended.
    async fn follow<T: Outcome>(
        &self,
        mut run: Run,
        mut turn: Turn,
        keys: &AtomicU64,
        work: impl Future<Output = Result<T, BackupError>>,
    ) -> Result<T, BackupError> {
        let done = {
            let mut work = std::pin::pin!(work);
            let mut reports = tokio::time::interval(REPORT);
            reports.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    done = &mut work => break done,
                    _ = reports.tick() => {
                        match self.redis.keep_turn(&self.keys.running, Some(turn), GONE, &self.clock).await {
                            Ok(Some(kept)) => turn = kept,
                            Ok(None) => return Err(BackupError::Lost),
                            // A report that fails does not end the run.
                            Err(_) => continue,
                        }
                        (run.updated, run.keys) = (self.clock.now(), keys.load(Ordering::Relaxed));
                        let _ = self.store(&self.keys.run, &run).await;
                    }
                }
            }
        };
        self.metrics.ended(run.kind, done.is_ok());
        (run.updated, run.keys) = (self.clock.now(), keys.load(Ordering::Relaxed));
        match &done {
            Ok(outcome) => {
                run.status = RunStatus::Done;
                outcome.note(&mut run);
            }
            Err(error) => (run.status, run.reason) = (RunStatus::Failed, Some(error.to_string())),
        }
        // The record is that of the replica that has the turn.
        if matches!(self.redis.keep_turn(&self.keys.running, Some(turn), GONE, &self.clock).await, Ok(None)) {
            return done;
        }
        let stored = self.store(&self.keys.run, &run).await;
        let freed = self.redis.query::<i64>(redis::cmd("DEL").arg(&self.keys.running), Effect::Write).await;
        let outcome = done?;
        stored?;
        freed?;
        Ok(outcome)
    }

    async fn back_up(&self, id: &str, keys: &Arc<AtomicU64>) -> Result<Listed, BackupError> {
        let job = Job { keys: Arc::clone(keys), ..self.job.clone() };
        let listed = job.run(id).await?;
        self.metrics.made(&listed);
        self.store(&self.keys.success, &listed.manifest.started).await?;
        self.copy_pending().await;
        self.prune(false).await?;
        Ok(listed)
    }

    /// The secret keys of the service.
    fn identities(&self) -> Result<Vec<age::x25519::Identity>, BackupError> {
        if self.config.identity_file.as_os_str().is_empty() {
            return Err(BackupError::NoIdentity);
        }
        command::identities(&self.config.identity_file)
    }
}

/// What a run leaves in its record.
trait Outcome {
    fn note(&self, _: &mut Run) {}
}

impl Outcome for Listed {}
impl Outcome for (Listed, tokio::fs::File) {}
impl Outcome for () {}

impl Outcome for Restored {
    fn note(&self, run: &mut Run) {
        run.restored = Some(self.clone());
    }
}

/// Runs work until it ends or the service stops. What is left of it is removed later, and another replica may begin again.
fn spawn(tasks: &Tasks, work: impl Future<Output = Result<(), BackupError>> + Send + 'static) {
    let reports = tasks.clone();
    tasks.spawn(NAME, |stop| async move {
        tokio::select! {
            () = stop.cancelled() => {}
            done = work => reports.report(NAME, done.map_err(|error| error.to_string())),
        }
    });
}
