//! Appending and reading events.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::announcer::{self, Announcer};
use super::config::StreamsConfig;
use super::error::StreamError;
use super::keys::{self, StreamKeys, group_keys};
use super::metrics::StreamMetrics;
use super::model::{AppendRequest, Appended, EventsPage, ExpectedVersion, MAX_APPEND, NewEvent, Order, StreamInfo};
use super::names::{ShortName, StreamName};
use super::scripts::{self, AppendReply, Event, Listed, Part, Range};
use super::waiting::Waiters;
use crate::clock::{Clock, UnixMillis};
use crate::deps::Deps;
use crate::events::{Movements, is_message_type, is_short, on_one_line};
use crate::http::auth::Principal;
use crate::http::portable_json::is_portable;
use crate::http::reply::Page;
use crate::lifecycle::{Phase, large_work};
use crate::random;
use crate::redis::{Batch, Effect, FencingToken, Key, Outcome, Redis, RedisFault};

/// The most bytes of an event's metadata.
const METADATA_LIMIT: usize = 4 << 10;
/// How long a replica knows that a stream is listed: another replica may delete it.
const KNOWN: Duration = Duration::from_secs(60);
/// The most streams of which a replica knows it.
const MAX_KNOWN: usize = 10_000;
/// A reader that waits reads again after this time, in case an announcement was lost.
const RECHECK: Duration = Duration::from_secs(5);

/// Serves the streams. `groups.rs` adds the operations of groups.
#[derive(Debug)]
pub(super) struct StreamService {
    pub config: StreamsConfig,
    pub redis: Redis,
    pub clock: Clock,
    pub metrics: StreamMetrics,
    pub waiters: Waiters,
    pub phase: Phase,
    announcer: Arc<Announcer>,
    /// The streams that are listed, and since when.
    known: Mutex<HashMap<StreamName, Instant>>,
}

impl StreamService {
    pub(super) fn new(deps: &Deps, config: StreamsConfig) -> Arc<Self> {
        let redis = deps.redis.state.clone();
        let (movements, subscriptions) = Movements::new();
        let (listening, connection) = (Arc::clone(&movements), redis.clone());
        deps.tasks.plan("streams.listen", |stop| listening.listen(connection, subscriptions, stop));
        let announcer = Announcer::new(deps.events.clone());
        let running = Arc::clone(&announcer);
        deps.tasks.plan("streams.announce", |stop| running.run(stop));
        Arc::new(Self {
            config,
            redis,
            clock: deps.clock.clone(),
            metrics: StreamMetrics::new(&deps.metrics),
            waiters: Waiters::new(movements),
            phase: deps.phase.clone(),
            announcer,
            known: Mutex::default(),
        })
    }

    pub(super) fn keys(&self, stream: &StreamName) -> StreamKeys {
        StreamKeys::new(self.redis.keys(), stream)
    }

    /// Appends events, all of them or none. The same events with ids of the client are appended once.
    ///
    /// # Errors
    /// [`StreamError::VersionConflict`], [`StreamError::IdUsed`], [`StreamError::Full`], [`StreamError::TooManyStreams`],
    /// [`StreamError::StreamShareTaken`], [`StreamError::Invalid`], [`StreamError::TooLarge`], [`StreamError::Redis`].
    pub(super) async fn append(
        &self,
        caller: &Principal,
        stream: &StreamName,
        request: AppendRequest,
        token: Option<FencingToken>,
    ) -> Result<Appended, StreamError> {
        let expected = request.expected_version;
        let events = self.check(request.events)?;
        let appended = self.append_checked(caller, stream, &events, expected, token).await;
        let outcome = match &appended {
            Ok(Appended { duplicate: true, .. }) => "duplicate",
            Ok(_) => "appended",
            Err(StreamError::Redis(_)) => "failed",
            Err(_) => "refused",
        };
        self.metrics.appends.with_label_values(&[outcome]).inc();
        if let Ok(Appended { version, duplicate: false, .. }) = &appended {
            self.metrics.appended.inc_by(u64::try_from(events.len()).unwrap_or_default());
            self.announcer.note(stream, *version);
        }
        appended
    }

