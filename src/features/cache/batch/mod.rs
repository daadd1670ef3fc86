//! Many values in one round trip, or two if tags are involved. Every item has its own result; a batch is no
//! transaction.

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
use super::keys::EntryKeys;
use super::metrics::Success;
use super::model::{CacheKey, Tag};
use super::scripts::{self, Expected};
use super::service::{CacheService, Hit, Lookup, command, effective_ttl};
use super::stored_value::{Generation, StoredValue};
use super::write::not_indexed;
use crate::http::problem::Location;
use crate::http::reply::ItemError;
use crate::redis::{Answers, Batch, Effect, FencingToken, RedisFault};

/// A value to store.
struct PendingPut {
    entry: EntryKeys,
    value: StoredValue,
    ttl: Option<u64>,
}

impl CacheService {
    /// Reads the state before the batch, then deletes, then stores.
    ///
    /// Of several writes of one key the last one counts. Each item succeeds or fails on its own, including at its own
    /// fence.
    ///
    /// # Errors
    /// [`CacheError::Invalid`] if a list or a value is too large, or a TTL too long; nothing was done.
    /// [`CacheError::Redis`] if the round trip as a whole failed; its outcome says whether items may have been applied.
    pub(super) async fn run_batch(
        &self,
        request: BatchRequest,
        token: Option<FencingToken>,
    ) -> Result<BatchReply, CacheError> {
        self.check_batch(&request)?;
        let BatchRequest { get, set, delete } = request;
        let generations = self.open_batch_tags(&set).await?;
        let (set_keys, pending): (Vec<CacheKey>, Vec<PendingPut>) =
            set.into_iter().map(|item| self.pending(item, &generations)).unzip();
        let mut batch = Batch::new();
        for key in &get {
            let entry = self.keys.entry(key);
            batch.command(command("GET", entry.value.as_str()), Effect::Read);
            batch.command(command("PTTL", entry.value.as_str()), Effect::Read);
        }
        for key in &delete {
            let entry = self.keys.entry(key);
            let fence = self.fence(&entry, token);
            batch.call(&scripts::Delete { entry: &entry, expected: &Expected::Anything, fence: fence.as_ref() });
        }
        for PendingPut { entry, value, ttl } in &pending {
            let fence = self.fence(entry, token);
            batch.call(&scripts::Put {
                entry,
                bytes: value.raw(),
                ttl: *ttl,
                keep_ttl: false,
                expected: &Expected::Anything,
                lease: "",
                fence: fence.as_ref(),
            });
        }
        if !set_keys.is_empty() {
            batch.last(self.index_entries(&set_keys));
        }
        let mut answers = self.redis.run(batch).await?;
        let read: Vec<_> = get.iter().map(|_| read_answer(&mut answers)).collect();
        let deleted: Vec<_> = delete.iter().map(|_| answers.call::<scripts::Delete>()).collect();
        let stored: Vec<_> = pending.iter().map(|_| answers.call::<scripts::Put>()).collect();
        let listed = answers.last();
        let checked = join_all(get.iter().zip(read).map(|(key, answer)| self.checked(key, answer))).await;
        Ok(BatchReply {
            get: get.into_iter().zip(checked).map(|(key, hit)| self.get_result(key, hit)).collect(),
            delete: delete.into_iter().zip(deleted).map(|(key, answer)| self.delete_result(key, answer)).collect(),
            set: set_keys
                .into_iter()
                .zip(pending)
                .zip(stored)
                .map(|((key, sent), answer)| self.set_result(key, &sent, answer, listed.as_ref().err()))
                .collect(),
        })
    }

    fn check_batch(&self, request: &BatchRequest) -> Result<(), CacheError> {
        let invalid = |pointer: String, rule| Err(CacheError::Invalid { location: Location::Body, pointer, rule });
        let BatchRequest { get, set, delete } = request;
        let limit = self.config.batch_limit;
        for (list, items) in [("/get", get.len()), ("/set", set.len()), ("/delete", delete.len())] {
            if items > limit {
                return invalid(list.to_owned(), format!("must have at most {limit} items, got {items}"));
            }
        }
        let limit = self.value_limit();
        for (at, item) in set.iter().enumerate() {
            if item.body.len() > limit {
                let rule = format!("must have at most {limit} bytes, got {}", item.body.len());
                return invalid(format!("/set/{at}"), rule);
            }
            if let Some(ttl) = item.ttl {
                self.check_ttl(ttl, Location::Body, &format!("/set/{at}/ttl_ms"))?;
            }
        }
        Ok(())
    }

