//! Many documents in one call, each with a result of its own; no transaction.

mod model;

use std::collections::HashMap;

use futures_util::future::join_all;
use serde_json::value::RawValue;

pub(super) use model::{BatchReply, BatchRequest, DeleteItem, GetItem, SetItem};
use model::{DeleteResult, GetResult, SetResult};

use super::change::Answer;
use super::error::JsonError;
use super::model::DocumentKey;
use super::path::Path;
use super::service::{JsonService, Selected};
use super::update::{Done, Request};
use crate::http::reply::ItemError;

/// A batch whose paths were read.
#[derive(Debug)]
pub(super) struct Batch {
    pub get: Vec<(DocumentKey, Vec<Path>)>,
    pub set: Vec<(DocumentKey, Request)>,
    pub delete: Vec<(DocumentKey, Request)>,
}

impl Batch {
    pub(super) fn keys(&self) -> impl Iterator<Item = &DocumentKey> {
        let changed = self.set.iter().chain(&self.delete).map(|(key, _)| key);
        self.get.iter().map(|(key, _)| key).chain(changed)
    }
}

impl JsonService {
    /// Answers the reads as things were before, then deletes, then stores.
    ///
    /// Changes of one document are made one after the other, those of different ones at the same time.
    pub(super) async fn run_batch(&self, batch: Batch, in_clear: bool) -> BatchReply {
        let get = join_all(batch.get.into_iter().map(|(key, paths)| async move {
            let selected = self.get(&key, &paths, in_clear).await;
            read(key, selected)
        }));
        let get = get.await;
        let delete = self.update_each(batch.delete).await.into_iter().map(|(key, done)| deleted(key, done)).collect();
        let set = self.update_each(batch.set).await.into_iter().map(|(key, done)| stored(key, done)).collect();
        BatchReply { get, set, delete }
    }

    /// Makes changes, in order where they are of one document; the results in the order of the changes.
    async fn update_each(&self, requests: Vec<(DocumentKey, Request)>) -> Vec<(DocumentKey, Result<Done, JsonError>)> {
        let mut of_one_document: HashMap<DocumentKey, Vec<(usize, Request)>> = HashMap::new();
        for (at, (key, request)) in requests.into_iter().enumerate() {
            of_one_document.entry(key).or_default().push((at, request));
        }
        let updates = of_one_document.into_iter().map(|(key, requests)| async move {
            let mut done = Vec::with_capacity(requests.len());
            for (at, request) in requests {
                done.push((at, key.clone(), self.update(&key, &request).await));
            }
            done
        });
        let mut done: Vec<_> = join_all(updates).await.into_iter().flatten().collect();
        done.sort_by_key(|(at, ..)| *at);
        done.into_iter().map(|(_, key, result)| (key, result)).collect()
    }
}

fn read(key: DocumentKey, selected: Result<Selected, JsonError>) -> GetResult {
    let found = selected.and_then(|Selected { body, source }| {
        let value: Box<RawValue> = serde_json::from_slice(&body).map_err(|_| JsonError::NotJson)?;
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

fn stored(key: DocumentKey, done: Result<Done, JsonError>) -> SetResult {
    match done {
        Ok(Done { answer, etag, ttl }) => {
            let status = if answer == (Answer::Stored { created: true }) { 201 } else { 204 };
            SetResult { key, status, etag: etag.map(|etag| etag.to_string()), ttl_ms: ttl, error: None }
        }
        Err(error) => {
            let (status, error) = ItemError::of(error);
            SetResult { key, status, etag: None, ttl_ms: None, error: Some(error) }
        }
    }
}

fn deleted(key: DocumentKey, done: Result<Done, JsonError>) -> DeleteResult {
    match done {
        Ok(Done { answer, .. }) => {
            let deleted = if let Answer::Count(count) = answer { Some(count) } else { None };
            DeleteResult { key, status: 200, deleted, error: None }
        }
        Err(error) => {
            let (status, error) = ItemError::of(error);
            DeleteResult { key, status, deleted: None, error: Some(error) }
        }
    }
}
