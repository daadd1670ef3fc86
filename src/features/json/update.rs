//! Changes a document: read it, apply the change in this process, and store the result if the document is unchanged.
//!
//! A change that replaces or deletes a document without reading it takes one round trip. Every other change is a
//! compare-and-swap on the version, retried until the request's time is over. Only writers of other replicas cause
//! retries, so a random pause separates them; the writers of this process queue (`writer_queue.rs`).

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::backend;
use super::can_decrypt::CanDecrypt;
use super::change::{Action, ChangeReply, Changed, Limits, SetCondition, empty_log};
use super::document::{Members, Node, Number, text_length, write_string};
use super::error::JsonError;
use super::keys::KeySet;
use super::model::{DocumentKey, Millis};
use super::path::Path;
use super::scripts::{Expected, Write, Written};
use super::service::JsonService;
use super::stored::{Snapshot, StoredDocument, etag};
use super::work::{INLINE_BYTES, WorkBudget};
use crate::http::conditional::{ETag, Preconditions};
use crate::http::idempotent_operation::{OperationId, SHORT_ANSWER};
use crate::redis::{Backoff, FencingToken};

/// The upper limit of the first random pause between two tries; a write takes about a millisecond.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
/// The upper limit of every further pause; the limit doubles until it reaches this one.
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// Stored in place of an answer of more than [`SHORT_ANSWER`] bytes: short requests would fill Redis with their answers. It is
/// neither JSON nor encrypted.
const NOT_KEPT: &[u8] = b"-";

/// A change of one document, with everything that decides whether and how it is made.
#[derive(Debug)]
pub(super) struct Update {
    /// The values that change.
    pub path: Path,
    pub action: Action,
    /// The document to apply the change to if none exists.
    pub initial: Option<Node>,
    /// The document's new TTL; `None` keeps its TTL.
    pub ttl: Option<Millis>,
    pub options: WriteOptions,
}

/// The parts of a write request that are independent of the change itself.
#[derive(Debug, Default)]
pub(super) struct WriteOptions {
    pub conditions: Preconditions,
    pub operation: Option<OperationId>,
    /// The fencing token of the lock under which the caller writes.
    pub token: Option<FencingToken>,
    /// Whether the caller may read, and so edit, encrypted values.
    pub can_decrypt: CanDecrypt,
    /// The changes of a batch share it.
    pub work: WorkBudget,
}

/// The result of an update that succeeded, even if it found nothing to change.
#[derive(Debug)]
pub(super) struct Updated {
    pub reply: ChangeReply,
    /// `None` if the document no longer exists, or the reply is that of an earlier attempt.
    pub etag: Option<ETag>,
    /// Milliseconds until the document expires; `None` if it does not expire.
    pub ttl: Option<u64>,
}

/// The document that a change starts from.
enum Source {
    Stored(Option<StoredDocument>),
    /// As the previous writer left it.
    Parsed(Snapshot),
}

/// A change that was applied in memory.
struct Prepared {
    /// The state before the change.
    expected: Expected,
    etag: Option<ETag>,
    ttl: Option<u64>,
    /// The length of the text that the change replaces, bytes.
    replaced: usize,
    changed: Changed,
    /// The text to store, if the document differs and still exists.
    text: Option<Bytes>,
}

/// What a write stores.
struct NewState<'a> {
    expected: Expected,
    /// `None` deletes the document.
    text: Option<&'a [u8]>,
    /// The length of the text that is replaced, bytes; 0 if it is not known.
    replaced: usize,
    reply: Option<&'a ChangeReply>,
}

impl WriteOptions {
    pub(super) fn update(self, path: Path, action: Action) -> Update {
        Update { path, action, initial: None, ttl: None, options: self }
    }
}

