//! One batch of a run: look, fetch, compare, write.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::sleep;

use super::pass::Pass;
use crate::cached::{Change, ChangeKind, Changed, Found, OpenedTag, Seen};
use crate::features::warming::error::WarmingError;
use crate::features::warming::plan::{HotRule, Task};
use crate::features::warming::service::WarmingService;
use crate::features::warming::sources::SourceValue;
use crate::features::warming::sources::{Answer, SourceError, Wanted};
use crate::features::warming::values::life;
use crate::redis::{Backoff, Effect, RedisFault};

/// The pauses before a fetch is repeated: the first one, and the longest.
const RETRY: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(5)];
/// The keys of one exchange with Redis, which takes about 15 us for each of them: clients wait for a whole one.
const SLICE: usize = 4;
/// The pause between two exchanges of a batch, which would otherwise be one burst.
const REST: Duration = Duration::from_millis(1);
/// How long the lease to fill an absent value lasts, milliseconds: a fetch may be repeated.
const LEASE: u64 = 20_000;
/// How long validators are kept, milliseconds: a day.
const VALIDATORS: u64 = 86_400_000;

/// What becomes of a key.
struct Verdict {
    kind: Option<ChangeKind>,
    outcome: Expected,
    /// The validator to remember.
    etag: Option<String>,
    updated: Option<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    New,
    Changed,
    Unchanged,
    Absent,
    Failed,
    /// Another client is fetching it.
    Elsewhere,
}

