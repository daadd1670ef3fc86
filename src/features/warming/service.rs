//! What the routes call about tasks, and what they share with the runner.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::Notify;

use super::breakers::Breakers;
use super::config::WarmingConfig;
use super::configured::{configured, sources};
use super::error::{TaskViolation, WarmingError};
use super::flights::Flights;
use super::keys::WarmingKeys;
use super::metrics::WarmingMetrics;
use super::model::{MAX_KEYS, RequestedRun, Run, RunRequest, TaskDefinition, TaskState, TaskView};
use super::plan::{Plan, Task, check_together};
use super::sources::{Source, literal};
use super::store::{Polled, Store, StoredRequest, StoredState};
use crate::cached::{Cached, CachedValues};
use crate::clock::Clock;
use crate::deps::Deps;
use crate::events::Events;
use crate::features::feature::StartError;
use crate::http::portable_json::{NOT_PORTABLE, is_portable};
use crate::lifecycle::Tasks;
use crate::random;
use crate::redis::{Redis, RedisFault};

/// How often a call that waits for the end of a run looks for it.
const LOOK: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(super) struct WarmingService {
    pub(super) store: Store,
    pub(super) cached: Cached,
    pub(super) cache_redis: Redis,
    pub(super) events: Events,
    pub(super) clock: Clock,
    pub(super) metrics: WarmingMetrics,
    pub(super) config: WarmingConfig,
    pub(super) replica: String,
    pub(super) published: Mutex<HashMap<String, LastPublished>>,
    pub(super) flights: Flights,
    /// Wakes the runner of this replica.
    pub(super) wake: Notify,
    pub(super) tasks: Tasks,
    sources: HashMap<String, Arc<Source>>,
    configured: Plan,
    plan: ArcSwap<Plan>,
    /// The version of the definitions in `plan`.
    version: AtomicU64,
    pub(super) breakers: Breakers,
}

/// What this replica last published about the use of a task's keys.
#[derive(Clone, Copy, Debug)]
pub(super) struct LastPublished {
    /// On the clock of [`Clock::elapsed`].
    pub at: Duration,
    /// Whether clients use any.
    pub has_uses: bool,
}

impl WarmingService {
    /// # Errors
    /// A source or a task that breaks a rule.
    pub(super) fn new(deps: &Deps, config: WarmingConfig) -> Result<Self, StartError> {
        let sources = sources(deps, &config)?;
        let (state, cache) = (deps.redis.state.clone(), deps.redis.cache.clone());
        let keys = WarmingKeys::new(state.keys(), cache.keys());
        let metrics = WarmingMetrics::new(&deps.metrics);
        let configured = configured(&deps.config, &config, &sources, &deps.cached)?;
        for name in configured.keys() {
            metrics.introduce(name);
        }
        Ok(Self {
            store: Store { redis: state, keys },
            cached: deps.cached.clone(),
            cache_redis: cache,
            events: deps.events.clone(),
            clock: deps.clock.clone(),
            metrics,
            replica: format!("{}:{}", deps.replica, std::process::id()),
            published: Mutex::default(),
            flights: Flights::default(),
            wake: Notify::new(),
            sources,
            plan: ArcSwap::from_pointee(configured.clone()),
            configured,
            version: AtomicU64::new(0),
            tasks: deps.tasks.clone(),
            breakers: Breakers::default(),
            config,
        })
    }

    /// The cache. The feature is not mounted without it.
    pub(super) fn cache(&self) -> Result<&dyn CachedValues, WarmingError> {
        self.cached.get().ok_or_else(|| WarmingError::invalid("", "needs the cache, which this service lacks"))
    }

    /// All tasks that this replica knows.
    pub(super) fn plan(&self) -> Arc<Plan> {
        self.plan.load_full()
    }

    /// Reads the states of all tasks, and takes over the tasks that were made by requests.
    ///
    /// # Errors
    /// [`WarmingError::Redis`].
    pub(super) async fn poll(&self) -> Result<HashMap<String, StoredState>, WarmingError> {
        let mut plan = self.plan();
        let names: Vec<String> = plan.keys().cloned().collect();
        let Polled { version, mut states } = self.store.poll(&names).await?;
        if self.version.load(Ordering::SeqCst) != version {
            plan = Arc::new(self.with_requested().await?);
            self.plan.store(Arc::clone(&plan));
            self.version.store(version, Ordering::SeqCst);
        }
        for name in plan.keys().filter(|name| !names.contains(name)) {
            self.metrics.introduce(name);
            states.insert(name.clone(), self.store.state(name).await?);
        }
        states.retain(|name, _| plan.contains_key(name));
        for (name, state) in &states {
            self.metrics.is_paused(name, state.is_paused);
        }
        Ok(states)
    }

    /// The configured tasks and those that requests have made.
    async fn with_requested(&self) -> Result<Plan, WarmingError> {
        let mut plan = self.configured.clone();
        for (name, definition) in self.store.definitions().await? {
            // A task that this version does not understand is one of another version.
            if !self.configured.contains_key(&name)
                && let Ok(task) = self.task(&name, definition)
            {
                plan.insert(name, Arc::new(task));
            }
        }
        Ok(plan)
    }

