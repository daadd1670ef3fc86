//! Reads, deletes and stores many documents in one call. Each item has its own result; a batch is not a transaction.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::can_decrypt::CanDecrypt;
use super::change::{Action, ChangeReply, SetCondition};
use super::document::Node;
use super::error::JsonError;
use super::model::{DocumentKey, Millis};
use super::path::Path;
use super::service::JsonService;
use super::stored::StoredDocument;
use super::update::{Update, Updated, WriteOptions};
use super::work::{INLINE_BYTES, WorkBudget};
use crate::http::batch_item::{self, BatchItem, ItemResult, merge};
use crate::http::reply::ItemError;
use crate::redis::FencingToken;

/// The documents of a batch that are in memory at the same time, for reads, and the documents that change at the same
/// time.
const AT_ONCE: usize = 8;

/// Reads, deletions and writes of many documents, which run in this order.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = JsonBatch,
    example = json!({"get": [{"key": "profile:7", "paths": ["$.name"]}],
                     "set": [{"key": "profile:8", "value": {"name": "Ada"}, "ttl_ms": 60_000}],
                     "delete": [{"key": "profile:9"}]}))]
pub(super) struct BatchRequest {
    /// Reads of the documents as they are before the batch.
    #[serde(default)]
    #[schema(max_items = 100, value_type = Vec<GetItem>)]
    pub get: Vec<BatchItem<GetItem>>,
    /// Writes, which run in order after the deletions.
    #[serde(default)]
    #[schema(max_items = 100, value_type = Vec<SetItem>)]
    pub set: Vec<BatchItem<SetItem>>,
    #[serde(default)]
    #[schema(max_items = 100, value_type = Vec<DeleteItem>)]
    pub delete: Vec<BatchItem<DeleteItem>>,
}

/// A read, as in a single GET.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = JsonGetItem)]
pub(super) struct GetItem {
    pub key: DocumentKey,
    #[serde(default)]
    #[schema(value_type = Vec<String>, max_items = 16)]
    pub paths: Vec<Path>,
}

/// A write, as in a single PUT.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = JsonSetItem)]
pub(super) struct SetItem {
    pub key: DocumentKey,
    /// A JSON path; without it, the whole document.
    #[schema(value_type = Option<String>, max_length = 1_024)]
    pub path: Option<Path>,
    /// Any JSON value; its numbers keep their digits.
    #[schema(value_type = serde_json::Value)]
    pub value: Node,
    /// The document's new TTL, milliseconds; without it, the document keeps its TTL.
    pub ttl_ms: Option<Millis>,
}

/// A deletion, as in a single DELETE.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = JsonDeleteItem)]
pub(super) struct DeleteItem {
    pub key: DocumentKey,
    /// A JSON path; without it, the whole document.
    #[schema(value_type = Option<String>, max_length = 1_024)]
    pub path: Option<Path>,
}

/// A batch whose valid items run.
pub(super) type SeparatedBatch = batch_item::SeparatedBatch<GetItem, SetItem, DeleteItem>;

/// One result per item, in the order of the items.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = JsonBatchReply)]
pub(super) struct BatchReply {
    pub get: Vec<GetResult>,
    pub set: Vec<SetResult>,
    pub delete: Vec<DeleteResult>,
}

/// The result of a read.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = JsonGetResult)]
pub(super) struct GetResult {
    /// As the item names it.
    pub key: String,
    /// 200, or the status of `error`.
    pub status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>)]
    pub value: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    /// Milliseconds until the document expires; absent if it does not expire.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ItemError>,
}

/// The result of a write.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = JsonSetResult)]
pub(super) struct SetResult {
    /// As the item names it.
    pub key: String,
    /// 201, 204, or the status of `error`.
    pub status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    /// Milliseconds until the document expires; absent if it does not expire.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ItemError>,
}

/// The result of a deletion.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = JsonDeleteResult)]
pub(super) struct DeleteResult {
    /// As the item names it.
    pub key: String,
    /// 200, or the status of `error`.
    pub status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deleted: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ItemError>,
}

impl JsonService {
    /// Reads the documents as they are before the batch, then deletes, then stores.
    ///
    /// Changes of one document run one after the other, changes of several documents at the same time. All items share
    /// the visits of one request, and all reads the bytes of one result.
    ///
    /// # Errors
    /// [`JsonError::Overloaded`] if too many batches are reading documents; nothing was done.
    pub(super) async fn run_batch(
        self: &Arc<Self>,
        batch: SeparatedBatch,
        token: Option<FencingToken>,
        can_decrypt: CanDecrypt,
    ) -> Result<BatchReply, JsonError> {
        let work = self.read_budget();
        let options =
            || WriteOptions { token, can_decrypt: can_decrypt.clone(), work: work.clone(), ..WriteOptions::default() };
        let SeparatedBatch { get: reads, set: writes, delete: deletions } = batch;
        let mut get = Vec::new();
        if !reads.valid.is_empty() {
            get = self.read_each(reads.valid, &can_decrypt, &work).await?;
        }
        let changes = deletions
            .valid
            .into_iter()
            .map(|item| (item.key, options().update(item.path.unwrap_or_default(), Action::Delete)));
        let mut delete: Vec<_> =
            self.update_each(changes).await.into_iter().map(|(key, result)| deleted(key, result)).collect();
        let changes = writes.valid.into_iter().map(|item| {
            let set = Action::Set(item.value, SetCondition::Always);
            (item.key, Update { ttl: item.ttl_ms, ..options().update(item.path.unwrap_or_default(), set) })
        });
        let mut set: Vec<_> =
            self.update_each(changes).await.into_iter().map(|(key, result)| stored(key, result)).collect();
        merge(&mut get, reads.invalid, |ItemResult { key, status, error }| GetResult {
            key,
            status,
            value: None,
            etag: None,
            ttl_ms: None,
            error: Some(error),
        });
        merge(&mut set, writes.invalid, |ItemResult { key, status, error }| SetResult {
            key,
            status,
            etag: None,
            ttl_ms: None,
            error: Some(error),
        });
        merge(&mut delete, deletions.invalid, |ItemResult { key, status, error }| DeleteResult {
            key,
            status,
            deleted: None,
            error: Some(error),
        });
        Ok(BatchReply { get, set, delete })
    }

