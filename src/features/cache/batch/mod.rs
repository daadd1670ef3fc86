//! Many values in one request. Tags need another round trip, and so do reads of more than [`READS_WITHIN_LIMIT`] values,
//! whose sizes are checked first. Every item has its own result; a batch is no transaction.

mod model;

use std::collections::BTreeMap;

use base64::Engine;
use bytes::Bytes;
use futures_util::future::join_all;
use redis::Value;
use serde_json::value::RawValue;

use model::{BASE64, DeleteResult, GetResult, SetItem, SetResult};
pub(super) use model::{BatchReply, BatchRequest};

use super::error::CacheError;
use super::model::{CacheKey, Tag};
use super::scripts::{self, Change, Expected, StoredInfo};
use super::service::{CacheService, Hit, command, effective_ttl, ttl_ms};
use super::stored_value::StoredValue;
use super::write::not_indexed;
use crate::http::batch_item::{self, ItemResult, merge};
use crate::http::conditional::ETag;
use crate::http::portable_json::is_portable;
use crate::http::problem::Location;
use crate::http::reply::ItemError;
use crate::redis::{Answers, Batch, Effect, FencingToken, RedisFault};

/// The reads of a batch whose values cannot exceed the limit of a batch, which is this number of the largest values.
const READS_WITHIN_LIMIT: usize = 8;
/// Larger results are built by a few batches at a time, bytes.
const LARGE_RESULT: usize = 1 << 20;
/// After this number of bytes, a batch lets the other requests of its thread run.
const BYTES_PER_TURN: usize = 256 << 10;

impl CacheService {
    /// Reads the state before the batch, then deletes, then stores.
    ///
    /// Of several writes of one key the last one counts. Each item succeeds or fails on its own, including at its own
    /// fence. A read whose value would exceed the limit of the batch fails with [`CacheError::BatchTooLarge`].
    ///
    /// # Errors
    /// [`CacheError::Redis`] if the first round trip as a whole failed; its outcome says whether items may have been
    /// applied.
    pub(super) async fn run_batch(
        &self,
        batch: SeparatedBatch,
        token: Option<FencingToken>,
    ) -> Result<BatchReply, CacheError> {
        let SeparatedBatch { get, set, delete } = batch;
        let (invalid_get, invalid_set, invalid_delete) = (get.invalid, set.invalid, delete.invalid);
        let (get, set, delete) = (get.valid, set.valid, delete.valid);
        let generations = self.open_batch_tags(&set).await?;
        let readable = self.readable(&get).await?;
        // Held until the response is built.
        let _permit = match readable.bytes {
            ..LARGE_RESULT => None,
            _ => self.large_batches.acquire().await.ok(),
        };
        let mut batch = Batch::new();
        for (key, _) in get.iter().zip(&readable.reads).filter(|(_, is_read)| **is_read) {
            let entry = self.keys.entry(key);
            batch.command(command("GET", entry.value.as_str()), Effect::Read);
            batch.command(command("PTTL", entry.value.as_str()), Effect::Read);
        }
        let deletions: Vec<_> = delete
            .iter()
            .map(|key| batch.call(scripts::delete(&self.entry(key, token), &Expected::Anything)))
            .collect();
        let mut set_keys = Vec::with_capacity(set.len());
        let mut writes = Vec::with_capacity(set.len());
        for item in set {
            let entry = self.entry(&item.key, token);
            let tags: Vec<(Tag, u64)> =
                item.tags.iter().filter_map(|tag| Some((tag.clone(), *generations.get(tag)?))).collect();
            let value = StoredValue::encode(item.content_type, Bytes::from(item.body), &tags);
            let ttl = effective_ttl(&entry, item.ttl);
            let put = scripts::put(&entry, value.raw(), ttl, false, &Expected::Anything, "", None);
            writes.push((value.etag(), batch.call(put)));
            set_keys.push(item.key);
        }
        if !set_keys.is_empty() {
            batch.last(self.index_entries(&set_keys));
        }
        let mut answers = self.redis.run(batch).await?;
        let read: Vec<_> = readable.reads.iter().map(|is_read| is_read.then(|| raw_value(&mut answers))).collect();
        let deleted: Vec<_> = deletions.iter().map(|decoder| answers.reply(decoder)).collect();
        let stored: Vec<_> = writes.iter().map(|(etag, decoder)| (*etag, answers.reply(decoder))).collect();
        let listed = answers.last();
        let hits = join_all(get.iter().zip(read).map(|(key, raw)| self.batch_hit(key, raw))).await;
        let set_result = |(key, (etag, answer))| self.set_result(key, etag, answer, listed.as_ref().err());
        let mut reply = BatchReply {
            get: self.get_results(get, hits).await,
            delete: delete.into_iter().zip(deleted).map(|(key, answer)| self.delete_result(key, answer)).collect(),
            set: set_keys.into_iter().zip(stored).map(set_result).collect(),
        };
        merge(&mut reply.get, invalid_get, |item| GetResult {
            error: Some(item.error),
            ..no_value(item.key, item.status)
        });
        merge(&mut reply.delete, invalid_delete, |ItemResult { key, status, error }| DeleteResult {
            key,
            status,
            error: Some(error),
        });
        merge(&mut reply.set, invalid_set, |ItemResult { key, status, error }| SetResult {
            key,
            status,
            etag: None,
            ttl_ms: None,
            error: Some(error),
        });
        Ok(reply)
    }

