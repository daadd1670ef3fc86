//! The cache as other capabilities fill it, see [`crate::cached`].

use std::collections::HashMap;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::join_all;
use redis::Value;

use super::error::CacheError;
use super::keys::EntryKeys;
use super::model::{CacheKey, Millis, Tag};
use super::scripts::{self, Expected, LeaseReply};
use super::service::{CacheService, Hit, Lookup, command, ttl_ms};
use super::stored_value::{ContentType, MOST_TAGS, StoredValue};
use crate::cached::{CachedValue, CachedValues, Change, ChangeKind, Changed, Found, KeyUses, OpenedTag, Seen};
use crate::clock::Clock;
use crate::deps::Deps;
use crate::hot_keys::HotKeys;
use crate::random;
use crate::redis::{Batch, Decoder, Effect, FaultKind, RedisFault};

/// The most used keys of the whole cache that a list of uses is chosen from: all that the counters can name.
const ALL: usize = usize::MAX;

pub(super) struct Filling {
    cache: CacheService,
    clock: Clock,
    /// What was done through this value, which is not a use by a client.
    own: HotKeys,
}

impl Filling {
    pub(super) fn new(cache: CacheService, deps: &Deps) -> Self {
        Self { cache, clock: deps.clock.clone(), own: HotKeys::new(1) }
    }

    fn note(&self, entry: &EntryKeys) {
        self.own.record(0, std::iter::once(entry.value.as_str().as_bytes()));
    }

    /// What is known of a key whose value was read.
    async fn seen(&self, key: String, entry: &EntryKeys, look: Result<Lookup, CacheError>) -> Result<Seen, RedisFault> {
        let seen = |found, expected: String, tags: Vec<(Tag, u64)>| {
            Ok(Seen { key: key.clone(), found, expected, lease: None, tags: opened(tags) })
        };
        match look {
            Ok(Lookup::Valid(hit)) => {
                let (expected, tags) = (hit.value.digest(), hit.value.tags());
                seen(Found::Value(value(&hit)), expected, tags)
            }
            Ok(Lookup::RememberedAbsent(digest, tags)) => seen(Found::RememberedAbsent, digest, tags),
            Ok(Lookup::Invalid(digest)) => {
                self.cache.drop_invalid(entry, &digest).await?;
                seen(Found::Absent { stale: None }, ABSENT.to_owned(), Vec::new())
            }
            Ok(Lookup::Absent) => seen(Found::Absent { stale: None }, ABSENT.to_owned(), Vec::new()),
            Err(CacheError::Redis(fault)) if fault.kind != FaultKind::WrongType => Err(fault),
            Err(_) => seen(Found::Foreign, String::new(), Vec::new()),
        }
    }

    /// Keeps the tags that were seen as long as what is changed under them. Without that, the error is a miss.
    async fn extend_seen_tags(&self, changes: &[Change]) {
        let lives = changes.iter().filter_map(|Change { seen, kind }| match kind {
            ChangeKind::Put { ttl_ms, .. } | ChangeKind::Remember { ttl_ms } | ChangeKind::Touch { ttl_ms } => {
                (!seen.tags.is_empty()).then_some(*ttl_ms)
            }
            ChangeKind::Delete | ChangeKind::Release => None,
        });
        let Some(ttl) = lives.max().and_then(|ttl| Millis::try_from(ttl).ok()) else { return };
        let tags = with_generations(changes.iter().flat_map(|change| &change.seen.tags));
        if let Err(fault) = self.cache.extend_tags(&tags, ttl).await {
            tracing::debug!(error = %fault, "cached values end with their tags");
        }
    }