impl WarmingService {
    /// The keys that are due by the rule: absent ones, or those whose life is almost over.
    pub(super) async fn due_keys(
        &self,
        task: &Task,
        rule: HotRule,
        keys: &[String],
    ) -> Result<Vec<String>, WarmingError> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let seen = self.cache()?.look(keys, 0).await?;
        let ttl = Duration::from_millis(task.definition.ttl_ms).mul_f64(rule.share).as_millis();
        let is_due = |seen: &Seen| match &seen.found {
            Found::Value(value) => value.ttl_ms.is_some_and(|left| u128::from(left) < ttl),
            Found::Absent { .. } => rule.fetches_absent,
            Found::RememberedAbsent | Found::Foreign => false,
        };
        Ok(seen.into_iter().filter(is_due).map(|seen| seen.key).collect())
    }

    /// Warms the keys of a batch. Returns how many were written.
    pub(super) async fn warm_batch(&self, pass: &mut Pass<'_>, keys: Vec<String>) -> Result<u32, WarmingError> {
        let (task, cache, dry_run) = (pass.task, self.cache()?, pass.run.dry_run);
        pass.run.counts.fetched += count(keys.len());
        let mut seen = Vec::with_capacity(keys.len());
        for some in keys.chunks(SLICE) {
            if !seen.is_empty() {
                sleep(REST).await;
            }
            seen.extend(cache.look(some, if dry_run { 0 } else { LEASE }).await?);
        }
        let tags =
            if dry_run { Vec::new() } else { cache.open_tags(&task.definition.tags, task.definition.ttl_ms).await? };
        let validators = self.validators(task, &seen).await?;
        let wanted: Vec<Wanted> = seen
            .iter()
            .map(|seen| Wanted { key: seen.key.clone(), etag: validators.get(&seen.key).cloned() })
            .collect();
        let answers = match self.fetch_with_retries(pass, &wanted).await {
            Ok(answers) => answers,
            Err(error) => wanted.iter().map(|_| Err(error.clone())).collect(),
        };
        if let Some(error) = answers.iter().find_map(|answer| answer.as_ref().err()) {
            pass.run.error = Some(error.reason.clone());
        }
        let (limit, _) = cache.limits();
        let verdicts: Vec<(Seen, Verdict)> =
            seen.into_iter().zip(answers).map(|(seen, answer)| judge(task, seen, answer, limit, dry_run)).collect();
        if dry_run {
            for (seen, verdict) in verdicts {
                if matches!(verdict.outcome, Expected::New | Expected::Changed | Expected::Failed) {
                    pass.name(&seen.key);
                }
                note(pass, verdict.outcome);
            }
            return Ok(0);
        }
        // A runner that was frozen learns here that another one has taken over.
        self.record(pass, &[]).await?;
        if pass.is_lost() {
            return Ok(0);
        }
        self.write(pass, verdicts, &tags).await
    }

    async fn write(
        &self,
        pass: &mut Pass<'_>,
        verdicts: Vec<(Seen, Verdict)>,
        tags: &[OpenedTag],
    ) -> Result<u32, WarmingError> {
        let (mut changes, mut waiting) = (Vec::new(), Vec::new());
        for (seen, mut verdict) in verdicts {
            if let Some(kind) = verdict.kind.take() {
                waiting.push((seen.key.clone(), kind.clone(), verdict));
                changes.push(Change { seen, kind });
            } else {
                if verdict.outcome == Expected::Failed {
                    pass.name(&seen.key);
                }
                note(pass, verdict.outcome);
            }
        }
        let mut written = 0;
        let mut validators = Vec::new();
        let mut results = Vec::with_capacity(changes.len());
        let mut changes = changes.into_iter().peekable();
        while changes.peek().is_some() {
            if !results.is_empty() {
                sleep(REST).await;
            }
            results.extend(self.cache()?.change(changes.by_ref().take(SLICE).collect(), tags).await?);
        }
        for ((key, kind, verdict), result) in waiting.into_iter().zip(results) {
            match result {
                Ok(Changed::Done) => {
                    written += 1;
                    if let ChangeKind::Put { body, .. } = &kind {
                        pass.run.counts.bytes += count(body.len());
                        if let Some(etag) = &verdict.etag {
                            validators.push((key, format!("{} {etag}", hash(body))));
                        }
                        if let Some(updated) = verdict.updated {
                            self.metrics.wrote(&pass.task.name, self.clock.now() - updated);
                        }
                    }
                    note(pass, verdict.outcome);
                }
                // A failed fetch only gave its lease up.
                Ok(Changed::Overtaken) if verdict.outcome == Expected::Failed => note(pass, Expected::Failed),
                Ok(Changed::Overtaken) => pass.run.counts.overtaken += 1,
                Err(fault) => {
                    pass.run.error = Some(fault.to_string());
                    pass.name(&key);
                    pass.run.counts.failed += 1;
                }
            }
        }
        self.remember(pass.task, &validators).await?;
        Ok(written)
    }

    /// Fetches a batch, repeatedly if the source may answer later. Keys that failed for a moment are asked again.
    async fn fetch_with_retries(
        &self,
        pass: &mut Pass<'_>,
        wanted: &[Wanted],
    ) -> Result<Vec<Result<Answer, SourceError>>, SourceError> {
        let mut backoff = Backoff::new(RETRY[0], RETRY[1]);
        let mut answers: Vec<Option<Result<Answer, SourceError>>> = wanted.iter().map(|_| None).collect();
        for attempt in 1..=pass.task.attempts() {
            let open: Vec<usize> = (0..wanted.len())
                .filter(|at| match answers.get(*at) {
                    Some(Some(Err(error))) => error.is_temporary,
                    Some(None) => true,
                    _ => false,
                })
                .collect();
            if open.is_empty() {
                break;
            }
            pass.run.attempts += 1;
            let again: Vec<Wanted> = open.iter().filter_map(|at| wanted.get(*at).cloned()).collect();
            let mut wait = None;
            match self.fetch(pass.task, &again).await {
                Ok(fetched) => {
                    for (at, answer) in open.iter().zip(fetched) {
                        if let Err(error) = &answer {
                            wait = wait.max(error.retry_after);
                        }
                        if let Some(slot) = answers.get_mut(*at) {
                            *slot = Some(answer);
                        }
                    }
                }
                Err(error) if !error.is_temporary || attempt == pass.task.attempts() => {
                    for slot in &mut answers {
                        slot.get_or_insert(Err(error.clone()));
                    }
                    break;
                }
                Err(error) => wait = error.retry_after,
            }
            let fails = |answer: &Option<Result<Answer, SourceError>>| match answer {
                None => true,
                Some(Err(error)) => error.is_temporary,
                Some(Ok(_)) => false,
            };
            if attempt < pass.task.attempts() && answers.iter().any(fails) {
                sleep(wait.unwrap_or_else(|| backoff.pause()).min(RETRY[1])).await;
            }
        }
        let missing = || Err(SourceError::temporary("the source gave no answer"));
        Ok(answers.into_iter().map(|answer| answer.unwrap_or_else(missing)).collect())
    }

    /// The entity tags under which a source sent the values that are in the cache.
    async fn validators(&self, task: &Task, seen: &[Seen]) -> Result<HashMap<String, String>, RedisFault> {
        let present: Vec<(&str, String)> = seen
            .iter()
            .filter_map(|seen| match &seen.found {
                Found::Value(value) => Some((seen.key.as_str(), hash(&value.body))),
                _ => None,
            })
            .collect();
        if !task.source.has_validators() || present.is_empty() {
            return Ok(HashMap::new());
        }
        let mut command = redis::cmd("HMGET");
        command.arg(self.store.keys.validators(&task.name));
        for (key, _) in &present {
            command.arg(*key);
        }
        let stored: Vec<Option<String>> = self.cache_redis.query(&command, Effect::Read).await?;
        let tags = present.into_iter().zip(stored).filter_map(|((key, hash), text)| {
            let text = text?;
            let (of, etag) = text.split_once(' ')?;
            // The tag says nothing about a value that a client has written since.
            (of == hash).then(|| (key.to_owned(), etag.to_owned()))
        });
        Ok(tags.collect())
    }

    async fn remember(&self, task: &Task, validators: &[(String, String)]) -> Result<(), RedisFault> {
        if validators.is_empty() {
            return Ok(());
        }
        let key = self.store.keys.validators(&task.name);
        let mut store = redis::cmd("HSET");
        store.arg(&key);
        for (field, value) in validators {
            store.arg(field).arg(value);
        }
        let expire = redis::cmd("PEXPIRE").arg(&key).arg(VALIDATORS).take();
        for answer in self.cache_redis.query_all(&[store, expire], Effect::Write).await? {
            answer?;
        }
        Ok(())
    }
}