    fn task(&self, name: &str, definition: TaskDefinition) -> Result<Task, WarmingError> {
        let wrong = |TaskViolation { field, rule }: TaskViolation| WarmingError::invalid(format!("/{field}"), rule);
        let source = match (&definition.source, &definition.values) {
            (Some(name), None) => {
                let known = || self.sources.keys().cloned().collect::<Vec<_>>().join(", ");
                let unknown = || WarmingError::invalid("/source", format!("is unknown; the sources are {}", known()));
                Arc::clone(self.sources.get(name).ok_or_else(unknown)?)
            }
            (None, Some(values)) => {
                let (limit, _) = self.cache()?.limits();
                if let Some((key, _)) = values.iter().find(|(_, value)| value.get().len() > limit) {
                    return Err(WarmingError::invalid(
                        "/values",
                        format!("has a value over {limit} bytes under `{key}`"),
                    ));
                }
                literal(values)
            }
            _ => return Err(WarmingError::invalid("/source", "must be given if there are no values, and only then")),
        };
        Task::new(name, definition, source, &self.config.prefixes, self.cache()?).map_err(wrong)
    }

    /// Creates a task, or replaces one that was made by a request.
    ///
    /// # Errors
    /// [`WarmingError::Configured`], [`WarmingError::Invalid`], [`WarmingError::Redis`].
    pub(super) async fn define(&self, name: &str, definition: TaskDefinition) -> Result<TaskView, WarmingError> {
        if self.configured.contains_key(name) {
            return Err(WarmingError::Configured(name.to_owned()));
        }
        let broken = definition.values.iter().flatten().find(|(_, value)| !is_portable(value.get().as_bytes()));
        if let Some((key, _)) = broken {
            return Err(WarmingError::invalid("/values", format!("has a value under `{key}` that {NOT_PORTABLE}")));
        }
        let task = self.task(name, definition.clone())?;
        self.poll().await?;
        let mut plan = Plan::clone(&self.plan());
        plan.insert(name.to_owned(), Arc::new(task));
        check_together(&plan)
            .map_err(|(_, TaskViolation { field, rule })| WarmingError::invalid(format!("/{field}"), rule))?;
        self.store.define(name, &definition).await?;
        self.wake.notify_one();
        self.view(name).await.map_err(WarmingError::applied)
    }

    /// Removes a task that was made by a request. What it cached stays until it expires.
    ///
    /// # Errors
    /// [`WarmingError::Configured`], [`WarmingError::TaskNotFound`], [`WarmingError::Redis`].
    pub(super) async fn remove(&self, name: &str) -> Result<(), WarmingError> {
        if self.configured.contains_key(name) {
            return Err(WarmingError::Configured(name.to_owned()));
        }
        self.known(name).await?;
        self.store.remove(name).await?;
        self.poll().await.map(|_| ()).map_err(WarmingError::applied)
    }

    /// A task that exists on any replica.
    ///
    /// # Errors
    /// [`WarmingError::TaskNotFound`], [`WarmingError::Redis`].
    pub(super) async fn known(&self, name: &str) -> Result<Arc<Task>, WarmingError> {
        if let Some(task) = self.configured.get(name) {
            return Ok(Arc::clone(task));
        }
        self.poll().await?;
        self.plan().get(name).cloned().ok_or_else(|| WarmingError::TaskNotFound(name.to_owned()))
    }

    /// All tasks with their states.
    ///
    /// # Errors
    /// [`WarmingError::Redis`].
    pub(super) async fn list(&self) -> Result<Vec<TaskView>, WarmingError> {
        let states = self.poll().await?;
        let plan = self.plan();
        Ok(plan.values().map(|task| self.describe(task, &plan, &states)).collect())
    }

    /// # Errors
    /// [`WarmingError::TaskNotFound`], [`WarmingError::Redis`].
    pub(super) async fn view(&self, name: &str) -> Result<TaskView, WarmingError> {
        let mut all = self.list().await?;
        all.retain(|view| view.name == name);
        all.pop().ok_or_else(|| WarmingError::TaskNotFound(name.to_owned()))
    }

    fn describe(&self, task: &Task, plan: &Plan, states: &HashMap<String, StoredState>) -> TaskView {
        let stored = states.get(&task.name).cloned().unwrap_or_default();
        let state = match &stored.run {
            _ if task.is_disabled => TaskState::Disabled,
            _ if stored.is_paused => TaskState::Paused,
            Some(_) => TaskState::Running,
            None if !self.may_follow(task, plan, states) => TaskState::Waiting,
            None => TaskState::Idle,
        };
        let runs = !task.is_disabled && !stored.is_paused;
        let mut definition = task.definition.clone();
        // They may be large; the keys tell what there is.
        if let Some(values) = definition.values.take() {
            definition.keys = values.into_keys().take(MAX_KEYS).collect();
        }
        TaskView {
            name: task.name.clone(),
            configured: task.is_configured,
            definition,
            state,
            next_run: task.next_run(stored.last).filter(|_| runs).map(|at| at.max(self.clock.now())),
            last_success: stored.last.success,
            last_result: stored.result,
            run: stored.run,
        }
    }

