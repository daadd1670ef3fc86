//! Changing documents: look at one, make the change here, and have Redis store it if the document is still the same.
//!
//! What replaces or deletes a document without looking at it is one round trip. Everything else is a compare-and-swap on
//! the version, tried until the request's time is over; between tries stands a random pause, since only writers of other
//! replicas can have been faster: those of this one wait in line (`queue.rs`).

use std::time::Instant;

use bytes::Bytes;

use super::backend;
use super::change::{Answer, Change, ChangeError, Changed, Only};
use super::document::{Node, write_string};
use super::error::JsonError;
use super::keys::Place;
use super::model::DocumentKey;
use super::path::Path;
use super::queue::Turn;
use super::scripts::{Announcement, Expected, Kept, Life, Version, Write, Written};
use super::service::JsonService;
use super::stored::{Stored, etag};
use crate::http::conditional::{ETag, Preconditions};
use crate::http::idempotent_operation::OperationId;
use crate::redis::{Backoff, FencingToken};

/// A change as it was asked for.
#[derive(Debug)]
pub(super) struct Request {
    pub change: Change,
    pub conditions: Preconditions,
    /// What a document that does not exist is taken for, to make the change in.
    pub start: Option<Node>,
    pub life: Life,
    pub operation: Option<OperationId>,
    /// The grant of the lock under which the caller writes.
    pub token: Option<FencingToken>,
    /// Whether the caller may see, and so change, encrypted values.
    pub in_clear: bool,
}

/// A change that was made, or found nothing to do.
#[derive(Debug)]
pub(super) struct Done {
    pub answer: Answer,
    /// Absent when there is no document any more, or the answer is that of an earlier attempt.
    pub etag: Option<ETag>,
    /// Milliseconds left; `None`: no expiry.
    pub ttl: Option<u64>,
}

/// A document as somebody in this process last saw it.
#[derive(Debug)]
pub(super) struct Seen {
    document: Option<Node>,
    etag: Option<ETag>,
    version: Version,
    ttl: Option<u64>,
}

/// A document as it may be decided about.
enum Look {
    /// Read for this change: what it says is so.
    Fresh(Seen),
    /// Left by the writer before: good for a try, not for a refusal.
    Left(Seen),
    /// The operation was done before; its answer.
    Repeated(Vec<u8>),
}

/// What a change makes of a document.
struct Outcome {
    changed: Changed,
    /// The text of the new document; `None`: there is none.
    text: Option<Bytes>,
}

impl Request {
    pub(super) fn of(change: Change) -> Self {
        Self {
            change,
            conditions: Preconditions::default(),
            start: None,
            life: Life::Keep,
            operation: None,
            token: None,
            in_clear: false,
        }
    }
}

impl JsonService {
    /// Makes a change whole, or not at all.
    ///
    /// # Errors
    /// - [`JsonError::Change`], [`JsonError::PreconditionFailed`], [`JsonError::Schema`]: nothing was changed.
    /// - [`JsonError::Contended`] when others were faster for as long as a request lasts.
    /// - [`JsonError::Redis`], whose outcome says whether the change may have been made.
    pub(super) async fn update(&self, key: &DocumentKey, request: &Request) -> Result<Done, JsonError> {
        let result = match unseen(request) {
            Some(unseen) => self.write_unseen(key, request, unseen).await,
            None => self.compare_and_swap(key, request).await,
        };
        self.metrics.write.count(result)
    }

    /// Replaces or deletes a document whatever it is; what is no document stays.
    async fn write_unseen(&self, key: &DocumentKey, request: &Request, unseen: Unseen<'_>) -> Result<Done, JsonError> {
        let place = self.keys.place(key);
        let text = match unseen.value {
            Some(value) if self.vault.guards(key) => {
                let mut sealed = value.clone();
                self.vault.seal(key, &mut sealed)?;
                Some(self.text(key, &sealed)?)
            }
            Some(value) => Some(self.text(key, value)?),
            None => None,
        };
        match self.store(key, &place, request, unseen.expected, text.as_deref(), None).await? {
            Written::Stored { created, version, ttl } => {
                let etag = text.map(|text| etag(&text, version));
                Ok(Done { answer: Answer::Stored { created }, etag, ttl })
            }
            Written::Deleted => Ok(Done { answer: Answer::Count(1), etag: None, ttl: None }),
            Written::Absent => Ok(Done { answer: Answer::Count(0), etag: None, ttl: None }),
            Written::Changed => Err(JsonError::PreconditionFailed),
            Written::Foreign => self.compare_and_swap(key, request).await,
            Written::Repeated(answer) => self.repeated(key, &answer),
        }
    }

