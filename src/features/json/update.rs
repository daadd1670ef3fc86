//! Changes a document: read it, apply the change in this process, and store the result if the document is unchanged.
//!
//! A change that replaces or deletes a document without reading it takes one round trip. Every other change is a
//! compare-and-swap on the version, retried until the request's time is over. Only writers of other replicas cause
//! retries, so a random pause separates them; the writers of this process queue (`writer_queue.rs`).

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::backend;
use super::change::{Action, Change, ChangeError, ChangeReply, Changed, SetCondition};
use super::document::{Node, write_string};
use super::error::JsonError;
use super::keys::KeySet;
use super::model::DocumentKey;
use super::path::Path;
use super::scripts::{Announcement, Expected, TtlChange, Write, Written};
use super::service::JsonService;
use super::stored::{Snapshot, etag};
use super::writer_queue::WriterTurn;
use crate::http::conditional::{ETag, Preconditions};
use crate::http::idempotent_operation::OperationId;
use crate::redis::{Backoff, FencingToken};

/// The upper limit of the first random pause between two tries; a write takes about a millisecond.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
/// The upper limit of every further pause; the limit doubles until it reaches this one.
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// A change of one document, with everything that decides whether and how it is made.
#[derive(Debug)]
pub(super) struct Update {
    pub change: Change,
    /// The document to apply the change to if none exists.
    pub initial: Option<Node>,
    pub ttl: TtlChange,
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
    pub can_decrypt: bool,
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

/// The state to which a change is applied.
enum CurrentState {
    /// Read for this change.
    Read(Snapshot),
    /// Handed over by the previous writer: enough to try a change, but not to reject it.
    HandedOver(Snapshot),
    /// The operation ran before; the answer that it stored.
    Repeated(Vec<u8>),
}

/// A write that does not depend on the document's content.
struct BlindWrite<'a> {
    expected: Expected,
    /// `None` deletes the document.
    value: Option<&'a Node>,
}

impl WriteOptions {
    pub(super) fn update(self, path: Path, action: Action) -> Update {
        Update { change: Change { path, action }, initial: None, ttl: TtlChange::Keep, options: self }
    }
}

impl Update {
    fn as_blind_write(&self) -> Option<BlindWrite<'_>> {
        if !self.options.conditions.is_empty() || !self.change.path.is_root() {
            return None;
        }
        match &self.change.action {
            Action::Set(value, condition) => {
                let expected = match condition {
                    SetCondition::Always => Expected::Anything,
                    SetCondition::IfAbsent => Expected::Absent,
                    SetCondition::IfPresent => Expected::Present,
                };
                Some(BlindWrite { expected, value: Some(value) })
            }
            Action::Delete => Some(BlindWrite { expected: Expected::Anything, value: None }),
            _ => None,
        }
    }
}

impl JsonService {
    /// Applies a change completely, or not at all.
    ///
    /// # Errors
    /// - [`JsonError::Change`], [`JsonError::Encryption`], [`JsonError::Schema`]: nothing was changed.
    /// - [`JsonError::Contended`] if other writers were faster for as long as the request may take.
    /// - [`JsonError::Redis`], whose outcome says whether the change may have been made.
    pub(super) async fn update(&self, key: &DocumentKey, update: &Update) -> Result<Updated, JsonError> {
        let result = match update.as_blind_write() {
            Some(write) => self.write_blindly(key, update, write).await,
            None => self.compare_and_swap(key, update).await,
        };
        self.metrics.write.count(result)
    }

    /// Replaces or deletes a document without reading it. A value that is not a document is not overwritten.
    async fn write_blindly(
        &self,
        key: &DocumentKey,
        update: &Update,
        write: BlindWrite<'_>,
    ) -> Result<Updated, JsonError> {
        let keys = self.keys.of(key);
        let text = match write.value {
            Some(value) if self.encryption.encrypts(key) => {
                let mut encrypted = value.clone();
                self.encryption.encrypt(key, &mut encrypted)?;
                Some(self.checked_text(key, &encrypted)?)
            }
            Some(value) => Some(self.checked_text(key, value)?),
            None => None,
        };
        let (reply, etag, ttl) = match self.store(key, &keys, update, write.expected, text.as_deref(), None).await? {
            Written::Stored { created, version, ttl } => {
                (ChangeReply::Stored { created }, text.map(|text| etag(&text, version)), ttl)
            }
            Written::Deleted => (ChangeReply::Count(1), None, None),
            Written::Absent => (ChangeReply::Count(0), None, None),
            Written::Changed => return Err(JsonError::PRECONDITION_FAILED),
            Written::Foreign => return self.compare_and_swap(key, update).await,
            Written::Repeated(answer) => return self.repeated(key, &answer),
        };
        Ok(Updated { reply, etag, ttl })
    }