impl Update {
    /// The state that the key must have, and the new document, if the update does not depend on the document's content.
    /// No document deletes the existing one.
    fn as_blind_write(&self) -> Option<(Expected, Option<&Node>)> {
        if !self.options.conditions.is_empty() || !self.path.is_root() {
            return None;
        }
        match &self.action {
            Action::Set(value, SetCondition::Always) => Some((Expected::Anything, Some(value))),
            Action::Set(value, SetCondition::IfAbsent) => Some((Expected::Absent, Some(value))),
            Action::Set(value, SetCondition::IfPresent) => Some((Expected::Present, Some(value))),
            Action::Delete => Some((Expected::Anything, None)),
            _ => None,
        }
    }
}

impl JsonService {
    /// Applies a change completely, or not at all.
    ///
    /// # Errors
    /// - [`JsonError::Redis`], whose outcome says whether the change may have been made.
    /// - [`JsonError::Contended`] if other writers were faster for as long as the request may take.
    /// - Every other [`JsonError`]: nothing was changed.
    pub(super) async fn update(self: &Arc<Self>, key: &DocumentKey, update: Update) -> Result<Updated, JsonError> {
        let update = Arc::new(update);
        let result = match update.as_blind_write() {
            Some((expected, value)) => self.write_blindly(key, &update, expected, value).await,
            None => self.compare_and_swap(key, &update).await,
        };
        self.metrics.count("write", result)
    }

    /// Adds an entry, with the current time if it has no `timestamp`.
    pub(super) async fn record_activity(
        self: &Arc<Self>,
        key: &DocumentKey,
        mut entry: Members,
        options: WriteOptions,
    ) -> Result<Updated, JsonError> {
        if !entry.iter().any(|(name, _)| name == "timestamp") {
            entry.push(("timestamp".into(), Node::Number(Number::integer(self.clock.now().into()))));
        }
        let action = Action::Record { entry: Node::Object(entry), limit: self.config.activity_limit };
        self.update(key, Update { initial: Some(empty_log()), ..options.update(Path::default(), action) }).await
    }

    /// Replaces or deletes a document without reading it. A value that is not a document is not overwritten.
    async fn write_blindly(
        self: &Arc<Self>,
        key: &DocumentKey,
        update: &Arc<Update>,
        expected: Expected,
        value: Option<&Node>,
    ) -> Result<Updated, JsonError> {
        let text = match value {
            Some(value) if text_length(value) > INLINE_BYTES => {
                let (service, key, update) = (Arc::clone(self), key.clone(), Arc::clone(update));
                let encrypted_text = move || match update.as_blind_write() {
                    Some((_, Some(value))) => service.encrypted_text(&key, value).map(Some),
                    _ => Ok(None),
                };
                self.offload.run(encrypted_text).await??
            }
            Some(value) => Some(self.encrypted_text(key, value)?),
            None => None,
        };
        let without_document = |count| Ok(Updated { reply: ChangeReply::Count(count), etag: None, ttl: None });
        let state = NewState { expected, text: text.as_deref(), replaced: 0, reply: None };
        match self.store(key, &self.keys.of(key), update, state).await? {
            Written::Stored { created, version, ttl } => {
                let etag = text.map(|text| etag(&text, version));
                Ok(Updated { reply: ChangeReply::Stored { created }, etag, ttl })
            }
            Written::Deleted => without_document(1),
            Written::Absent => without_document(0),
            Written::Changed => Err(JsonError::PreconditionFailed),
            Written::Foreign => self.compare_and_swap(key, update).await,
            Written::Repeated(answer) => self.repeated(key, answer),
        }
    }

