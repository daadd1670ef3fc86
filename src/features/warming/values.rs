//! Cache-aside reads: concurrent misses of one key fetch once, across replicas through the cache's lease, and within a
//! replica through a shared flight.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::WeakShared;

use super::error::WarmingError;
use super::flights::{Flight, Origin, Outcome, Served};
use super::model::{Written, WrittenReply, WrittenState};
use super::plan::{Task, task_of};
use super::service::{Shared, WarmingService};
use super::sources::{Answer, SourceError, SourceValue, Wanted};
use crate::cached::{CachedValue, Change, ChangeKind, Changed, Found, OpenedTag, Seen};
use crate::lifecycle::large_work;
use crate::random;

/// How long one fetch may take, from the first query to the last byte.
pub(super) const FETCH: Duration = Duration::from_secs(8);
/// How long the lease to fetch a value lasts, milliseconds: a fetch that is cancelled keeps others waiting no longer.
const LEASE: u64 = 10_000;
/// How long a flight waits for a fetch of another client. Longer than the longest wait of a caller.
const FLIGHT: Duration = Duration::from_secs(12);
/// The flights that go on without a caller; further ones end with their last caller.
const DETACHED: usize = 1_000;
/// A flight looks for the value of another client after this time, then after twice as long ...
const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// ... up to this.
const LONGEST_PAUSE: Duration = Duration::from_millis(200);
/// When a caller whose wait is over should ask again.
const RETRY: Duration = Duration::from_secs(1);
/// When a caller should ask a source again that has failed.
const AFTER_FAILURE: Duration = Duration::from_secs(5);

/// What a fetch of one key led to.
enum Filled {
    Stored(Served),
    Absent,
    /// Another write came first: look again.
    Overtaken,
}

impl WarmingService {
    /// The task of a key.
    ///
    /// # Errors
    /// [`WarmingError::KeyUnknown`].
    fn task_of_key(&self, key: &str) -> Result<Arc<Task>, WarmingError> {
        let unknown = || WarmingError::KeyUnknown(key.to_owned());
        self.cache()?.check_key(key).map_err(|_| unknown())?;
        task_of(&self.plan(), key).cloned().ok_or_else(unknown)
    }

    /// The value of a key: the cached one, or that of its source, which is stored.
    ///
    /// # Errors
    /// [`WarmingError::KeyUnknown`], [`WarmingError::Absent`], [`WarmingError::Source`] also after `wait`,
    /// [`WarmingError::Foreign`], [`WarmingError::Redis`].
    pub(super) async fn value(self: &Arc<Self>, key: &str, wait: Duration) -> Result<Served, WarmingError> {
        let task = self.task_of_key(key)?;
        let flight = self.flight(key, &task);
        let late = || WarmingError::Source { reason: "it has not answered yet".to_owned(), retry_after: RETRY };
        let served = large_work::idle(tokio::time::timeout(wait, flight)).await.unwrap_or_else(|_| Err(late()));
        let result = match &served {
            Ok(served) => served.origin.label(),
            Err(WarmingError::Absent) => "absent",
            Err(_) => "failed",
        };
        self.metrics.looked_up(&task.name, result);
        served
    }

    /// The flight that reads a key, shared by all that ask for it at the same time. It goes on if they leave, so that a slow
    /// source fills the cache as well.
    fn flight(self: &Arc<Self>, key: &str, task: &Arc<Task>) -> Flight {
        let mut flights = self.flights.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = flights.get(key).and_then(WeakShared::upgrade).filter(|flight| flight.peek().is_none()) {
            return flight;
        }
        flights.retain(|_, flight| flight.upgrade().is_some_and(|flight| flight.peek().is_none()));
        let (service, key_text, task) = (Shared::clone(self), key.to_owned(), Arc::clone(task));
        let flight = async move { service.read_or_fetch(&key_text, &task).await }.boxed().shared();
        if let Some(weak) = flight.downgrade() {
            flights.insert(key.to_owned(), weak);
        }
        if flights.len() <= DETACHED {
            let detached = flight.clone();
            self.tasks.spawn_connection(async move { _ = detached.await });
        }
        flight
    }