    /// Every tag of the batch once, with the longest TTL of its values.
    async fn open_batch_tags(&self, set: &[SetItem]) -> Result<BTreeMap<Tag, Generation>, RedisFault> {
        let mut lives: BTreeMap<&Tag, u64> = BTreeMap::new();
        for item in set {
            let ttl = self.tag_ttl(effective_ttl(&self.keys.entry(&item.key), item.ttl));
            for tag in item.tags.iter() {
                let longest = lives.entry(tag).or_default();
                *longest = ttl.max(*longest);
            }
        }
        Ok(self.open(lives).await?.into_iter().collect())
    }

    fn pending(&self, item: SetItem, generations: &BTreeMap<Tag, Generation>) -> (CacheKey, PendingPut) {
        let entry = self.keys.entry(&item.key);
        let tags: Vec<(Tag, Generation)> =
            item.tags.iter().filter_map(|tag| Some((tag.clone(), *generations.get(tag)?))).collect();
        let value = StoredValue::encode(item.content_type, Bytes::from(item.body), &tags);
        let ttl = effective_ttl(&entry, item.ttl);
        (item.key, PendingPut { entry, value, ttl })
    }

    /// The value in a reply, if its tags are current.
    async fn checked(
        &self,
        key: &CacheKey,
        answer: Result<Option<(Bytes, Option<u64>)>, RedisFault>,
    ) -> Result<Hit, CacheError> {
        let Some((raw, ttl)) = answer? else { return Err(CacheError::Miss) };
        match self.validated(raw, ttl, None).await? {
            Lookup::Valid(hit) => Ok(hit),
            Lookup::Absent => Err(CacheError::Miss),
            Lookup::Invalid { digest } => {
                self.drop_quietly(&self.keys.entry(key), &digest).await;
                Err(CacheError::Miss)
            }
        }
    }

    fn get_result(&self, key: CacheKey, hit: Result<Hit, CacheError>) -> GetResult {
        match self.metrics.get.count(hit, |_| Success::Hit) {
            Ok(Hit { value, ttl, .. }) => {
                let body = value.body();
                let json = if value.content_type().is_json() { json(&body) } else { None };
                GetResult {
                    key,
                    status: 200,
                    content_type: Some(String::from_utf8_lossy(value.content_type().as_bytes()).into_owned()),
                    value_base64: if json.is_none() { Some(BASE64.encode(&body)) } else { None },
                    value: json,
                    etag: Some(value.etag().to_string()),
                    ttl_ms: ttl,
                    error: None,
                }
            }
            Err(error) => {
                let (status, error) = ItemError::of(error);
                let (content_type, value, value_base64, etag, ttl_ms) = (None, None, None, None, None);
                GetResult { key, status, content_type, value, value_base64, etag, ttl_ms, error: Some(error) }
            }
        }
    }

    fn delete_result(&self, key: CacheKey, answer: Result<scripts::DeleteReply, RedisFault>) -> DeleteResult {
        let answer = answer.map_err(CacheError::from);
        match self.metrics.delete.count(answer, |_| Success::Ok) {
            Ok(_) => DeleteResult { key, status: 204, error: None },
            Err(error) => {
                let (status, error) = ItemError::of(error);
                DeleteResult { key, status, error: Some(error) }
            }
        }
    }

    fn set_result(
        &self,
        key: CacheKey,
        sent: &PendingPut,
        answer: Result<scripts::PutReply, RedisFault>,
        unlisted_by: Option<&RedisFault>,
    ) -> SetResult {
        let stored = match (answer, unlisted_by) {
            (Err(fault), _) => Err(CacheError::from(fault)),
            (Ok(scripts::PutReply::Stored { .. }), Some(fault)) => Err(not_indexed(fault.clone())),
            (Ok(scripts::PutReply::Stored { created, ttl }), None) => Ok((created, ttl)),
            (Ok(scripts::PutReply::LeaseLost), _) => Err(CacheError::LeaseLost),
            (Ok(scripts::PutReply::Changed), _) => Err(CacheError::Contended),
        };
        match self.metrics.set.count(stored, |_| Success::Ok) {
            Ok((created, ttl_ms)) => {
                let etag = Some(sent.value.etag().to_string());
                SetResult { key, status: if created { 201 } else { 204 }, etag, ttl_ms, error: None }
            }
            Err(error) => {
                let (status, error) = ItemError::of(error);
                SetResult { key, status, etag: None, ttl_ms: None, error: Some(error) }
            }
        }
    }
}

/// The replies to one GET and its PTTL.
fn read_answer(answers: &mut Answers) -> Result<Option<(Bytes, Option<u64>)>, RedisFault> {
    let (value, ttl) = (answers.value(), answers.value());
    let Value::BulkString(raw) = value? else { return Ok(None) };
    let ttl = match ttl? {
        Value::Int(ttl) => u64::try_from(ttl).ok(),
        _ => None,
    };
    Ok(Some((Bytes::from(raw), ttl)))
}

/// The text of a body that really is JSON: other programs may store anything under the platform's names.
fn json(body: &[u8]) -> Option<Box<RawValue>> {
    serde_json::from_slice(body).ok()
}