    async fn compare_and_swap(self: &Arc<Self>, key: &DocumentKey, update: &Arc<Update>) -> Result<Updated, JsonError> {
        let keys = self.keys.of(key);
        let deadline = Instant::now() + self.retry_time;
        // A caller that lost its lock is rejected, whatever the document contains.
        if let Some(fence) = self.fence(&keys, update.options.token) {
            self.redis.pass(&keys.document, &fence).await?;
        }
        let operation = update.options.operation.as_ref();
        let mut turn = self.writers.enter(&keys.document, deadline).await.ok_or(JsonError::Contended)?;
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        loop {
            // A snapshot of the previous writer is enough to try a change, but not to reject it. A repeated operation may
            // no longer apply to the document that it changed, so its answer is looked up first.
            let (source, is_fresh) = if let (None, Some(snapshot)) = (operation, turn.take_snapshot()) {
                (Source::Parsed(snapshot), false)
            } else {
                let backend = self.backend_record.backend().await?;
                let read = backend::read(backend, &self.redis, &keys, operation).await?;
                if let Some(answer) = read.answer {
                    return self.repeated(key, answer);
                }
                (Source::Stored(read.document), true)
            };
            let prepared = match self.prepare(key, update, source).await {
                Ok(prepared) => prepared,
                Err(error @ JsonError::Overloaded(_)) => return Err(error),
                Err(error) if is_fresh => return Err(error),
                Err(_) => continue,
            };
            let Prepared { expected, replaced, changed: Changed { document, reply, is_different }, text, .. } =
                prepared;
            match (is_different, is_fresh) {
                (false, true) => return Ok(Updated { reply, etag: prepared.etag, ttl: prepared.ttl }),
                (false, false) => continue,
                (true, _) => {}
            }
            let state = NewState { expected, text: text.as_deref(), replaced, reply: Some(&reply) };
            match self.store(key, &keys, update, state).await? {
                Written::Stored { version, ttl, .. } => {
                    let length = text.as_ref().map_or(0, Bytes::len);
                    let etag = text.map(|text| etag(&text, version));
                    if document.is_some() {
                        turn.hand_over(Snapshot { document, etag, version, ttl, length });
                    }
                    return Ok(Updated { reply, etag, ttl });
                }
                Written::Deleted => return Ok(Updated { reply, etag: None, ttl: None }),
                Written::Repeated(answer) => return self.repeated(key, answer),
                Written::Changed | Written::Absent | Written::Foreign => {
                    self.metrics.conflicts.inc();
                    let pause = backoff.pause();
                    if Instant::now() + pause > deadline {
                        return Err(JsonError::Contended);
                    }
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }

    /// Applies a change in memory: on this thread if that takes little time, or else on another one.
    async fn prepare(
        self: &Arc<Self>,
        key: &DocumentKey,
        update: &Arc<Update>,
        source: Source,
    ) -> Result<Prepared, JsonError> {
        let length = match &source {
            Source::Stored(document) => document.as_ref().map_or(0, |document| document.text.len()),
            Source::Parsed(snapshot) => snapshot.length,
        };
        if update.path.is_cheap() && update.action.weight(length) <= INLINE_BYTES {
            return self.apply(key, update, source);
        }
        let (service, key, update) = (Arc::clone(self), key.clone(), Arc::clone(update));
        self.offload.run(move || service.apply(&key, &update, source)).await?
    }

    /// Checks the conditions and applies the change in memory.
    fn apply(&self, key: &DocumentKey, update: &Update, source: Source) -> Result<Prepared, JsonError> {
        let snapshot = match source {
            Source::Stored(stored) => Snapshot::of(stored.as_ref())?,
            Source::Parsed(snapshot) => snapshot,
        };
        let expected = snapshot.document.as_ref().map_or(Expected::Absent, |_| Expected::Version(snapshot.version));
        let (etag, ttl, replaced) = (snapshot.etag, snapshot.ttl, snapshot.length);
        if !update.options.conditions.allow_write(snapshot.etag) {
            return Err(JsonError::PreconditionFailed);
        }
        let mut document = snapshot.document.or_else(|| update.initial.clone());
        if let Some(document) = &mut document {
            self.encryption.present(key, document, update.options.can_decrypt.of(key))?;
        }
        let limits = Limits { size: self.size_limit, work: &update.options.work };
        let mut changed = update.action.apply(document, &update.path, limits)?;
        let text = match changed.document.as_mut().filter(|_| changed.is_different) {
            Some(document) => {
                self.encryption.encrypt(key, document)?;
                Some(self.checked_text(key, document)?)
            }
            None => None,
        };
        // A large document takes much more memory than its text. It is not kept while Redis stores the text.
        if text.as_ref().is_some_and(|text| text.len() > INLINE_BYTES) {
            changed.document = None;
        }
        Ok(Prepared { expected, etag, ttl, replaced, changed, text })
    }

    /// The text of a document that is not yet encrypted.
    fn encrypted_text(&self, key: &DocumentKey, document: &Node) -> Result<Bytes, JsonError> {
        if !self.encryption.encrypts(key) {
            return self.checked_text(key, document);
        }
        let mut encrypted = document.clone();
        self.encryption.encrypt(key, &mut encrypted)?;
        self.checked_text(key, &encrypted)
    }

    /// The text of an encrypted document, if it is within the size limit and follows the rules of its collection.
    fn checked_text(&self, key: &DocumentKey, document: &Node) -> Result<Bytes, JsonError> {
        let text = document.to_bytes();
        let limit = self.size_limit.0;
        if text.len() > limit {
            return Err(JsonError::TooLarge { limit });
        }
        // The rules apply to plain values, not to their encrypted form.
        let checked = if self.encryption.encrypts(key) {
            let mut plain = document.clone();
            self.encryption.decrypt(key, &mut plain)?;
            self.schemas.check(key, &plain)
        } else {
            self.schemas.check(key, document)
        };
        checked.map_err(JsonError::Schema)?;
        Ok(Bytes::from(text))
    }

    async fn store(
        &self,
        key: &DocumentKey,
        keys: &KeySet,
        update: &Update,
        NewState { expected, text, replaced, reply }: NewState<'_>,
    ) -> Result<Written, JsonError> {
        let operation = update.options.operation.as_ref();
        let has_secrets = self.encryption.encrypts(key);
        let answer = match reply {
            Some(reply) if operation.is_some() => Some(match reply.to_bytes() {
                long if long.len() > SHORT_ANSWER => NOT_KEPT.to_vec(),
                short => self.encryption.encrypt_answer(key, short)?,
            }),
            _ => None,
        };
        let fence = self.fence(keys, update.options.token);
        let event = self.config.publish_changes.then(|| event(key, update, has_secrets));
        let write = Write {
            backend: self.backend_record.backend().await?,
            keys,
            expected,
            text,
            ttl: update.ttl.map(Millis::get),
            operation,
            answer: answer.as_deref(),
            frees: text.map_or(0, <[u8]>::len) + answer.as_ref().map_or(0, Vec::len) < replaced,
            announcement: event.as_deref().map(|event| (&self.keys.changes, event)),
            fence: fence.as_ref(),
        };
        Ok(self.redis.call(write.call()).await?)
    }

    /// The result of an operation that ran before.
    fn repeated(&self, key: &DocumentKey, answer: Vec<u8>) -> Result<Updated, JsonError> {
        if answer == NOT_KEPT {
            return Err(JsonError::AnswerNotKept);
        }
        let reply = ChangeReply::from_bytes(&self.encryption.decrypt_answer(key, answer)?);
        Ok(Updated { reply: reply.ok_or(JsonError::NotJson)?, etag: None, ttl: None })
    }
}

/// The announcement of a change, without the versions and the closing brace, which the script adds.
///
/// The conditions of a path can quote encrypted values. If `has_secrets`, such a path is announced as `$`.
fn event(key: &DocumentKey, update: &Update, has_secrets: bool) -> Vec<u8> {
    let mut event = b"{\"key\":".to_vec();
    write_string(key.as_str(), &mut event);
    event.extend_from_slice(b",\"change\":");
    write_string(update.action.name(), &mut event);
    event.extend_from_slice(b",\"path\":");
    let reveals_values = has_secrets && update.path.has_filter();
    write_string(if reveals_values { "$" } else { update.path.as_str() }, &mut event);
    event
}