    /// Takes the lease of an absent value, unless another client has it.
    fn granted(seen: &mut Seen, reply: LeaseReply) {
        match reply {
            LeaseReply::Granted { token } => seen.lease = Some(token),
            LeaseReply::Held { stale: Some(raw), .. } => {
                // A copy with tags could be invalid, and is not worth a round trip.
                let copy = StoredValue::decode(Bytes::from(raw)).ok();
                if let Some(copy) = copy.filter(|copy| copy.tags().is_empty() && !copy.is_absent()) {
                    let hit = Hit { value: copy, ttl: None, stale: true };
                    seen.found = Found::Absent { stale: Some(value(&hit)) };
                }
            }
            LeaseReply::Held { .. } | LeaseReply::Exists => {}
        }
    }
}

/// What [`Seen::expected`] is for an absent value.
const ABSENT: &str = "absent";

fn value(hit: &Hit) -> CachedValue {
    CachedValue {
        content_type: String::from_utf8_lossy(hit.value.content_type().as_bytes()).into_owned(),
        body: hit.value.body(),
        ttl_ms: hit.ttl,
    }
}

fn expected(seen: &Seen) -> Expected {
    match seen.found {
        Found::Value(_) => Expected::Valid(seen.expected.clone()),
        Found::RememberedAbsent => Expected::Invalid(seen.expected.clone()),
        Found::Absent { .. } | Found::Foreign => Expected::Absent,
    }
}

/// The reply to a change, which each kind of change decodes in its own way.
enum Reply {
    Put(Decoder<(String, i64), scripts::Change<scripts::StoredInfo>>),
    Touch(Decoder<String, scripts::Change<()>>),
    Delete(Decoder<i64, bool>),
    Release(Decoder<i64, ()>),
}

fn changed<T>(change: scripts::Change<T>) -> Result<Changed, RedisFault> {
    match change {
        Ok(Some(_)) => Ok(Changed::Done),
        Err(CacheError::Redis(fault)) => Err(fault),
        Ok(None) | Err(_) => Ok(Changed::Overtaken),
    }
}

#[async_trait]
impl CachedValues for Filling {
    fn check_key(&self, key: &str) -> Result<(), String> {
        CacheKey::try_from(key.to_owned()).map(|_| ())
    }

    fn check_tag(&self, tag: &str) -> Result<(), String> {
        Tag::try_from(tag.to_owned()).map(|_| ())
    }

    fn limits(&self) -> (usize, u64) {
        (self.cache.value_limit(), self.cache.config.max_ttl.as_millis())
    }

    fn is_raw(&self, key: &str) -> bool {
        let is_platform = |key: &CacheKey| !self.cache.keys.is_enveloped(key);
        CacheKey::try_from(key.to_owned()).is_ok_and(|key| is_platform(&key))
    }

    async fn look(&self, keys: &[String], lease_ms: u64) -> Result<Vec<Seen>, RedisFault> {
        // Keys were checked before; one that is not valid is left out, and its caller misses it.
        let keys: Vec<CacheKey> = keys.iter().filter_map(|key| CacheKey::try_from(key.clone()).ok()).collect();
        let entries: Vec<EntryKeys> = keys.iter().map(|key| self.cache.keys.entry(key)).collect();
        // GET and PTTL count as one use, unless a cluster receives them one by one.
        let commands = if self.cache.redis.is_cluster() { 2 } else { 1 };
        for entry in &entries {
            (0..commands).for_each(|_| self.note(entry));
        }
        let reads = entries.iter().flat_map(|entry| ["GET", "PTTL"].map(|verb| command(verb, entry.value.as_str())));
        let reads: Vec<_> = reads.collect();
        let mut answers = self.cache.redis.query_all(&reads, Effect::Read).await?.into_iter();
        let mut looks = Vec::with_capacity(keys.len());
        for (key, entry) in keys.into_iter().zip(&entries) {
            let raw = answers.next().unwrap_or(Ok(Value::Nil));
            let left = answers.next().unwrap_or(Ok(Value::Nil));
            looks.push(async move {
                let look = match (raw, left) {
                    (Ok(raw), Ok(left)) => self.cache.validated(raw, ttl_ms(&left), None).await,
                    (Err(fault), _) | (_, Err(fault)) => Err(CacheError::Redis(fault)),
                };
                self.seen(key.into_text(), entry, look).await
            });
        }
        let mut all: Vec<Seen> = join_all(looks).await.into_iter().collect::<Result<_, _>>()?;
        if lease_ms == 0 {
            return Ok(all);
        }
        let absent: Vec<usize> = (0..all.len())
            .filter(|at| all.get(*at).is_some_and(|seen| matches!(seen.found, Found::Absent { .. })))
            .collect();
        let Ok(random) = random::token() else { return Ok(all) };
        let calls =
            absent.iter().filter_map(|at| entries.get(*at)).map(|entry| scripts::lease(entry, &random, lease_ms));
        absent.iter().filter_map(|at| entries.get(*at)).for_each(|entry| self.note(entry));
        for (at, reply) in absent.iter().zip(self.cache.redis.call_all(calls).await?) {
            if let Some(seen) = all.get_mut(*at) {
                Self::granted(seen, reply?);
            }
        }
        Ok(all)
    }