    async fn append_checked(
        &self,
        caller: &Principal,
        stream: &StreamName,
        events: &[Event],
        expected: ExpectedVersion,
        token: Option<FencingToken>,
    ) -> Result<Appended, StreamError> {
        let listed = self.list_stream(caller, stream).await?;
        let keys = self.keys(stream);
        let fence = token.map(|token| self.redis.fence(keys.fence.clone(), token));
        let now = self.clock.redis_arg();
        let call = scripts::append(&keys, events, expected, &self.config, fence.as_ref(), &now);
        let mut reply = self.redis.call(call).await;
        match (&mut reply, listed) {
            (Err(fault), Listed::Now(at)) if fault.outcome == Outcome::NotApplied => {
                if let Err(remains) = self.unlist(stream, Some(at)).await {
                    tracing::debug!(fault = %remains, %stream, "a stream without events stays listed");
                    fault.outcome = Outcome::Unknown;
                }
            }
            // There is no such stream. If the call fails, the list has a stream that readers of the list do not see.
            (Ok(AppendReply::Conflict { current: 0 }), Listed::Now(at)) => {
                let _ = self.unlist(stream, Some(at)).await;
            }
            (Ok(AppendReply::Conflict { current: 0 }) | Err(_), _) => {}
            (Ok(_), _) => self.note_listed(stream),
        }
        match reply? {
            AppendReply::Appended { first, last, time, duplicate } => {
                Ok(Appended { stream: stream.clone(), first_version: first, version: last, timestamp: time, duplicate })
            }
            AppendReply::Conflict { current } => Err(StreamError::VersionConflict { stream: stream.clone(), current }),
            AppendReply::IdUsed { current } => Err(StreamError::IdUsed { stream: stream.clone(), current }),
            AppendReply::Full => Err(StreamError::Full { stream: stream.clone(), limit: self.config.max_events }),
        }
    }

    /// Checks the fields of new events.
    fn check(&self, events: Vec<NewEvent>) -> Result<Vec<Event>, StreamError> {
        if !(1..=MAX_APPEND).contains(&events.len()) {
            let rule = format!("must have 1 to {MAX_APPEND} items, got {}", events.len());
            return Err(StreamError::invalid("/events", rule));
        }
        let mut checked: Vec<Event> = Vec::with_capacity(events.len());
        for (at, event) in events.into_iter().enumerate() {
            let pointer = |field: &str| format!("/events/{at}/{field}");
            let NewEvent { id, kind, data, metadata } = event;
            if !is_message_type(&kind) {
                let rule = "must have 1 to 64 letters, digits, `_`, `.` and `-`";
                return Err(StreamError::invalid(&pointer("type"), rule));
            }
            if id.as_ref().is_some_and(|id| !is_short(id, 128)) {
                let rule = "must have 1 to 128 bytes without control characters";
                return Err(StreamError::invalid(&pointer("id"), rule));
            }
            if id.is_some() && checked.iter().any(|earlier| Some(&earlier.id) == id.as_ref()) {
                return Err(StreamError::invalid(&pointer("id"), "must not be repeated"));
            }
            let limits = [
                ("data", Some(&data), self.config.event_limit.as_usize()),
                ("metadata", metadata.as_ref(), METADATA_LIMIT),
            ];
            for (field, text, limit) in limits {
                let Some(text) = text else { continue };
                let size = text.get().len();
                if size > limit {
                    return Err(StreamError::TooLarge { pointer: pointer(field), limit, size });
                }
                if !is_portable(text.get().as_bytes()) {
                    return Err(StreamError::invalid(&pointer(field), "must be JSON that every parser reads alike"));
                }
            }
            if metadata.as_ref().is_some_and(|metadata| !metadata.get().starts_with('{')) {
                return Err(StreamError::invalid(&pointer("metadata"), "must be an object"));
            }
            let may_be_repeated = id.is_some();
            let (data, metadata) = (on_one_line(data), metadata.map(on_one_line));
            checked.push(Event { id: id.unwrap_or_else(random::unique_text), may_be_repeated, kind, data, metadata });
        }
        Ok(checked)
    }