    /// Checks the sizes of the values before they are read into memory.
    async fn readable(&self, keys: &[CacheKey]) -> Result<Readable, RedisFault> {
        if keys.len() <= READS_WITHIN_LIMIT {
            return Ok(Readable { reads: vec![true; keys.len()], bytes: 0 });
        }
        let sizes: Vec<_> = keys.iter().map(|key| command("STRLEN", self.keys.entry(key).value.as_str())).collect();
        let limit = self.batch_bytes();
        let mut bytes = 0_usize;
        let reads = self.redis.query_all(&sizes, Effect::Read).await?.into_iter().map(|size| {
            // The read itself reports a value of another type.
            let size = if let Ok(Value::Int(size)) = size { usize::try_from(size).unwrap_or(0) } else { 0 };
            let is_read = bytes.saturating_add(size) <= limit;
            if is_read {
                bytes += size;
            }
            is_read
        });
        Ok(Readable { reads: reads.collect(), bytes })
    }

    /// The bytes that the reads of one batch may return.
    fn batch_bytes(&self) -> usize {
        self.value_limit().saturating_mul(READS_WITHIN_LIMIT)
    }

    /// The most items of each list.
    pub(super) fn batch_limit(&self) -> usize {
        self.config.batch_limit
    }

    /// Checks the rules of one write.
    ///
    /// # Errors
    /// [`CacheError::Invalid`], with a pointer into the item.
    pub(super) fn check_item(&self, item: &SetItem) -> Result<(), CacheError> {
        let limit = self.value_limit();
        if item.body.len() > limit {
            let rule = format!("must have at most {limit} bytes, got {}", item.body.len());
            return Err(CacheError::Invalid { location: Location::Body, pointer: String::new(), rule });
        }
        item.ttl.map_or(Ok(()), |ttl| self.check_ttl(ttl, Location::Body, "/ttl_ms"))
    }

    /// Every tag of the batch once, with the longest TTL of its values.
    async fn open_batch_tags(&self, set: &[SetItem]) -> Result<BTreeMap<Tag, u64>, CacheError> {
        let mut lives: BTreeMap<&Tag, u64> = BTreeMap::new();
        for item in set {
            let ttl = self.tag_ttl(effective_ttl(&self.keys.entry(&item.key), item.ttl));
            for tag in item.tags.iter() {
                let longest = lives.entry(tag).or_default();
                *longest = ttl.max(*longest);
            }
        }
        Ok(self.open_tags(lives, None).await?.0.into_iter().collect())
    }

    /// The value in the replies to GET and PTTL, if its tags are current. `None`: the value was not read.
    async fn batch_hit(&self, key: &CacheKey, raw: Option<RawValueReply>) -> Result<Hit, CacheError> {
        let Some(RawValueReply { value, ttl }) = raw else {
            return Err(CacheError::BatchTooLarge { limit: self.batch_bytes() });
        };
        let look = self.validated(value?, ttl_ms(&ttl?), None).await?;
        self.hit(&self.keys.entry(key), look).await.ok_or(CacheError::Miss)
    }