    async fn read_each(
        self: &Arc<Self>,
        items: Vec<GetItem>,
        can_decrypt: &CanDecrypt,
        work: &WorkBudget,
    ) -> Result<Vec<GetResult>, JsonError> {
        let _permit = self.offload.enter_batch().await?;
        let mut results = Vec::with_capacity(items.len());
        let mut items = items.into_iter();
        loop {
            let group: Vec<GetItem> = items.by_ref().take(AT_ONCE).collect();
            if group.is_empty() {
                return Ok(results);
            }
            let sources = join_all(group.iter().map(|item| self.fetch(&item.key))).await;
            for (GetItem { key, paths }, source) in group.into_iter().zip(sources) {
                let selection = async {
                    let source = source?.ok_or(JsonError::NoDocument)?;
                    Ok((self.selected(&key, &source, paths, can_decrypt.of(&key), work).await?, source))
                };
                let selection = self.metrics.count("read", selection.await);
                let is_long = selection.as_ref().is_ok_and(|(json, _)| json.len() > INLINE_BYTES);
                results.push(read(key, selection));
                if is_long {
                    tokio::task::yield_now().await;
                }
            }
        }
    }

    /// Makes the changes and returns the results in the order of the changes.
    async fn update_each(
        self: &Arc<Self>,
        updates: impl Iterator<Item = (DocumentKey, Update)>,
    ) -> Vec<(DocumentKey, Result<Updated, JsonError>)> {
        let mut by_document: HashMap<DocumentKey, Vec<(usize, Update)>> = HashMap::new();
        for (at, (key, update)) in updates.enumerate() {
            by_document.entry(key).or_default().push((at, update));
        }
        let mut updates = by_document.into_iter().map(|(key, updates)| async move {
            let mut results = Vec::with_capacity(updates.len());
            for (at, update) in updates {
                results.push((at, key.clone(), self.update(&key, update).await));
            }
            results
        });
        let mut results = Vec::new();
        loop {
            let group = join_all(updates.by_ref().take(AT_ONCE)).await;
            if group.is_empty() {
                break;
            }
            results.extend(group.into_iter().flatten());
        }
        results.sort_by_key(|(at, ..)| *at);
        results.into_iter().map(|(_, key, result)| (key, result)).collect()
    }
}

fn read(key: DocumentKey, selection: Result<(Bytes, StoredDocument), JsonError>) -> GetResult {
    let key = key.into_text();
    let found = selection.and_then(|(json, source)| {
        let value: Box<RawValue> = serde_json::from_slice(&json).map_err(|_| JsonError::NotJson)?;
        Ok((value, source))
    });
    match found {
        Ok((value, source)) => GetResult {
            key,
            status: 200,
            value: Some(value),
            etag: Some(source.etag().to_string()),
            ttl_ms: source.ttl,
            error: None,
        },
        Err(error) => {
            let (status, error) = ItemError::of(error);
            GetResult { key, status, value: None, etag: None, ttl_ms: None, error: Some(error) }
        }
    }
}

fn stored(key: DocumentKey, result: Result<Updated, JsonError>) -> SetResult {
    let key = key.into_text();
    match result {
        Ok(Updated { reply, etag, ttl }) => {
            let status = if reply == (ChangeReply::Stored { created: true }) { 201 } else { 204 };
            SetResult { key, status, etag: etag.map(|etag| etag.to_string()), ttl_ms: ttl, error: None }
        }
        Err(error) => {
            let (status, error) = ItemError::of(error);
            SetResult { key, status, etag: None, ttl_ms: None, error: Some(error) }
        }
    }
}

fn deleted(key: DocumentKey, result: Result<Updated, JsonError>) -> DeleteResult {
    let key = key.into_text();
    match result {
        Ok(Updated { reply, .. }) => {
            let deleted = if let ChangeReply::Count(count) = reply { Some(count) } else { None };
            DeleteResult { key, status: 200, deleted, error: None }
        }
        Err(error) => {
            let (status, error) = ItemError::of(error);
            DeleteResult { key, status, deleted: None, error: Some(error) }
        }
    }
}