fn hash(body: &[u8]) -> String {
    format!("{:016x}", xxhash_rust::xxh3::xxh3_64(body))
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

/// Decides what becomes of a key whose source has answered. A failed fetch leaves what is cached.
fn judge(task: &Task, seen: Seen, answer: Result<Answer, SourceError>, limit: usize, dry_run: bool) -> (Seen, Verdict) {
    let verdict = |kind, outcome| Verdict { kind, outcome, etag: None, updated: None };
    // Without the lease of an absent value, another client is fetching it.
    let is_free = dry_run || !matches!(seen.found, Found::Absent { .. }) || seen.lease.is_some();
    let gives_up = seen.lease.is_some().then_some(ChangeKind::Release);
    let verdict = match answer {
        Err(_) => verdict(gives_up, Expected::Failed),
        Ok(_) if matches!(seen.found, Found::Foreign) => verdict(None, Expected::Failed),
        Ok(Answer::Value(value)) if value.body.len() > limit => verdict(gives_up, Expected::Failed),
        Ok(Answer::Value(value)) => {
            let ttl_ms = life(task, &value);
            let old = if let Found::Value(old) = &seen.found { Some(old) } else { None };
            let outcome = match old {
                None => Expected::New,
                Some(old) if old.body == value.body && old.content_type == "application/json" => Expected::Unchanged,
                Some(_) => Expected::Changed,
            };
            // A value with tags is written again, so that it has their present generations.
            let kind = if outcome == Expected::Unchanged && task.definition.tags.is_empty() {
                ChangeKind::Touch { ttl_ms }
            } else {
                ChangeKind::Put { body: value.body, ttl_ms }
            };
            Verdict { kind: is_free.then_some(kind), outcome, etag: value.etag, updated: value.updated }
        }
        Ok(Answer::NotModified) => {
            let ttl_ms = life(task, &SourceValue::default());
            let kind = match &seen.found {
                // Written again for the same reason: it may have been stored without the tags of the task.
                Found::Value(old) if !task.definition.tags.is_empty() => {
                    ChangeKind::Put { body: old.body.clone(), ttl_ms }
                }
                _ => ChangeKind::Touch { ttl_ms },
            };
            verdict(Some(kind), Expected::Unchanged)
        }
        Ok(Answer::Absent) => {
            let kind = match (task.definition.negative_ttl_ms, &seen.found) {
                (Some(ttl_ms), _) => Some(ChangeKind::Remember { ttl_ms }),
                (None, Found::Value(_)) => Some(ChangeKind::Delete),
                (None, _) => gives_up,
            };
            verdict(kind.filter(|_| is_free), Expected::Absent)
        }
    };
    let outcome = if is_free || verdict.outcome == Expected::Failed { verdict.outcome } else { Expected::Elsewhere };
    (seen, Verdict { outcome, ..verdict })
}

fn note(pass: &mut Pass<'_>, outcome: Expected) {
    let counts = &mut pass.run.counts;
    match outcome {
        Expected::New => counts.new += 1,
        Expected::Changed => counts.changed += 1,
        Expected::Unchanged => counts.unchanged += 1,
        Expected::Absent => counts.absent += 1,
        Expected::Failed => counts.failed += 1,
        Expected::Elsewhere => counts.overtaken += 1,
    }
}