    /// Encodes the values one by one, and drops each value once it is encoded.
    async fn get_results(&self, keys: Vec<CacheKey>, hits: Vec<Result<Hit, CacheError>>) -> Vec<GetResult> {
        let mut results = Vec::with_capacity(keys.len());
        let mut bytes = 0;
        for (key, hit) in keys.into_iter().zip(hits) {
            bytes += hit.as_ref().map_or(0, |hit| hit.value.raw().len());
            results.push(self.get_result(key, hit));
            if bytes > BYTES_PER_TURN {
                bytes = 0;
                tokio::task::yield_now().await;
            }
        }
        results
    }

    fn get_result(&self, key: CacheKey, hit: Result<Hit, CacheError>) -> GetResult {
        let failed = no_value(key.into_text(), 0);
        match self.metrics.count("get", hit, Hit::label) {
            Ok(Hit { value, ttl, .. }) => {
                let body = value.body();
                let json = if value.content_type().is_json() { json(&body) } else { None };
                GetResult {
                    status: 200,
                    content_type: Some(String::from_utf8_lossy(value.content_type().as_bytes()).into_owned()),
                    value_base64: if json.is_none() { Some(BASE64.encode(&body)) } else { None },
                    value: json,
                    etag: Some(value.etag().to_string()),
                    ttl_ms: ttl,
                    ..failed
                }
            }
            Err(error) => {
                let (status, error) = ItemError::of(error);
                GetResult { status, error: Some(error), ..failed }
            }
        }
    }

    fn delete_result(&self, key: CacheKey, answer: Result<bool, RedisFault>) -> DeleteResult {
        match self.metrics.count("delete", answer.map_err(CacheError::from), |_| "ok") {
            Ok(_) => DeleteResult { key: key.into_text(), status: 204, error: None },
            Err(error) => {
                let (status, error) = ItemError::of(error);
                DeleteResult { key: key.into_text(), status, error: Some(error) }
            }
        }
    }

    fn set_result(
        &self,
        key: CacheKey,
        etag: ETag,
        answer: Result<Change<StoredInfo>, RedisFault>,
        unlisted_by: Option<&RedisFault>,
    ) -> SetResult {
        let key = key.into_text();
        let stored = answer.map_err(CacheError::from).flatten().and_then(|stored| match (stored, unlisted_by) {
            (None, _) => Err(CacheError::Contended),
            (Some(_), Some(fault)) => Err(not_indexed(fault.clone())),
            (Some(stored), None) => Ok(stored),
        });
        match self.metrics.count("set", stored, |_| "ok") {
            Ok(StoredInfo { created, ttl }) => {
                let status = if created { 201 } else { 204 };
                SetResult { key, status, etag: Some(etag.to_string()), ttl_ms: ttl, error: None }
            }
            Err(error) => {
                let (status, error) = ItemError::of(error);
                SetResult { key, status, etag: None, ttl_ms: None, error: Some(error) }
            }
        }
    }
}

/// A batch whose valid items run.
pub(super) type SeparatedBatch = batch_item::SeparatedBatch<CacheKey, SetItem, CacheKey>;

/// The result of a read that found nothing.
fn no_value(key: String, status: u16) -> GetResult {
    GetResult {
        key,
        status,
        content_type: None,
        value: None,
        value_base64: None,
        etag: None,
        ttl_ms: None,
        error: None,
    }
}

/// The reads of a batch that stay within its limit.
struct Readable {
    /// One for each key.
    reads: Vec<bool>,
    /// The size of these values together; 0 if it was not checked.
    bytes: usize,
}

/// The replies to GET and PTTL.
struct RawValueReply {
    value: Result<Value, RedisFault>,
    ttl: Result<Value, RedisFault>,
}

fn raw_value(answers: &mut Answers) -> RawValueReply {
    RawValueReply { value: answers.value(), ttl: answers.value() }
}

/// The text of a body that is JSON for every parser: clients may store anything as JSON, and one value must not make the
/// whole response unreadable.
fn json(body: &[u8]) -> Option<Box<RawValue>> {
    if is_portable(body) { serde_json::from_slice(body).ok() } else { None }
}