    async fn open_tags(&self, tags: &[String], ttl_ms: u64) -> Result<Vec<OpenedTag>, RedisFault> {
        let tags: Vec<Tag> = tags.iter().filter_map(|tag| Tag::try_from(tag.clone()).ok()).collect();
        let ttl = self.cache.tag_ttl(Some(ttl_ms));
        match self.cache.open_tags(tags.iter().map(|tag| (tag, ttl)), None).await {
            Ok((tags, _)) => Ok(opened(tags)),
            Err(CacheError::Redis(fault)) => Err(fault),
            // Only a lease can be lost, and there is none.
            Err(_) => Ok(Vec::new()),
        }
    }

    async fn change(
        &self,
        changes: Vec<Change>,
        tags: &[OpenedTag],
    ) -> Result<Vec<Result<Changed, RedisFault>>, RedisFault> {
        self.extend_seen_tags(&changes).await;
        let (mut batch, mut replies, mut stored) = (Batch::new(), Vec::new(), Vec::new());
        for Change { seen, kind } in changes {
            let kept = seen.tags.iter().filter(|seen| tags.iter().all(|opened| opened.tag != seen.tag));
            let tags = with_generations(tags.iter().chain(kept));
            // What was seen ends with its TTL if a value has no room for the tags of all that have written it.
            let key = CacheKey::try_from(seen.key.clone()).ok().filter(|_| tags.len() <= MOST_TAGS);
            let Some(key) = key else {
                replies.push(None);
                continue;
            };
            let mut entry = self.cache.keys.entry(&key);
            self.note(&entry);
            let lease = seen.lease.as_deref().unwrap_or_default();
            let reply = match kind {
                ChangeKind::Put { body, ttl_ms } => {
                    let value = StoredValue::encode(ContentType::Json, body, &tags);
                    let put = scripts::put(&entry, value.raw(), Some(ttl_ms), false, &expected(&seen), lease, None);
                    stored.push(key);
                    Some(Reply::Put(batch.call(put)))
                }
                ChangeKind::Remember { ttl_ms } => StoredValue::absent(&tags).ok().map(|mark| {
                    // A stale copy of what the source no longer has would contradict the mark.
                    entry.stale = None;
                    Reply::Put(batch.call(scripts::put(
                        &entry,
                        mark.raw(),
                        Some(ttl_ms),
                        false,
                        &expected(&seen),
                        lease,
                        None,
                    )))
                }),
                ChangeKind::Touch { ttl_ms } => {
                    Some(Reply::Touch(batch.call(scripts::touch(&entry, ttl_ms, &expected(&seen)))))
                }
                ChangeKind::Delete => Some(Reply::Delete(batch.call(scripts::delete(&entry, &expected(&seen))))),
                ChangeKind::Release => Some(Reply::Release(batch.call(scripts::release(&entry, lease)))),
            };
            replies.push(reply);
        }
        if !stored.is_empty() {
            batch.last(self.cache.index_entries(&stored));
        }
        let mut answers = self.cache.redis.run(batch).await?;
        let decoded = replies
            .into_iter()
            .map(|reply| match reply {
                None => Ok(Changed::Overtaken),
                Some(Reply::Put(decoder)) => answers.reply(&decoder).and_then(changed),
                Some(Reply::Touch(decoder)) => answers.reply(&decoder).and_then(changed),
                Some(Reply::Delete(decoder)) => {
                    answers.reply(&decoder).map(|is_free| if is_free { Changed::Done } else { Changed::Overtaken })
                }
                Some(Reply::Release(decoder)) => answers.reply(&decoder).map(|()| Changed::Done),
            })
            .collect();
        // A key that is missing in the index is served nevertheless.
        if let Err(fault) = answers.last() {
            tracing::debug!(error = %fault, "cached values are missing in the list of keys");
        }
        Ok(decoded)
    }