    async fn compare_and_swap(&self, key: &DocumentKey, request: &Request) -> Result<Done, JsonError> {
        let place = self.keys.place(key);
        let deadline = Instant::now() + self.patience;
        // Who lost the lock is told so, whatever the document says.
        if let Some(fence) = self.fence(&place, request.token) {
            self.redis.pass(&place.document, &fence).await?;
        }
        let mut turn = self.writers.enter(&place.document, deadline).await.ok_or(JsonError::Contended)?;
        let mut backoff = Backoff::new(self.config.retry_min.duration(), self.config.retry_max.duration());
        loop {
            let (seen, is_fresh) = match self.look(&place, request, &mut turn).await? {
                Look::Fresh(seen) => (seen, true),
                Look::Left(seen) => (seen, false),
                Look::Repeated(answer) => return self.repeated(key, &answer),
            };
            let expected = seen.document.as_ref().map_or(Expected::Absent, |_| Expected::Version(seen.version));
            let (seen_etag, seen_ttl) = (seen.etag, seen.ttl);
            let outcome = match self.decide(key, request, seen) {
                Ok(outcome) => outcome,
                Err(error) if is_fresh || error.is_final() => return Err(error),
                Err(_) => continue,
            };
            if !outcome.changed.is_different {
                if is_fresh {
                    return Ok(Done { answer: outcome.changed.answer, etag: seen_etag, ttl: seen_ttl });
                }
                continue;
            }
            let answer = &outcome.changed.answer;
            match self.store(key, &place, request, expected, outcome.text.as_deref(), Some(answer)).await? {
                Written::Stored { version, ttl, .. } => {
                    let etag = outcome.text.map(|text| etag(&text, version));
                    turn.leave(Seen { document: outcome.changed.document, etag, version, ttl });
                    return Ok(Done { answer: outcome.changed.answer, etag, ttl });
                }
                Written::Deleted => return Ok(Done { answer: outcome.changed.answer, etag: None, ttl: None }),
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

    /// The document as the writer before left it, else as Redis has it.
    async fn look(&self, place: &Place, request: &Request, turn: &mut Turn<'_, Seen>) -> Result<Look, JsonError> {
        // An operation that was done before may not fit the document any more, which it changed.
        if let (None, Some(left)) = (&request.operation, turn.take()) {
            return Ok(Look::Left(left));
        }
        let backend = self.home.backend().await?;
        let (stored, answer) = backend::read(backend, &self.redis, place, request.operation.as_ref()).await?;
        match answer {
            Some(answer) => Ok(Look::Repeated(answer)),
            None => stored.as_ref().map(Seen::of).transpose().map(|seen| Look::Fresh(seen.unwrap_or(Seen::NOTHING))),
        }
    }

    /// Judges the conditions and makes the change in memory.
    fn decide(&self, key: &DocumentKey, request: &Request, seen: Seen) -> Result<Outcome, JsonError> {
        if !request.conditions.allow_write(seen.etag) {
            return Err(JsonError::PreconditionFailed);
        }
        let mut document = seen.document.or_else(|| request.start.clone());
        if let Some(document) = &mut document {
            self.vault.show(key, document, request.in_clear)?;
        }
        let changed = request.change.apply(document, self.bounds)?;
        self.outcome(key, changed)
    }

    /// The new document as it is stored, if it may be.
    fn outcome(&self, key: &DocumentKey, mut changed: Changed) -> Result<Outcome, JsonError> {
        let Some(document) = changed.document.as_mut().filter(|_| changed.is_different) else {
            return Ok(Outcome { changed, text: None });
        };
        self.vault.seal(key, document)?;
        let text = self.text(key, document)?;
        Ok(Outcome { changed, text: Some(text) })
    }

    /// A sealed document's text, if it may be stored.
    fn text(&self, key: &DocumentKey, document: &Node) -> Result<Bytes, JsonError> {
        let text = document.to_bytes();
        let limit = self.bounds.document;
        if text.len() > limit {
            return Err(ChangeError::TooLarge { limit }.into());
        }
        // The rules are about what the values are, not about how they are stored.
        let checked = if self.vault.guards(key) {
            let mut open = document.clone();
            self.vault.open(key, &mut open)?;
            self.schemas.check(key, &open.to_bytes())
        } else {
            self.schemas.check(key, &text)
        };
        checked.map_err(JsonError::Schema)?;
        Ok(Bytes::from(text))
    }

    async fn store(
        &self,
        key: &DocumentKey,
        place: &Place,
        request: &Request,
        expected: Expected,
        text: Option<&[u8]>,
        answer: Option<&Answer>,
    ) -> Result<Written, JsonError> {
        let mut answer = answer.filter(|_| request.operation.is_some()).map(Answer::to_bytes);
        if let Some(clear) = answer.as_mut().filter(|_| self.vault.guards(key)) {
            *clear = self.vault.seal_answer(key, clear)?;
        }
        let kept = Kept {
            answer: answer.as_deref().unwrap_or_default(),
            ttl: answer.as_ref().map_or(0, |_| self.config.answer_ttl.as_millis()),
        };
        let fence = self.fence(place, request.token);
        let event = self.config.publish_changes.then(|| event(key, &request.change, self.vault.guards(key)));
        let call = Write {
            backend: self.home.backend().await?,
            place,
            expected,
            text,
            life: request.life,
            version_life: self.config.version_life.as_millis(),
            answer_key: &place.answer(request.operation.as_ref()),
            kept,
            announcement: event.as_deref().map(|event| Announcement { channel: self.keys.changes(), event }),
            fence: fence.as_ref(),
        };
        Ok(self.redis.call(&call).await?)
    }

    fn repeated(&self, key: &DocumentKey, kept: &[u8]) -> Result<Done, JsonError> {
        let opened = if self.vault.guards(key) { Some(self.vault.open_answer(key, kept)?) } else { None };
        let answer = Answer::read(opened.as_deref().unwrap_or(kept)).ok_or(JsonError::NotJson)?;
        Ok(Done { answer, etag: None, ttl: None })
    }
}

impl Seen {
    const NOTHING: Self = Self { document: None, etag: None, version: 0, ttl: None };

    fn of(stored: &Stored) -> Result<Self, JsonError> {
        let (document, etag) = (Some(stored.parse()?), Some(stored.etag()));
        Ok(Self { document, etag, version: stored.version, ttl: stored.ttl })
    }
}

/// A change that needs no look at the document: what it expects of it, and what it puts in its place.
struct Unseen<'a> {
    expected: Expected,
    /// `None` deletes the document.
    value: Option<&'a Node>,
}

fn unseen(request: &Request) -> Option<Unseen<'_>> {
    if !request.conditions.is_empty() {
        return None;
    }
    match &request.change {
        Change::Set { path, value, only } if path.is_root() => {
            let expected = match only {
                Only::Either => Expected::Anything,
                Only::Absent => Expected::Absent,
                Only::Present => Expected::Present,
            };
            Some(Unseen { expected, value: Some(value) })
        }
        Change::Delete { path } if path.is_root() => Some(Unseen { expected: Expected::Anything, value: None }),
        _ => None,
    }
}

/// What is announced, but for the versions that Redis adds and the closing brace.
///
/// The conditions of a path may repeat what is encrypted: `has_secrets` then announces the whole document.
fn event(key: &DocumentKey, change: &Change, has_secrets: bool) -> Vec<u8> {
    let mut event = b"{\"key\":".to_vec();
    write_string(key.as_str(), &mut event);
    event.extend_from_slice(b",\"change\":");
    write_string(change.name(), &mut event);
    event.extend_from_slice(b",\"path\":");
    let path = change.path().filter(|path| !(has_secrets && path.has_filter()));
    write_string(path.map_or("$", Path::as_str), &mut event);
    event
}
