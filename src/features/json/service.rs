//! The service: its shared state, and the operations that read a document or change its TTL.

use std::borrow::Borrow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::backend::{self, DOCUMENTS};
use super::change::{SizeLimit, empty_log, log_page};
use super::config::JsonConfig;
use super::document::{Node, text_length, write_string};
use super::encryption::FieldEncryption;
use super::error::JsonError;
use super::keys::{JsonKeys, KeySet};
use super::metrics::JsonMetrics;
use super::model::{DocumentKey, Millis};
use super::path::Path;
use super::schema::Schemas;
use super::scripts;
use super::stored::StoredDocument;
use super::work::{DocumentWork, INLINE_BYTES, WorkBudget};
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
    pub offload: DocumentWork,
    pub metrics: JsonMetrics,
    pub clock: Clock,
    /// How long a change is retried.
    pub retry_time: Duration,
}

impl JsonService {
    pub(super) fn new(deps: &Deps, config: JsonConfig, http: &HttpConfig) -> Result<Self, FieldError> {
        let redis = deps.redis.state.clone();
        let deadline = http.request_deadline.duration();
        let keys = JsonKeys::new(redis.keys(), &config);
        // The time of a request, minus the time that Redis may take for the last write.
        let retry_time = deadline.saturating_sub(redis.command_timeout()).max(deadline / 2);
        let service = Self {
            backend_record: BackendRecord::new(redis.clone(), &DOCUMENTS, keys.backend.clone(), config.backend),
            keys,
            size_limit: SizeLimit(config.document_limit.as_usize()),
            schemas: Schemas::new(&config)?,
            encryption: FieldEncryption::new(&config)?,
            writers: WriterQueues::default(),
            metrics: JsonMetrics::new(&deps.metrics),
            offload: DocumentWork::new(deps.offload.clone(), retry_time),
            retry_time,
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
    /// [`JsonError::TooComplex`], [`JsonError::ResultTooLarge`], [`JsonError::NotJson`], [`JsonError::Overloaded`],
    /// [`JsonError::Redis`].
    pub(super) async fn read(
        self: &Arc<Self>,
        key: &DocumentKey,
        paths: Vec<Path>,
        can_decrypt: bool,
    ) -> Result<(Bytes, StoredDocument), JsonError> {
        let read = async {
            let source = self.fetch(key).await?.ok_or(JsonError::NoDocument)?;
            let json = self.selected(key, &source, paths, can_decrypt, &self.read_budget()).await?;
            Ok((json, source))
        };
        self.metrics.count("read", read.await)
    }

    /// The budget of a request that reads. Its results may have the size of eight documents.
    pub(super) fn read_budget(&self) -> WorkBudget {
        WorkBudget::of_read(self.size_limit.0.saturating_mul(8))
    }

    /// The text of a document, or of the values that `paths` select in it, in the form that [`JsonService::read`]
    /// describes.
    pub(super) async fn selected(
        self: &Arc<Self>,
        key: &DocumentKey,
        source: &StoredDocument,
        paths: Vec<Path>,
        can_decrypt: bool,
        work: &WorkBudget,
    ) -> Result<Bytes, JsonError> {
        if paths.is_empty() && !self.encryption.encrypts(key) {
            work.spend_bytes(source.text.len())?;
            source.check()?;
            return Ok(source.text.clone());
        }
        self.compute(key, source, work, move |service, key, source, work| {
            let only_path = if let [path] = paths.as_slice() { Some(path) } else { None };
            let document = service.parse(key, source, only_path, can_decrypt)?;
            select(&document, &paths, work).map(Bytes::from)
        })
        .await
    }

    /// Calculates a result from a stored document: on this thread if that takes little time, or else on another one.
    async fn compute<T: Send + 'static>(
        self: &Arc<Self>,
        key: &DocumentKey,
        source: &StoredDocument,
        work: &WorkBudget,
        calculate: impl Fn(&Self, &DocumentKey, &StoredDocument, &WorkBudget) -> Result<T, JsonError> + Send + 'static,
    ) -> Result<T, JsonError> {
        if source.text.len() <= INLINE_BYTES {
            let part = work.inline_part();
            match calculate(self, key, source, &part) {
                Err(JsonError::TooComplex(_) | JsonError::ResultTooLarge(_)) => {}
                result => {
                    work.absorb(&part);
                    return result;
                }
            }
        }
        let (service, key, source, work) = (Arc::clone(self), key.clone(), source.clone(), work.clone());
        self.offload.run(move || calculate(&service, &key, &source, &work)).await?
    }

    /// Lists at most `limit` entries of an activity log as `{"items", "next_cursor"}`, newest first. A log that does not
    /// exist is empty.
    ///
    /// # Errors
    /// [`JsonError::WrongType`] if the document is not an activity log, and every error of [`JsonService::read`].
    pub(super) async fn list_activity(
        self: &Arc<Self>,
        key: &DocumentKey,
        cursor: Option<u64>,
        limit: usize,
        can_decrypt: bool,
    ) -> Result<(Node, Option<StoredDocument>), JsonError> {
        let read = async {
            let Some(source) = self.fetch(key).await? else {
                return Ok((log_page(&empty_log(), cursor, limit)?, None));
            };
            let work = self.read_budget();
            let page = self.compute(key, &source, &work, move |service, key, source, _| {
                log_page(&service.parse(key, source, None, can_decrypt)?, cursor, limit)
            });
            Ok((page.await?, Some(source)))
        };
        let ((entries, next), source) = self.metrics.count("read", read.await)?;
        let next = next.map_or(Node::Null, |number| Node::String(number.to_string().into()));
        Ok((Node::Object(vec![("items".into(), Node::Array(entries)), ("next_cursor".into(), next)]), source))
    }

    /// Reads a property of the selected values: a JSON list of one result per value, null if the value does not have it.
    /// Values of the type `expected` have the property.
    ///
    /// # Errors
    /// Every error of [`JsonService::read`]; [`JsonError::WrongType`] if the value of a legacy path does not have the
    /// property.
    pub(super) async fn inspect(
        self: &Arc<Self>,
        key: &DocumentKey,
        path: Path,
        expected: &'static str,
        property: impl Fn(&Node) -> Option<Node> + Send + 'static,
        can_decrypt: bool,
    ) -> Result<(Vec<u8>, StoredDocument), JsonError> {
        let read = async {
            let source = self.fetch(key).await?.ok_or(JsonError::NoDocument)?;
            let work = self.read_budget();
            let results = self.compute(key, &source, &work, move |service, key, source, work| {
                let document = service.parse(key, source, Some(&path), can_decrypt)?;
                let values = path.select(&document, work)?;
                let mut list = Vec::new();
                if !path.is_legacy() {
                    // Written one by one: the member names of one object can be selected many times.
                    let results = values.into_iter().map(|value| property(value).unwrap_or(Node::Null));
                    write_list(results, &mut list, work)?;
                    return Ok(list);
                }
                let first = *values.first().ok_or_else(|| path_missing(&path))?;
                let result = property(first).ok_or_else(|| JsonError::WrongType {
                    path: path.as_str().to_owned(),
                    expected,
                    found: first.type_name(),
                })?;
                write_list([result], &mut list, work)?;
                Ok(list)
            });
            Ok((results.await?, source))
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

    pub(super) async fn fetch(&self, key: &DocumentKey) -> Result<Option<StoredDocument>, RedisFault> {
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
fn select(document: &Node, paths: &[Path], work: &WorkBudget) -> Result<Vec<u8>, JsonError> {
    let mut out = Vec::with_capacity(256);
    match paths {
        [] => {
            write_value(document, &mut out, work)?;
            return Ok(out);
        }
        [path] => {
            write_selected(document, path, !path.is_legacy(), &mut out, work)?;
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
        write_selected(document, path, as_lists, &mut out, work)?;
        written.push(path.as_str());
    }
    out.push(b'}');
    Ok(out)
}

fn write_selected(
    document: &Node,
    path: &Path,
    as_list: bool,
    out: &mut Vec<u8>,
    work: &WorkBudget,
) -> Result<(), JsonError> {
    let values = path.select(document, work)?;
    if !as_list {
        return write_value(values.first().ok_or_else(|| path_missing(path))?, out, work);
    }
    write_list(values, out, work)
}

/// Appends a value if the result may still have its length.
fn write_value(value: &Node, out: &mut Vec<u8>, work: &WorkBudget) -> Result<(), JsonError> {
    // Without the escapes, which are counted once they are written: they lengthen a value of one document at most.
    work.check_bytes(text_length(value))?;
    let start = out.len();
    value.write(out);
    // With the separator.
    work.spend_bytes(out.len() - start + 1)?;
    Ok(())
}

fn write_list(
    values: impl IntoIterator<Item = impl Borrow<Node>>,
    out: &mut Vec<u8>,
    work: &WorkBudget,
) -> Result<(), JsonError> {
    out.push(b'[');
    for (at, value) in values.into_iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write_value(value.borrow(), out, work)?;
    }
    out.push(b']');
    Ok(())
}

fn path_missing(path: &Path) -> JsonError {
    JsonError::PathMissing { path: path.as_str().to_owned() }
}