    /// Whether every task before this one has succeeded recently. A predecessor that does not run makes no task wait.
    pub(super) fn may_follow(&self, task: &Task, plan: &Plan, states: &HashMap<String, StoredState>) -> bool {
        let now = self.clock.now();
        task.definition.after.iter().all(|name| {
            let Some(before) = plan.get(name) else { return true };
            let state = states.get(name).cloned().unwrap_or_default();
            before.is_disabled || before.is_followed(state.last, now)
        })
    }

    /// Pauses a task on all replicas, or lets it run again.
    ///
    /// # Errors
    /// [`WarmingError::TaskNotFound`], [`WarmingError::Redis`].
    pub(super) async fn pause(&self, name: &str, is_paused: bool) -> Result<TaskView, WarmingError> {
        self.known(name).await?;
        self.store.set(name, "paused", is_paused.then_some("1")).await?;
        self.wake.notify_one();
        self.view(name).await.map_err(WarmingError::applied)
    }

    /// Asks for a run, and waits for its end for up to `wait_ms`.
    ///
    /// # Errors
    /// [`WarmingError::TaskNotFound`], [`WarmingError::Invalid`], [`WarmingError::Requested`], [`WarmingError::Redis`].
    pub(super) async fn request(&self, name: &str, run: RunRequest) -> Result<RequestedRun, WarmingError> {
        let task = self.known(name).await?;
        if run.wait_ms > 30_000 {
            return Err(WarmingError::invalid("/wait_ms", format!("must be at most 30000, got {}", run.wait_ms)));
        }
        if run.keys.len() > MAX_KEYS {
            let count = run.keys.len();
            return Err(WarmingError::invalid("/keys", format!("must have at most {MAX_KEYS} keys, got {count}")));
        }
        let cache = self.cache()?;
        for (at, key) in run.keys.iter().enumerate() {
            if task.template.read(key).is_none() || cache.check_key(key).is_err() {
                let rule = format!("must be a key of `{}`, got `{key}`", task.template.as_str());
                return Err(WarmingError::invalid(format!("/keys/{at}"), rule));
            }
        }
        let (id, wait_ms) = (format!("{name}.{}", random::unique_text()), run.wait_ms);
        if !self.store.request(name, &StoredRequest { id: id.clone(), run }).await? {
            return Err(WarmingError::Requested(name.to_owned()));
        }
        self.wake.notify_one();
        let deadline = tokio::time::Instant::now() + Duration::from_millis(wait_ms);
        while tokio::time::Instant::now() < deadline {
            tokio::time::sleep(LOOK).await;
            let runs = self.store.runs(name, 5).await.map_err(RedisFault::applied)?;
            if let Some(run) = runs.into_iter().find(|run| run.id == id) {
                return Ok(RequestedRun { id, run: Some(run) });
            }
        }
        Ok(RequestedRun { id, run: None })
    }

    /// The newest runs of a task.
    ///
    /// # Errors
    /// [`WarmingError::TaskNotFound`], [`WarmingError::Redis`].
    pub(super) async fn runs(&self, name: &str, limit: usize) -> Result<Vec<Run>, WarmingError> {
        self.known(name).await?;
        Ok(self.store.runs(name, limit).await?)
    }

    /// A run that has ended, or is in progress.
    ///
    /// # Errors
    /// [`WarmingError::RunNotFound`], [`WarmingError::Redis`].
    pub(super) async fn run_by_id(&self, id: &str) -> Result<Run, WarmingError> {
        let not_found = || WarmingError::RunNotFound(id.to_owned());
        let name = task_of_run(id).ok_or_else(not_found)?;
        let state = self.store.state(name).await?;
        if let Some(run) = state.run.filter(|run| run.id == id) {
            return Ok(run);
        }
        let runs = self.store.runs(name, super::keys::HISTORY).await?;
        runs.into_iter().find(|run| run.id == id).ok_or_else(not_found)
    }

    /// Asks a run to stop; it does so between two batches.
    ///
    /// # Errors
    /// [`WarmingError::RunNotFound`], [`WarmingError::Redis`].
    pub(super) async fn stop_run(&self, id: &str) -> Result<Run, WarmingError> {
        let run = self.run_by_id(id).await?;
        if run.ended.is_none() {
            self.store.set(&run.task, "stop", Some(id)).await?;
        }
        Ok(run)
    }
}

impl Task {
    /// The name of its source in metrics and breakers.
    pub(super) fn source_name(&self) -> &str {
        self.definition.source.as_deref().unwrap_or(&self.name)
    }
}

/// The task of a run's id, `<task>.<turn>`.
fn task_of_run(id: &str) -> Option<&str> {
    id.split_once('.').map(|(task, _)| task).filter(|task| !task.is_empty() && task.len() <= 64)
}

/// The state that handlers share.
pub(super) type Shared = Arc<WarmingService>;
