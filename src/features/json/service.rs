//! The service: its shared state, and the operations that read a document or change its TTL.

use std::time::Duration;

use bytes::Bytes;
use serde_json::value::RawValue;

use super::backend::{self, DOCUMENTS};
use super::change::{SizeLimit, empty_log, log_page};
use super::config::JsonConfig;
use super::document::{Node, write_separated, write_string};
use super::encryption::FieldEncryption;
use super::error::JsonError;
use super::keys::{JsonKeys, KeySet};
use super::metrics::JsonMetrics;
use super::model::{DocumentKey, Millis};
use super::path::Path;
use super::schema::Schemas;
use super::scripts;
use super::stored::StoredDocument;
use super::writer_queue::WriterQueues;
use crate::clock::Clock;
use crate::config::FieldError;
use crate::config::http::HttpConfig;
use crate::deps::Deps;
use crate::redis::{BackendRecord, Fence, FencingToken, Redis, RedisFault};

#[derive(Debug)]
pub(super) struct JsonService {
    pub redis: Redis,
    pub backend_record: BackendRecord,
    pub keys: JsonKeys,
    pub config: JsonConfig,
    pub size_limit: SizeLimit,
    pub schemas: Schemas,
    pub encryption: FieldEncryption,
    pub writers: WriterQueues,
    pub metrics: JsonMetrics,
    pub clock: Clock,
    /// How long a change is retried: the time of a request, minus the time that Redis may take for the last write.
    pub retry_time: Duration,
}

impl JsonService {
    pub(super) fn new(deps: &Deps, config: JsonConfig, http: &HttpConfig) -> Result<Self, FieldError> {
        let redis = deps.redis.state.clone();
        let deadline = http.request_deadline.duration();
        let keys = JsonKeys::new(redis.keys(), &config);
        let service = Self {
            backend_record: BackendRecord::new(redis.clone(), &DOCUMENTS, keys.backend.clone(), config.backend),
            keys,
            size_limit: SizeLimit(config.document_limit.as_usize()),
            schemas: Schemas::new(&config)?,
            encryption: FieldEncryption::new(&config)?,
            writers: WriterQueues::default(),
            metrics: JsonMetrics::new(&deps.metrics),
            retry_time: deadline.saturating_sub(redis.command_timeout()).max(deadline / 2),
            clock: deps.clock.clone(),
            redis,
            config,
        };
        service.backend_record.plan(&deps.tasks, &deps.component_health);
        Ok(service)
    }

    /// # Errors
    /// The rule that the TTL breaks.
    pub(super) fn check_ttl(&self, ttl: Option<Millis>) -> Result<(), String> {
        let max = self.config.max_ttl.as_millis();
        match ttl.map(Millis::get) {
            Some(ms) if ms > max => Err(format!("must be at most {max} ms, got {ms}")),
            _ => Ok(()),
        }
    }

    /// Reads a document, or the values that `paths` select, as JSON text in one round trip.
    ///
    /// Without a path, the result is the stored text. One `$` path gives the list of its values, and one legacy path
    /// the first value. Several paths give an object from path to value; if one is a `$` path, all values are lists.
    /// Encrypted values are decrypted first if the reader `can_decrypt`.
    ///
    /// # Errors
    /// [`JsonError::NoDocument`], [`JsonError::PathMissing`] for a legacy path without a value,
    /// [`JsonError::TooComplex`], [`JsonError::NotJson`], [`JsonError::Redis`].
    pub(super) async fn read(
        &self,
        key: &DocumentKey,
        paths: &[Path],
        can_decrypt: bool,
    ) -> Result<(Bytes, StoredDocument), JsonError> {
        let read = async {
            let source = self.fetch(key).await?.ok_or(JsonError::NoDocument)?;
            let json = if paths.is_empty() && !self.encryption.encrypts(key) {
                // Checks that the text is JSON, without building the document.
                let _: &RawValue = serde_json::from_slice(&source.text).map_err(|_| JsonError::NotJson)?;
                source.text.clone()
            } else {
                let only_path = if let [path] = paths { Some(path) } else { None };
                Bytes::from(select(&self.parse(key, &source, only_path, can_decrypt)?, paths)?)
            };
            Ok((json, source))
        };
        self.metrics.count("read", read.await)
    }

    /// Lists at most `limit` entries of an activity log as `{"items", "next_cursor"}`, newest first. A log that does not
    /// exist is empty.
    ///
    /// # Errors
    /// [`JsonError::WrongType`] if the document is not an activity log, and every error of [`JsonService::read`].
    pub(super) async fn list_activity(
        &self,
        key: &DocumentKey,
        cursor: Option<u64>,
        limit: usize,
        can_decrypt: bool,
    ) -> Result<(Node, Option<StoredDocument>), JsonError> {
        let read = async {
            match self.fetch(key).await? {
                Some(source) => Ok((self.parse(key, &source, None, can_decrypt)?, Some(source))),
                None => Ok((empty_log(), None)),
            }
        };
        let (log, source) = self.metrics.count("read", read.await)?;
        let (entries, next) = log_page(&log, cursor, limit)?;
        let next = next.map_or(Node::Null, |number| Node::String(number.to_string().into()));
        Ok((Node::Object(vec![("items".into(), Node::Array(entries)), ("next_cursor".into(), next)]), source))
    }