    /// Reads a part of a stream.
    ///
    /// # Errors
    /// [`StreamError::NotFound`], [`StreamError::Redis`].
    pub(super) async fn read(&self, stream: &StreamName, range: Range) -> Result<Part, StreamError> {
        let part = self.redis.call(scripts::read(&self.keys(stream), range)).await?;
        part.ok_or_else(|| StreamError::NotFound(stream.clone()))
    }

    /// Reads a page, and waits for the first event if there is none.
    ///
    /// # Errors
    /// Those of [`StreamService::read`]. A stream that does not exist yet is waited for.
    pub(super) async fn page(
        &self,
        stream: &StreamName,
        range: Range,
        wait: Duration,
    ) -> Result<EventsPage, StreamError> {
        let deadline = Instant::now() + wait;
        let mut moved = (!wait.is_zero()).then(|| self.waiters.follow(&self.keys(stream).moved));
        loop {
            let part = self.read(stream, range).await;
            let is_empty =
                matches!(&part, Ok(part) if part.events.is_empty()) || matches!(part, Err(StreamError::NotFound(_)));
            let Some(moved) = moved.as_mut().filter(|_| is_empty && Instant::now() < deadline) else {
                return part.map(|part| page(part, range));
            };
            if self.phase.is_draining() {
                return part.map(|part| page(part, range));
            }
            let recheck = deadline.min(Instant::now() + RECHECK);
            large_work::idle(async {
                tokio::select! {
                    // The sender lives as long as the service.
                    _ = moved.changed() => {}
                    () = tokio::time::sleep_until(recheck) => {}
                    () = self.phase.draining() => {}
                }
            })
            .await;
        }
    }

    /// Describes streams; those that do not exist are left out.
    ///
    /// # Errors
    /// [`StreamError::Redis`].
    pub(super) async fn describe(&self, streams: &[StreamName]) -> Result<Vec<StreamInfo>, StreamError> {
        let mut batch = Batch::new();
        for stream in streams {
            let keys = self.keys(stream);
            let mut meta = redis::cmd("HMGET");
            meta.arg(&keys.meta).arg(&["v", "c", "t"]);
            batch.command(meta, Effect::Read);
            let mut length = redis::cmd("XLEN");
            length.arg(&keys.log);
            batch.command(length, Effect::Read);
        }
        let mut answers = self.redis.run(batch).await?;
        let mut found = Vec::with_capacity(streams.len());
        for stream in streams {
            let meta: (Option<u64>, Option<i64>, Option<i64>) = read_value(answers.value()?)?;
            let events = read_value(answers.value()?)?;
            let (Some(version), Some(created_at), Some(updated_at)) = meta else { continue };
            let channel = announcer::channel(stream);
            found.push(StreamInfo { stream: stream.clone(), version, events, created_at, updated_at, channel });
        }
        Ok(found)
    }

