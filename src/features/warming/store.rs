//! What Redis keeps about tasks, for all replicas.
//!
//! The fields of `warming:state:{<task>}`: `paused`, `success`, `end`, `changes` (Unix milliseconds), `result`, `since` (the
//! time of the source), `cursor` (the last key of a run that was interrupted), `run` (the run in progress, JSON), `request` (a
//! run that was asked for, JSON), `stop` (the id of the run that is to stop).

use std::collections::HashMap;

use redis::{FromRedisValue, Value};
use serde::{Deserialize, Serialize};

use super::keys::WarmingKeys;
use super::model::{Run, RunRequest, RunResult, TaskDefinition};
use super::plan::LastRuns;
use super::scripts;
use crate::clock::UnixMillis;
use crate::redis::{Effect, Redis, RedisFault};

/// The state of a task, shared by all replicas.
#[derive(Clone, Debug, Default)]
pub(super) struct StoredState {
    pub last: LastRuns,
    pub is_paused: bool,
    pub result: Option<RunResult>,
    /// The time of the source at its last look, Unix milliseconds.
    pub since: Option<UnixMillis>,
    pub cursor: Option<String>,
    pub run: Option<Run>,
    pub request: Option<StoredRequest>,
    pub stop: Option<String>,
}

/// A run that was asked for and has not begun.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct StoredRequest {
    pub id: String,
    pub run: RunRequest,
}

impl StoredState {
    fn of(fields: &HashMap<String, String>) -> Self {
        let number = |name: &str| fields.get(name).and_then(|text| text.parse().ok());
        let json = |name: &str| fields.get(name).map(String::as_str).unwrap_or_default();
        Self {
            last: LastRuns { success: number("success"), end: number("end"), changes: number("changes") },
            is_paused: fields.contains_key("paused"),
            result: fields.get("result").and_then(|text| serde_json::from_value(text.as_str().into()).ok()),
            since: number("since"),
            cursor: fields.get("cursor").cloned(),
            run: serde_json::from_str(json("run")).ok(),
            request: serde_json::from_str(json("request")).ok(),
            stop: fields.get("stop").cloned(),
        }
    }
}

/// Reads and writes the state of tasks.
#[derive(Clone, Debug)]
pub(super) struct Store {
    pub redis: Redis,
    pub keys: WarmingKeys,
}

impl Store {
    /// The states of tasks, and the version of the definitions that requests have made: one exchange.
    ///
    /// # Errors
    /// [`RedisFault`].
    pub(super) async fn poll(&self, names: &[String]) -> Result<Polled, RedisFault> {
        let mut commands = vec![redis::cmd("GET").arg(self.keys.version()).take()];
        commands.extend(names.iter().map(|name| redis::cmd("HGETALL").arg(&self.keys.task(name).state).take()));
        let mut answers = self.redis.query_all(&commands, Effect::Read).await?.into_iter();
        let mut next = || answers.next().unwrap_or(Ok(Value::Nil));
        let version = Option::<u64>::from_redis_value(next()?).unwrap_or_default().unwrap_or_default();
        let mut states = HashMap::with_capacity(names.len());
        for name in names {
            states.insert(name.clone(), StoredState::of(&fields(next())?));
        }
        Ok(Polled { version, states })
    }

    /// The definitions that requests have made. They may be large, so they are read only after a change.
    ///
    /// # Errors
    /// [`RedisFault`].
    pub(super) async fn definitions(&self) -> Result<HashMap<String, TaskDefinition>, RedisFault> {
        let command = redis::cmd("HGETALL").arg(self.keys.tasks()).take();
        let texts = fields(self.redis.query(&command, Effect::Read).await)?.into_iter();
        Ok(texts.filter_map(|(name, text)| Some((name, serde_json::from_str(&text).ok()?))).collect())
    }

    pub(super) async fn state(&self, name: &str) -> Result<StoredState, RedisFault> {
        let command = redis::cmd("HGETALL").arg(&self.keys.task(name).state).take();
        Ok(StoredState::of(&fields(self.redis.query(&command, Effect::Read).await)?))
    }

    /// Sets a field of a task's state, or deletes it.
    pub(super) async fn set(&self, name: &str, field: &str, value: Option<&str>) -> Result<(), RedisFault> {
        let call = scripts::set(&self.keys.task(name), field, value.unwrap_or_default(), false);
        self.redis.call(call).await.map(|_| ())
    }

    /// Stores a request for a run; false: another one waits, which nothing may replace.
    pub(super) async fn request(&self, name: &str, request: &StoredRequest) -> Result<bool, RedisFault> {
        // Texts and numbers always serialise.
        let text = serde_json::to_string(request).unwrap_or_default();
        self.redis.call(scripts::set(&self.keys.task(name), "request", &text, true)).await
    }

    /// The newest runs, newest first.
    pub(super) async fn runs(&self, name: &str, limit: usize) -> Result<Vec<Run>, RedisFault> {
        let key = self.keys.task(name).runs;
        let command = redis::cmd("LRANGE").arg(&key).arg(0).arg(limit.saturating_sub(1)).take();
        let entries: Vec<String> = self.redis.query(&command, Effect::Read).await?;
        Ok(entries.iter().filter_map(|entry| serde_json::from_str(entry).ok()).collect())
    }

    /// Stores the definition of a task.
    pub(super) async fn define(&self, name: &str, definition: &TaskDefinition) -> Result<(), RedisFault> {
        // Texts and numbers always serialise.
        let text = serde_json::to_string(definition).unwrap_or_default();
        self.redis.call(scripts::define(&self.keys, name, &text)).await
    }

    /// Removes a task and its state. Its history stays until it expires.
    pub(super) async fn remove(&self, name: &str) -> Result<(), RedisFault> {
        let state = redis::cmd("UNLINK").arg(&self.keys.task(name).state).take();
        self.redis.query::<i64>(&state, Effect::Write).await?;
        self.redis.call(scripts::define(&self.keys, name, "")).await.map_err(RedisFault::partly_applied)
    }
}

/// What a poll found.
#[derive(Debug, Default)]
pub(super) struct Polled {
    pub version: u64,
    pub states: HashMap<String, StoredState>,
}

fn fields(reply: Result<Value, RedisFault>) -> Result<HashMap<String, String>, RedisFault> {
    // An answer of another type has no fields.
    Ok(HashMap::from_redis_value(reply?).unwrap_or_default())
}
