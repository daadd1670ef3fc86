//! Background work: the only place that spawns it.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use utoipa::ToSchema;

use crate::clock::{Clock, UnixMillis};

/// Starts tasks, tells them to stop, waits for them, and says how they do.
#[derive(Clone, Debug)]
pub struct Tasks {
    stop: CancellationToken,
    fatal: CancellationToken,
    tracker: TaskTracker,
    clock: Clock,
    board: Arc<Mutex<BTreeMap<&'static str, TaskState>>>,
    at_start: Arc<Mutex<Vec<Deferred>>>,
}

/// Work that is started together with the service.
struct Deferred(Box<dyn FnOnce(&Tasks) + Send>);

impl std::fmt::Debug for Deferred {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Deferred")
    }
}

/// What is known of one kind of task.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub struct TaskState {
    /// How many of them run now.
    pub running: u32,
    /// When a periodic task last finished a round, Unix milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_run: Option<UnixMillis>,
    /// Why its last round failed; absent after a good one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

impl Tasks {
    pub fn new(clock: Clock) -> Self {
        Self {
            stop: CancellationToken::new(),
            fatal: CancellationToken::new(),
            tracker: TaskTracker::new(),
            clock,
            board: Arc::default(),
            at_start: Arc::default(),
        }
    }

    /// Keeps `begin` until the service starts: what is mounted only to be described starts nothing.
    pub fn at_start(&self, begin: impl FnOnce(&Tasks) + Send + 'static) {
        self.at_start.lock().unwrap_or_else(PoisonError::into_inner).push(Deferred(Box::new(begin)));
    }

    /// Starts what [`Tasks::at_start`] has kept, on the current runtime.
    pub fn start(&self) {
        let deferred = std::mem::take(&mut *self.at_start.lock().unwrap_or_else(PoisonError::into_inner));
        for Deferred(begin) in deferred {
            begin(self);
        }
    }

    /// Runs `work` on the current runtime until it ends; `stop` tells it to drain and return.
    ///
    /// A panic in it is fatal to the process: a half-dead service must not stay in a load balancer.
    pub fn spawn<F>(&self, name: &'static str, work: impl FnOnce(CancellationToken) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let guard = Running::start(self.clone(), name);
        let future = work(self.stop.clone());
        self.spawn_tracked(async move {
            future.await;
            drop(guard);
        });
    }

    /// Runs one client connection on the current runtime; its panics are its own.
    #[expect(clippy::disallowed_methods, reason = "the one place that spawns")]
    pub fn spawn_connection(&self, connection: impl Future<Output = ()> + Send + 'static) {
        tokio::spawn(connection);
    }

    /// Notes a finished round of a periodic task, for the health report.
    pub fn report(&self, name: &'static str, outcome: Result<(), String>) {
        let now = self.clock.now();
        self.note(name, |state| {
            state.last_run = Some(now);
            state.last_error = outcome.err();
        });
    }

    /// Every kind of task by name.
    pub fn states(&self) -> BTreeMap<&'static str, TaskState> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Tells every task to stop; they are waited for by [`Tasks::drained`].
    pub fn stop(&self) {
        self.stop.cancel();
        self.tracker.close();
    }

    /// Resolves when every task has returned after [`Tasks::stop`].
    pub async fn drained(&self) {
        self.tracker.wait().await;
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

/// Counts a task as running; dropped by a panic, it reports it.
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