    async fn read_or_fetch(&self, key: &str, task: &Task) -> Outcome {
        let deadline = Instant::now() + FLIGHT;
        let mut pause = FIRST_PAUSE;
        let keys = [key.to_owned()];
        while Instant::now() < deadline {
            let Some(seen) = self.cache()?.look(&keys, LEASE).await?.pop() else { break };
            match &seen.found {
                Found::Value(value) => return Ok(Served { value: value.clone(), origin: Origin::Hit }),
                Found::RememberedAbsent => return Err(WarmingError::Absent),
                Found::Foreign => return Err(WarmingError::Foreign),
                Found::Absent { .. } if seen.lease.is_some() => match self.fill(task, seen).await? {
                    Filled::Stored(served) => return Ok(served),
                    Filled::Absent => return Err(WarmingError::Absent),
                    Filled::Overtaken => {}
                },
                Found::Absent { stale: Some(value) } => {
                    return Ok(Served { value: value.clone(), origin: Origin::Stale });
                }
                Found::Absent { stale: None } => {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
        Err(WarmingError::Source { reason: "other clients are still fetching".to_owned(), retry_after: RETRY })
    }

    /// Fetches the value of a key whose lease this call has, and stores it.
    async fn fill(&self, task: &Task, seen: Seen) -> Result<Filled, WarmingError> {
        let tags = self.cache()?.open_tags(&task.definition.tags, task.definition.ttl_ms).await?;
        let wanted = [Wanted { key: seen.key.clone(), etag: None }];
        let answer = match self.fetch(task, &wanted).await {
            Ok(mut answers) => answers.pop().unwrap_or_else(|| Err(SourceError::temporary("it gave no answer"))),
            Err(error) => Err(error),
        };
        match answer {
            Ok(Answer::Value(value)) => self.store_fetched(task, seen, value, &tags).await,
            Ok(Answer::Absent | Answer::NotModified) => {
                let kind = match task.definition.negative_ttl_ms {
                    Some(ttl_ms) => ChangeKind::Remember { ttl_ms },
                    None => ChangeKind::Release,
                };
                self.change_one(Change { seen, kind }, &tags).await?;
                Ok(Filled::Absent)
            }
            Err(error) => {
                self.change_one(Change { seen, kind: ChangeKind::Release }, &[]).await?;
                let retry_after = error.retry_after.unwrap_or(AFTER_FAILURE);
                Err(WarmingError::Source { reason: error.reason, retry_after })
            }
        }
    }

    async fn store_fetched(
        &self,
        task: &Task,
        seen: Seen,
        value: SourceValue,
        tags: &[OpenedTag],
    ) -> Result<Filled, WarmingError> {
        let (limit, _) = self.cache()?.limits();
        if value.body.len() > limit {
            self.change_one(Change { seen, kind: ChangeKind::Release }, &[]).await?;
            let reason = format!("its value has more than {limit} bytes");
            return Err(WarmingError::Source { reason, retry_after: AFTER_FAILURE });
        }
        let (ttl_ms, body) = (life(task, &value), value.body);
        let change = Change { seen, kind: ChangeKind::Put { body: body.clone(), ttl_ms } };
        if self.change_one(change, tags).await? == Changed::Overtaken {
            return Ok(Filled::Overtaken);
        }
        if let Some(updated) = value.updated {
            self.metrics.wrote(&task.name, self.clock.now() - updated);
        }
        let value = CachedValue { content_type: "application/json".to_owned(), body, ttl_ms: Some(ttl_ms) };
        Ok(Filled::Stored(Served { value, origin: Origin::Miss }))
    }

    async fn change_one(&self, change: Change, tags: &[OpenedTag]) -> Result<Changed, WarmingError> {
        let mut changed = self.cache()?.change(vec![change], tags).await?;
        Ok(changed.pop().unwrap_or(Ok(Changed::Overtaken))?)
    }

    /// Asks a source, unless it is left alone because it keeps failing.
    ///
    /// # Errors
    /// [`SourceError`].
    pub(super) async fn fetch(
        &self,
        task: &Task,
        wanted: &[Wanted],
    ) -> Result<Vec<Result<Answer, SourceError>>, SourceError> {
        let name = task.source_name();
        if let Some(left) = self.breakers.left(name, self.clock.elapsed()) {
            let reason = "it has failed several times, and is left alone for a moment";
            return Err(SourceError { retry_after: Some(left), ..SourceError::permanent(reason) });
        }
        let started = Instant::now();
        let answers = match tokio::time::timeout(FETCH, task.source.values(&task.template, wanted)).await {
            Ok(answers) => answers,
            Err(_) => Err(SourceError::temporary("it did not answer in time")),
        };
        self.metrics.fetched(name, started.elapsed().as_secs_f64());
        // One key that fails says little about the source, several of them do.
        let has_answered = answers.as_ref().is_ok_and(|all| {
            all.is_empty()
                || all.iter().any(|answer| answer.as_ref().map_or_else(|error| !error.is_temporary, |_| true))
        });
        self.breakers.note(name, has_answered, self.clock.elapsed());
        answers
    }

    /// Takes over what was committed in the source: stores the value, or fetches it again. Fetches that began before lose.
    ///
    /// # Errors
    /// [`WarmingError::KeyUnknown`], [`WarmingError::Invalid`], [`WarmingError::Redis`].
    pub(super) async fn written(&self, key: &str, written: Written) -> Result<WrittenReply, WarmingError> {
        let task = self.task_of_key(key)?;
        let cache = self.cache()?;
        if written.invalidate.len() > 16 {
            let count = written.invalidate.len();
            return Err(WarmingError::invalid("/invalidate", format!("must have at most 16 tags, got {count}")));
        }
        for (at, tag) in written.invalidate.iter().enumerate() {
            cache.check_tag(tag).map_err(|rule| WarmingError::invalid(format!("/invalidate/{at}"), rule))?;
        }
        let (limit, _) = cache.limits();
        let body = written.value.map(|value| bytes::Bytes::copy_from_slice(value.get().as_bytes()));
        if let Some(body) = body.as_ref().filter(|body| body.len() > limit) {
            let rule = format!("must have at most {limit} bytes, got {}", body.len());
            return Err(WarmingError::invalid("/value", rule));
        }
        let tags = if body.is_some() {
            cache.open_tags(&task.definition.tags, task.definition.ttl_ms).await?
        } else {
            Vec::new()
        };
        let is_given = body.is_some();
        cache.replace(key, body, life(&task, &SourceValue::default()), &tags).await?;
        for tag in &written.invalidate {
            cache.invalidate(tag).await?;
        }
        if is_given {
            return Ok(WrittenReply { state: WrittenState::Stored });
        }
        // Not through a flight, which may have asked the source before the commit.
        let state = match self.read_or_fetch(key, &task).await {
            Ok(_) => WrittenState::Stored,
            Err(WarmingError::Absent) => WrittenState::Absent,
            Err(WarmingError::Source { .. }) => WrittenState::Deleted,
            Err(error) => return Err(error),
        };
        Ok(WrittenReply { state })
    }
}

/// The TTL of a value: that of the task, or the shorter one of its source, less up to a tenth, so that values which are
/// written together do not end together.
pub(super) fn life(task: &Task, value: &SourceValue) -> u64 {
    let ttl = value.max_ttl_ms.map_or(task.definition.ttl_ms, |most| most.min(task.definition.ttl_ms));
    Duration::from_millis(ttl).mul_f64(1.0 - random::fraction() / 10.0).as_millis().try_into().unwrap_or(ttl).max(1)
}