    /// A page of the streams whose name has one of the prefixes, by name.
    ///
    /// # Errors
    /// [`StreamError::Redis`].
    pub(super) async fn list(
        &self,
        is_visible: impl Fn(&str) -> bool,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<StreamInfo>, StreamError> {
        let mut range = redis::cmd("ZRANGE");
        range.arg(keys::index(self.redis.keys())).arg(0).arg(-1);
        let mut names: Vec<String> = self.redis.query(&range, Effect::Read).await?;
        names.retain(|name| is_visible(name) && after.is_none_or(|after| name.as_str() > after));
        names.sort_unstable();
        let next_cursor = names.get(limit).and_then(|_| names.get(limit - 1)).cloned();
        names.truncate(limit);
        let streams: Vec<_> = names.iter().filter_map(|name| StreamName::parse(name).ok()).collect();
        if streams.is_empty() {
            return Ok(Page::empty());
        }
        Ok(Page { items: self.describe(&streams).await?, next_cursor })
    }

    /// Forgets the fencing tokens that a stream has seen.
    ///
    /// # Errors
    /// [`RedisFault`].
    pub(super) async fn reset_fence(&self, stream: &StreamName, by: &str) -> Result<(), RedisFault> {
        self.redis.reset_fence(&self.keys(stream).fence, by).await
    }

    /// Deletes a stream with its groups, and records who did it.
    ///
    /// # Errors
    /// [`StreamError::NotFound`], [`StreamError::Redis`].
    pub(super) async fn delete(&self, stream: &StreamName, by: &str) -> Result<(), StreamError> {
        let keys = self.keys(stream);
        let groups = self.groups(stream).await?;
        let mut of_groups: Vec<Key> = Vec::new();
        for group in &groups {
            // The names were valid when the groups were created.
            if let Ok(name) = serde_json::from_value::<ShortName>(group.group.as_str().into()) {
                of_groups.extend(group_keys(self.redis.keys(), stream, &name));
            }
        }
        let mut delete = redis::cmd("UNLINK");
        delete.arg(&keys.meta).arg(&keys.log).arg(&keys.ids).arg(&keys.groups).arg(&of_groups);
        self.redis.query::<i64>(&delete, Effect::Write).await?;
        tracing::warn!(target: "audit", %stream, by, "event stream deleted");
        self.known().remove(stream);
        // A later call removes it from the list.
        self.unlist(stream, None).await.map_err(RedisFault::applied)?;
        Ok(())
    }

    /// Lists a stream before its first event, so that every stream with events is listed.
    async fn list_stream(&self, caller: &Principal, stream: &StreamName) -> Result<Listed, StreamError> {
        if self.known().get(stream).is_some_and(|since| since.elapsed() < KNOWN) {
            return Ok(Listed::Before);
        }
        let (index, limit) = (keys::index(self.redis.keys()), self.config.max_streams);
        // Longer than it can live after an append for which this replica has not listed it again.
        let life_ms = self.config.life_ms() + 2 * u64::try_from(KNOWN.as_millis()).unwrap_or_default();
        let owner = keys::owner(caller);
        let call = scripts::register(&index, stream, limit, life_ms, &self.clock.redis_arg(), owner);
        let listed = self.redis.call(call).await.map_err(|mut fault| {
            // Nothing is appended yet.
            fault.outcome = Outcome::NotApplied;
            fault
        })?;
        match listed {
            Listed::Full => Err(StreamError::TooManyStreams { limit }),
            Listed::ShareTaken => Err(StreamError::StreamShareTaken { share: limit.div_ceil(2) }),
            Listed::Before | Listed::Now(_) => Ok(listed),
        }
    }

    /// Removes a stream from the list, if it was listed `at` this time: another append may have registered it since.
    async fn unlist(&self, stream: &StreamName, at: Option<UnixMillis>) -> Result<bool, RedisFault> {
        self.redis.call(scripts::unlist(&keys::index(self.redis.keys()), stream, at)).await
    }

    /// Notes that a stream is listed. Only one that exists: an append that created nothing removes it from the list.
    fn note_listed(&self, stream: &StreamName) {
        let mut known = self.known();
        if known.len() >= MAX_KNOWN {
            known.clear();
        }
        known.insert(stream.clone(), Instant::now());
    }

    fn known(&self) -> MutexGuard<'_, HashMap<StreamName, Instant>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn read_value<T: redis::FromRedisValue>(value: redis::Value) -> Result<T, StreamError> {
    redis::from_redis_value(value).map_err(|error| RedisFault::bad_reply(error, Effect::Read).into())
}

/// The page that a part of a stream is.
pub(super) fn page(part: Part, range: Range) -> EventsPage {
    let Part { version, first, events } = part;
    let is_ascending = range.order == Order::Asc;
    let missing = match (is_ascending, first) {
        (true, Some(first)) => first.saturating_sub(range.from.unwrap_or(1)),
        (true, None) => (version + 1).saturating_sub(range.from.unwrap_or(1)),
        (false, _) => 0,
    };
    let next = events.last().and_then(|last| {
        let has_more = if is_ascending {
            last.version < version.min(range.to.unwrap_or(version))
        } else {
            last.version > first.unwrap_or(1).max(range.to.unwrap_or(1))
        };
        has_more.then(|| if is_ascending { last.version + 1 } else { last.version - 1 })
    });
    EventsPage { items: events, version, first_version: first, missing, next_cursor: next.map(|next| next.to_string()) }
}