    /// Reads a property of the selected values: one result per value, null if the value does not have it. Values of the
    /// type `expected` have the property.
    ///
    /// # Errors
    /// Every error of [`JsonService::read`]; [`JsonError::WrongType`] if the value of a legacy path does not have the
    /// property.
    pub(super) async fn inspect(
        &self,
        key: &DocumentKey,
        path: &Path,
        expected: &'static str,
        property: impl Fn(&Node) -> Option<Node>,
        can_decrypt: bool,
    ) -> Result<(Vec<Node>, StoredDocument), JsonError> {
        let read = async {
            let source = self.fetch(key).await?.ok_or(JsonError::NoDocument)?;
            let document = self.parse(key, &source, Some(path), can_decrypt)?;
            let values = path.select(&document)?;
            if !path.is_legacy() {
                let results = values.into_iter().map(|value| property(value).unwrap_or(Node::Null)).collect();
                return Ok((results, source));
            }
            let first = *values.first().ok_or_else(|| path_missing(path))?;
            let result = property(first).ok_or_else(|| JsonError::WrongType {
                path: path.as_str().to_owned(),
                expected,
                found: first.type_name(),
            })?;
            Ok((vec![result], source))
        };
        self.metrics.count("read", read.await)
    }

    /// Changes a document's TTL; `None` removes it.
    pub(super) async fn touch(
        &self,
        key: &DocumentKey,
        ttl: Option<Millis>,
        token: Option<FencingToken>,
    ) -> Result<(), JsonError> {
        let touch = async {
            let keys = self.keys.of(key);
            let fence = self.fence(&keys, token);
            let backend = self.backend_record.backend().await?;
            let call = scripts::touch(backend, &keys, ttl.map(Millis::get), fence.as_ref());
            if self.redis.call(call).await? { Ok(()) } else { Err(JsonError::NoDocument) }
        };
        self.metrics.count("write", touch.await)
    }

    async fn fetch(&self, key: &DocumentKey) -> Result<Option<StoredDocument>, RedisFault> {
        let backend = self.backend_record.backend().await?;
        Ok(backend::read(backend, &self.redis, &self.keys.of(key), None).await?.document)
    }

    /// The document as its reader may see it. A document without encrypted values is parsed only as far as `path`
    /// needs.
    fn parse(
        &self,
        key: &DocumentKey,
        source: &StoredDocument,
        path: Option<&Path>,
        can_decrypt: bool,
    ) -> Result<Node, JsonError> {
        let mut document = source.parse(path.filter(|_| !self.encryption.encrypts(key)))?;
        self.encryption.present(key, &mut document, can_decrypt)?;
        Ok(document)
    }

    /// Forgets the tokens that a document has seen; `by` is the client's name.
    pub(super) async fn reset_fence(&self, key: &DocumentKey, by: &str) -> Result<(), RedisFault> {
        self.redis.reset_fence(&self.keys.of(key).fence(), by).await
    }

    /// The fence that a caller's token must pass to change a document.
    pub(super) fn fence(&self, keys: &KeySet, token: Option<FencingToken>) -> Option<Fence> {
        token.map(|token| self.redis.fence(keys.fence(), token))
    }
}

/// The text of the values that `paths` select, in the form that [`JsonService::read`] describes.
fn select(document: &Node, paths: &[Path]) -> Result<Vec<u8>, JsonError> {
    let mut out = Vec::with_capacity(256);
    match paths {
        [] => return Ok(document.to_bytes()),
        [path] => {
            write_selected(document, path, !path.is_legacy(), &mut out)?;
            return Ok(out);
        }
        _ => {}
    }
    let as_lists = paths.iter().any(|path| !path.is_legacy());
    let mut written: Vec<&str> = Vec::with_capacity(paths.len());
    for path in paths {
        if written.contains(&path.as_str()) {
            continue;
        }
        out.push(if written.is_empty() { b'{' } else { b',' });
        write_string(path.as_str(), &mut out);
        out.push(b':');
        write_selected(document, path, as_lists, &mut out)?;
        written.push(path.as_str());
    }
    out.push(b'}');
    Ok(out)
}

fn write_selected(document: &Node, path: &Path, as_list: bool, out: &mut Vec<u8>) -> Result<(), JsonError> {
    let values = path.select(document)?;
    if !as_list {
        values.first().ok_or_else(|| path_missing(path))?.write(out);
        return Ok(());
    }
    write_separated([b'[', b']'], values, out, Node::write);
    Ok(())
}

fn path_missing(path: &Path) -> JsonError {
    JsonError::PathMissing { path: path.as_str().to_owned() }
}