    async fn replace(&self, key: &str, body: Option<Bytes>, ttl_ms: u64, tags: &[OpenedTag]) -> Result<(), RedisFault> {
        let Ok(key) = CacheKey::try_from(key.to_owned()) else { return Ok(()) };
        let entry = self.cache.keys.entry(&key);
        self.note(&entry);
        let Some(body) = body else {
            return self.cache.redis.call(scripts::delete(&entry, &Expected::Anything)).await.map(|_| ());
        };
        let value = StoredValue::encode(ContentType::Json, body, &with_generations(tags.iter()));
        let mut batch = Batch::new();
        let decoder = batch.call(scripts::put(&entry, value.raw(), Some(ttl_ms), false, &Expected::Anything, "", None));
        batch.last(self.cache.index_entry(&key));
        let mut answers = self.cache.redis.run(batch).await?;
        answers.reply(&decoder).and_then(changed).map(|_| ())
    }

    async fn invalidate(&self, tag: &str) -> Result<(), RedisFault> {
        let Ok(tag) = Tag::try_from(tag.to_owned()) else { return Ok(()) };
        match self.cache.invalidate(&tag, None).await {
            Err(CacheError::Redis(fault)) => Err(fault),
            _ => Ok(()),
        }
    }

    fn uses(&self, limit: usize, is_wanted: &dyn Fn(&str) -> bool) -> Vec<KeyUses> {
        let now = self.clock.elapsed();
        let all = self.cache.redis.hot_keys();
        self.own.advance(now);
        all.advance(now);
        let own: HashMap<String, u64> =
            self.own.list(now, ALL, |_| true).keys.into_iter().map(|hot| (hot.key, hot.uses)).collect();
        let name = |key: &str| self.cache.keys.client_key(key);
        let listed = all.list(now, ALL, |key| name(key).is_some_and(|key| is_wanted(&key)));
        let mut uses: Vec<KeyUses> = listed
            .keys
            .into_iter()
            .filter_map(|hot| {
                let of_clients = hot.uses.saturating_sub(own.get(&hot.key).copied().unwrap_or_default());
                Some(KeyUses { key: name(&hot.key)?, uses: of_clients, error: hot.error })
            })
            .filter(|key| key.uses > 0)
            .collect();
        uses.sort_by(|a, b| b.uses.cmp(&a.uses).then_with(|| a.key.cmp(&b.key)));
        uses.truncate(limit);
        uses
    }
}

fn opened(tags: Vec<(Tag, u64)>) -> Vec<OpenedTag> {
    let open = |(tag, generation): (Tag, u64)| OpenedTag { tag: tag.as_str().to_owned(), generation };
    tags.into_iter().map(open).collect()
}

fn with_generations<'a>(tags: impl Iterator<Item = &'a OpenedTag>) -> Vec<(Tag, u64)> {
    tags.filter_map(|opened| Some((Tag::try_from(opened.tag.clone()).ok()?, opened.generation))).collect()
}
