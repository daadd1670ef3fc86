//! Reads, deletes and stores many documents in one call. Each item has its own result; a batch is not a transaction.

mod model;

use std::collections::HashMap;

use bytes::Bytes;
use futures_util::future::join_all;
use serde_json::value::RawValue;

pub(super) use model::{BatchReply, BatchRequest};
use model::{DeleteResult, GetItem, GetResult, SetResult};

use super::change::{Action, ChangeReply, SetCondition};
use super::error::JsonError;
use super::model::DocumentKey;
use super::service::JsonService;
use super::stored::StoredDocument;
use super::update::{Update, Updated, WriteOptions};
use crate::http::reply::ItemError;
use crate::redis::FencingToken;

impl JsonService {
    /// Reads the documents as they are before the batch, then deletes, then stores.
    ///
    /// Changes of one document run one after the other, changes of different documents at the same time.
    pub(super) async fn run_batch(
        &self,
        batch: BatchRequest,
        token: Option<FencingToken>,
        can_decrypt: bool,
    ) -> BatchReply {
        let options = || WriteOptions { token, can_decrypt, ..WriteOptions::default() };
        let get = join_all(batch.get.into_iter().map(|GetItem { key, paths }| async move {
            let selection = self.read(&key, &paths, can_decrypt).await;
            read(key, selection)
        }));
        let get = get.await;
        let deletions = batch
            .delete
            .into_iter()
            .map(|item| (item.key, options().update(item.path.unwrap_or_default(), Action::Delete)));
        let delete = self.update_each(deletions).await.into_iter().map(|(key, result)| deleted(key, result)).collect();
        let writes = batch.set.into_iter().map(|item| {
            let set = Action::Set(item.value, SetCondition::Always);
            (item.key, Update { ttl: item.ttl_ms, ..options().update(item.path.unwrap_or_default(), set) })
        });
        let set = self.update_each(writes).await.into_iter().map(|(key, result)| stored(key, result)).collect();
        BatchReply { get, set, delete }
    }

    /// Makes the changes and returns the results in the order of the changes.
    async fn update_each(
        &self,
        updates: impl Iterator<Item = (DocumentKey, Update)>,
    ) -> Vec<(DocumentKey, Result<Updated, JsonError>)> {
        let mut by_document: HashMap<DocumentKey, Vec<(usize, Update)>> = HashMap::new();
        for (at, (key, update)) in updates.enumerate() {
            by_document.entry(key).or_default().push((at, update));
        }
        let updates = by_document.into_iter().map(|(key, updates)| async move {
            let mut results = Vec::with_capacity(updates.len());
            for (at, update) in updates {
                results.push((at, key.clone(), self.update(&key, &update).await));
            }
            results
        });
        let mut results: Vec<_> = join_all(updates).await.into_iter().flatten().collect();
        results.sort_by_key(|(at, ..)| *at);
        results.into_iter().map(|(_, key, result)| (key, result)).collect()
    }
}

fn read(key: DocumentKey, selection: Result<(Bytes, StoredDocument), JsonError>) -> GetResult {
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
