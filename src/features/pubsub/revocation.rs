//! Revoked tokens: those of a subject that were issued before a moment may not connect any more.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::clock::UnixMillis;
use crate::http::auth::Principal;
use crate::redis::{Effect, Key, Redis, RedisFault};

/// How long a revocation is remembered, milliseconds: longer than tokens are valid.
const LIFE_MS: u64 = 24 * 3_600_000;
/// The most revocations that a replica knows without Redis.
const MAX_KNOWN: usize = 10_000;

/// The revocations of all replicas, and those that this replica knows.
///
/// Key: `pubsub:revoked:{<subject>}`, a moment in Unix milliseconds; it expires after 24 hours.
#[derive(Debug)]
pub(super) struct Revocations {
    redis: Redis,
    known: Mutex<HashMap<String, UnixMillis>>,
}

impl Revocations {
    pub(super) fn new(redis: Redis) -> Self {
        Self { redis, known: Mutex::default() }
    }

    /// Revokes the tokens of a subject that were issued before a moment, for every client that connects from this point.
    ///
    /// # Errors
    /// [`RedisFault`].
    pub(super) async fn revoke(&self, subject: &str, before: UnixMillis) -> Result<(), RedisFault> {
        let mut set = redis::cmd("SET");
        set.arg(self.key(subject)).arg(before).arg("PX").arg(LIFE_MS);
        self.redis.query::<()>(&set, Effect::Write).await?;
        self.note(subject, before);
        Ok(())
    }

    /// Takes a revocation of another replica.
    pub(super) fn note(&self, subject: &str, before: UnixMillis) {
        let mut known = self.lock();
        if known.len() >= MAX_KNOWN && !known.contains_key(subject) {
            // Of the tokens that the oldest one concerns, the fewest are still valid.
            let oldest = known.iter().min_by_key(|(_, before)| **before).map(|(subject, _)| subject.clone());
            oldest.and_then(|subject| known.remove(&subject));
        }
        known.insert(subject.to_owned(), before);
    }

    /// Whether the caller's token is revoked. While Redis is unavailable, the last known revocation counts.
    pub(super) async fn is_revoked(&self, caller: &Principal) -> bool {
        let Some(subject) = caller.subject() else { return false };
        let mut get = redis::cmd("GET");
        get.arg(self.key(subject));
        match self.redis.query::<Option<UnixMillis>>(&get, Effect::Read).await {
            Ok(Some(before)) => self.note(subject, before),
            Ok(None) => {}
            Err(fault) => tracing::debug!(%fault, "could not read whether a token is revoked"),
        }
        self.is_known(caller)
    }

    /// Whether this replica knows that the caller's token is revoked. A token that does not say when it was issued counts as
    /// an old one.
    pub(super) fn is_known(&self, caller: &Principal) -> bool {
        let before = caller.subject().and_then(|subject| self.lock().get(subject).copied());
        before.is_some_and(|before| caller.issued.is_none_or(|issued| issued < before))
    }

    fn key(&self, subject: &str) -> Key {
        self.redis.keys().text_key("", subject).sibling("pubsub:revoked")
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, UnixMillis>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
