//! Background tasks. No other module spawns tasks.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use utoipa::ToSchema;

use crate::clock::{Clock, UnixMillis};

/// Starts tasks, stops them, waits for them and reports their state.
#[derive(Clone, Debug)]
pub struct Tasks {
    stop: CancellationToken,
    fatal: CancellationToken,
    tracker: TaskTracker,
    /// Tasks that the others use until they return.
    last: Last,
    clock: Clock,
    board: Arc<Mutex<BTreeMap<&'static str, TaskState>>>,
    planned: Planned,
}

#[derive(Clone, Debug, Default)]
struct Last {
    stop: CancellationToken,
    tracker: TaskTracker,
}

type Start = Box<dyn FnOnce(&Tasks) + Send>;

/// Work that waits for [`Tasks::start_planned`].
#[derive(Clone, Default)]
struct Planned(Arc<Mutex<Vec<Start>>>);

impl std::fmt::Debug for Planned {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Planned")
    }
}

/// The state of one kind of task.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
#[schema(as = HealthTaskState)]
pub struct TaskState {
    /// How many tasks of this kind are running.
    pub running: u32,
    /// When a periodic task last finished a round, Unix milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_run: Option<UnixMillis>,
    /// Why its last round failed; absent after a good one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// How many of its rounds have failed.
    #[serde(skip)]
    pub failures: u64,
    /// The failures that are not over yet.
    #[serde(skip)]
    episode: Option<Episode>,
}

/// Failures of a task, with less than [`CALM`] between them.
#[derive(Clone, Copy, Debug)]
struct Episode {
    last: UnixMillis,
    failures: u64,
}

/// A task works again if a round succeeds so long after the last failure, milliseconds: otherwise one that succeeds and fails
/// by turns would fill the log.
const CALM: u64 = 5_000;

impl Tasks {
    pub fn new(clock: Clock) -> Self {
        Self {
            stop: CancellationToken::new(),
            fatal: CancellationToken::new(),
            tracker: TaskTracker::new(),
            last: Last::default(),
            clock,
            board: Arc::default(),
            planned: Planned::default(),
        }
    }

    /// Runs `work` on the current runtime until it ends. Its `stop` token tells it to drain and return.
    ///
    /// A panic in it ends the process, so that a half-working service does not stay behind a load balancer.
    pub fn spawn<F>(&self, name: &'static str, work: impl FnOnce(CancellationToken) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let future = self.counted(name, work(self.stop.clone()));
        self.spawn_tracked(future);
    }

    /// Like [`Tasks::spawn`], for what other tasks use: its `stop` token waits until they have returned.
    #[expect(clippy::disallowed_methods, reason = "the one place that spawns")]
    pub fn spawn_last<F>(&self, name: &'static str, work: impl FnOnce(CancellationToken) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let future = self.counted(name, work(self.last.stop.clone()));
        tokio::spawn(self.last.tracker.track_future(future));
    }

    fn counted<F>(&self, name: &'static str, work: F) -> impl Future<Output = ()> + Send + use<F>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let guard = Running::start(self.clone(), name);
        async move {
            work.await;
            drop(guard);
        }
    }

    /// Spawns `work` when the service starts. Features are also built without a runtime, for the API document.
    pub fn plan<F>(&self, name: &'static str, work: impl FnOnce(CancellationToken) -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.planned_work().push(Box::new(move |tasks| tasks.spawn(name, work)));
    }

    /// Starts the planned work on the current runtime.
    pub fn start_planned(&self) {
        let planned = std::mem::take(&mut *self.planned_work());
        for start in planned {
            start(self);
        }
    }

    fn planned_work(&self) -> MutexGuard<'_, Vec<Start>> {
        self.planned.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs one client connection on the current runtime. A panic ends only that connection.
    #[expect(clippy::disallowed_methods, reason = "the one place that spawns")]
    pub fn spawn_connection(&self, connection: impl Future<Output = ()> + Send + 'static) {
        tokio::spawn(connection);
    }

    /// Runs one long-lived connection on the current runtime. Unlike the other connections, which the listener waits for,
    /// [`Tasks::drained`] waits for it. A panic ends only that connection.
    pub fn spawn_tracked_connection(&self, connection: impl Future<Output = ()> + Send + 'static) {
        self.spawn_tracked(connection);
    }

    /// Records a finished round of a periodic task for the health report. Repeated failures are logged once, and so is their end.
    pub fn report(&self, name: &'static str, outcome: Result<(), String>) {
        let now = self.clock.now();
        self.note(name, |state| {
            state.last_run = Some(now);
            match (&outcome, &mut state.episode) {
                (Err(_), Some(episode)) => *episode = Episode { last: now, failures: episode.failures + 1 },
                (Err(error), episode @ None) => {
                    *episode = Some(Episode { last: now, failures: 1 });
                    tracing::warn!(task = name, error, "a background task fails");
                }
                (Ok(()), Some(Episode { last, failures })) if now.abs_diff(*last) >= CALM => {
                    tracing::info!(task = name, failures = *failures, "a background task works again");
                    state.episode = None;
                }
                (Ok(()), _) => {}
            }
            state.failures += u64::from(outcome.is_err());
            state.last_error = outcome.err();
        });
    }

    /// The state of every kind of task, by name.
    pub fn states(&self) -> BTreeMap<&'static str, TaskState> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Tells every task to stop; [`Tasks::drained`] waits for them.
    pub fn stop(&self) {
        self.stop.cancel();
        self.tracker.close();
    }

    /// Resolves when every task has returned after [`Tasks::stop`].
    pub async fn drained(&self) {
        self.tracker.wait().await;
        self.last.stop.cancel();
        self.last.tracker.close();
        self.last.tracker.wait().await;
    }

    /// Resolves when a task has panicked.
    pub async fn failed(&self) {
        self.fatal.cancelled().await;
    }

    #[expect(clippy::disallowed_methods, reason = "the one place that spawns")]
    fn spawn_tracked(&self, future: impl Future<Output = ()> + Send + 'static) {
        tokio::spawn(self.tracker.track_future(future));
    }

    fn note(&self, name: &'static str, change: impl FnOnce(&mut TaskState)) {
        change(self.board.lock().unwrap_or_else(PoisonError::into_inner).entry(name).or_default());
    }
}

/// Counts a task as running. If a panic drops it, it reports the panic.
struct Running {
    tasks: Tasks,
    name: &'static str,
}

impl Running {
    fn start(tasks: Tasks, name: &'static str) -> Self {
        tasks.note(name, |state| state.running += 1);
        Self { tasks, name }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.tasks.note(self.name, |state| state.running = state.running.saturating_sub(1));
        if std::thread::panicking() {
            tracing::error!(task = self.name, "a background task panicked; the process stops");
            self.tasks.fatal.cancel();
        }
    }
}