    async fn compare_and_swap(&self, key: &DocumentKey, update: &Update) -> Result<Updated, JsonError> {
        let keys = self.keys.of(key);
        let deadline = Instant::now() + self.retry_time;
        // A caller that lost its lock is rejected, whatever the document contains.
        if let Some(fence) = self.fence(&keys, update.options.token) {
            self.redis.pass(&keys.document, &fence).await?;
        }
        let mut turn = self.writers.enter(&keys.document, deadline).await.ok_or(JsonError::Contended)?;
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        loop {
            let (snapshot, is_fresh) = match self.current_state(&keys, update, &mut turn).await? {
                CurrentState::Read(snapshot) => (snapshot, true),
                CurrentState::HandedOver(snapshot) => (snapshot, false),
                CurrentState::Repeated(answer) => return self.repeated(key, &answer),
            };
            let expected = snapshot.document.as_ref().map_or(Expected::Absent, |_| Expected::Version(snapshot.version));
            let (current_etag, current_ttl) = (snapshot.etag, snapshot.ttl);
            let (changed, text) = match self.apply(key, update, snapshot) {
                Ok(result) => result,
                Err(error) if is_fresh || error.is_final() => return Err(error),
                Err(_) => continue,
            };
            let Changed { document, reply, is_different } = changed;
            if !is_different {
                if is_fresh {
                    return Ok(Updated { reply, etag: current_etag, ttl: current_ttl });
                }
                continue;
            }
            match self.store(key, &keys, update, expected, text.as_deref(), Some(&reply)).await? {
                Written::Stored { version, ttl, .. } => {
                    let etag = text.map(|text| etag(&text, version));
                    turn.hand_over(Snapshot { document, etag, version, ttl });
                    return Ok(Updated { reply, etag, ttl });
                }
                Written::Deleted => return Ok(Updated { reply, etag: None, ttl: None }),
                Written::Repeated(answer) => return self.repeated(key, &answer),
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

    /// The snapshot of the previous writer, or else the document as Redis holds it.
    async fn current_state(
        &self,
        keys: &KeySet,
        update: &Update,
        turn: &mut WriterTurn<'_, Snapshot>,
    ) -> Result<CurrentState, JsonError> {
        let operation = update.options.operation.as_ref();
        // A repeated operation may no longer apply to the document that it changed, so its answer is looked up first.
        if let (None, Some(snapshot)) = (operation, turn.take_snapshot()) {
            return Ok(CurrentState::HandedOver(snapshot));
        }
        let backend = self.backend_record.backend().await?;
        let read = backend::read(backend, &self.redis, keys, operation).await?;
        match read.answer {
            Some(answer) => Ok(CurrentState::Repeated(answer)),
            None => Snapshot::of(read.document.as_ref()).map(CurrentState::Read),
        }
    }

    /// Checks the conditions and applies the change in memory. Returns the text to store if the document differs.
    fn apply(
        &self,
        key: &DocumentKey,
        update: &Update,
        snapshot: Snapshot,
    ) -> Result<(Changed, Option<Bytes>), JsonError> {
        if !update.options.conditions.allow_write(snapshot.etag) {
            return Err(JsonError::PRECONDITION_FAILED);
        }
        let mut document = snapshot.document.or_else(|| update.initial.clone());
        if let Some(document) = &mut document {
            self.encryption.present(key, document, update.options.can_decrypt)?;
        }
        let mut changed = update.change.apply(document, self.size_limit)?;
        let text = match changed.document.as_mut().filter(|_| changed.is_different) {
            Some(document) => {
                self.encryption.encrypt(key, document)?;
                Some(self.checked_text(key, document)?)
            }
            None => None,
        };
        Ok((changed, text))
    }

    /// The text of an encrypted document, if it is within the size limit and follows the rules of its collection.
    fn checked_text(&self, key: &DocumentKey, document: &Node) -> Result<Bytes, JsonError> {
        let text = document.to_bytes();
        let limit = self.size_limit.0;
        if text.len() > limit {
            return Err(ChangeError::TooLarge { limit }.into());
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
        expected: Expected,
        text: Option<&[u8]>,
        reply: Option<&ChangeReply>,
    ) -> Result<Written, JsonError> {
        let operation = update.options.operation.as_ref();
        let has_secrets = self.encryption.encrypts(key);
        let mut answer = reply.filter(|_| operation.is_some()).map(ChangeReply::to_bytes);
        if let Some(plain) = answer.as_mut().filter(|_| has_secrets) {
            *plain = self.encryption.encrypt_answer(key, plain)?;
        }
        let fence = self.fence(keys, update.options.token);
        let event = self.config.publish_changes.then(|| event(key, &update.change, has_secrets));
        let call = Write {
            backend: self.backend_record.backend().await?,
            keys,
            expected,
            text,
            ttl: update.ttl,
            answer_key: &keys.answer(operation),
            answer: answer.as_deref(),
            announcement: event.as_deref().map(|event| Announcement { channel: self.keys.changes(), event }),
            fence: fence.as_ref(),
        };
        Ok(self.redis.call(&call).await?)
    }

    /// The result of an operation that ran before.
    fn repeated(&self, key: &DocumentKey, answer: &[u8]) -> Result<Updated, JsonError> {
        let reply = if self.encryption.encrypts(key) {
            ChangeReply::from_bytes(&self.encryption.decrypt_answer(key, answer)?)
        } else {
            ChangeReply::from_bytes(answer)
        };
        Ok(Updated { reply: reply.ok_or(JsonError::NotJson)?, etag: None, ttl: None })
    }
}

/// The announcement of a change, without the versions and the closing brace, which the script adds.
///
/// The conditions of a path can quote encrypted values. If `has_secrets`, such a path is announced as `$`.
fn event(key: &DocumentKey, change: &Change, has_secrets: bool) -> Vec<u8> {
    let mut event = b"{\"key\":".to_vec();
    write_string(key.as_str(), &mut event);
    event.extend_from_slice(b",\"change\":");
    write_string(change.action.name(), &mut event);
    event.extend_from_slice(b",\"path\":");
    let reveals_values = has_secrets && change.path.has_filter();
    write_string(if reveals_values { "$" } else { change.path.as_str() }, &mut event);
    event
}
