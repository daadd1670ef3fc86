//! The life of a record, from claim to response.

use std::convert::Infallible;
use std::time::Duration;

use super::error::IdempotencyError;
use super::fingerprint::Hash;
use super::keys;
use super::recorded_response::RecordedResponse;
use super::scripts::{self, Claimed, Recording};
use crate::config::value::Span;
use crate::http::auth::Principal;
use crate::http::idempotent_operation::{OperationId, SHORT_ANSWER};
use crate::redis::{Key, Redis, RedisFault};
use crate::telemetry::episodes;

/// How long a key stays claimed by an attempt that no longer renews its claim. A running attempt renews it after every
/// third, so even a busy process keeps it; a client whose process died waits no longer than this.
const PENDING_LEASE: Span = Span::from_millis(10_000);

#[derive(Debug)]
pub(super) struct IdempotencyService {
    pub redis: Redis,
    /// How long a response is kept for repetitions.
    pub retention: Span,
    /// The longest pause while a body is read.
    pub body_idle_timeout: Duration,
    /// How long an operation that can be decided without Redis waits for a Redis that is silent.
    pub open_timeout: Duration,
}

/// The most bytes of longer response bodies that are recorded for one caller during a retention. A client that sends short
/// requests with long responses would fill the memory of Redis.
const MOST_KEPT: usize = 4 << 20;

/// The longest retention of a response that is recorded while Redis is at `maxmemory`: a client that did not receive it asks
/// again at once, and records must not fill Redis further.
const RETENTION_IN_FULL_REDIS: Span = Span::from_millis(60_000);

/// A record that one attempt has claimed.
#[derive(Debug)]
pub(super) struct Attempt {
    record: Key,
    owner: String,
    /// Whether it may free memory of Redis.
    frees: bool,
    /// How long its response may be recorded.
    pub retention: Span,
}

impl IdempotencyService {
    /// A new attempt, which claims nothing yet.
    ///
    /// # Errors
    /// [`IdempotencyError::NoRandomness`].
    pub(super) fn attempt(&self, operation: &OperationId, frees: bool) -> Result<Attempt, IdempotencyError> {
        let (record, owner) = (keys::record(self.redis.keys(), operation), format!("{:016x}", getrandom::u64()?));
        Ok(Attempt { record, owner, frees, retention: self.retention })
    }

    /// Claims the operation's record for [`PENDING_LEASE`], or returns its content, unless that is a response with the
    /// body `replaceable`. Waits for a silent Redis no longer than `patience`. A full Redis permits only the claim of an attempt
    /// that may free memory. One EVALSHA, O(1).
    ///
    /// # Errors
    /// [`IdempotencyError::InProgress`] while another attempt runs, [`IdempotencyError::Redis`] if Redis failed.
    pub(super) async fn claim(
        &self,
        attempt: &mut Attempt,
        replaceable: Option<&[u8]>,
        patience: Option<Duration>,
    ) -> Result<Option<Recording>, IdempotencyError> {
        let call = scripts::claim(&attempt.record, &attempt.owner, PENDING_LEASE, attempt.frees, replaceable);
        let claimed = match patience {
            Some(patience) => self.redis.call_if_responsive(patience, call).await?,
            None => self.redis.call(call).await?,
        };
        match claimed? {
            Claimed::Taken => Ok(None),
            Claimed::TakenInFullRedis => {
                attempt.retention = attempt.retention.min(RETENTION_IN_FULL_REDIS);
                Ok(None)
            }
            Claimed::Recorded(recording) => Ok(Some(*recording)),
        }
    }

    /// Renews the claim while it is polled.
    ///
    /// A failed renewal does not stop the work: the next one follows after a third of the claim, and only the owner of
    /// the record can complete it.
    pub(super) async fn renew(&self, attempt: &Attempt) -> Infallible {
        loop {
            tokio::time::sleep(PENDING_LEASE.duration() / 3).await;
            let renewal = scripts::renew(&attempt.record, &attempt.owner, PENDING_LEASE);
            if let Err(fault) = self.redis.call(renewal).await {
                tracing::debug!(%fault, "claim not renewed");
            }
        }
    }

    /// Whether a response body may be recorded for this caller. Without an answer of Redis it is not.
    pub(super) async fn may_keep(&self, caller: &Principal, bytes: usize) -> bool {
        if bytes <= SHORT_ANSWER {
            return true;
        }
        let kept = keys::kept(self.redis.keys(), caller);
        self.redis.call(scripts::count(&kept, bytes, MOST_KEPT, self.retention)).await.unwrap_or(false)
    }

    /// Records the response for `retention`. Best effort, since the effect has happened.
    pub(super) async fn complete(
        &self,
        attempt: &Attempt,
        request: &Hash,
        body: Option<&Hash>,
        answer: &RecordedResponse,
        retention: Span,
    ) {
        let Attempt { record, owner, .. } = attempt;
        let call = scripts::complete(record, owner, retention, request, body, answer);
        log_update(record, "the response is not recorded", self.redis.call(call).await);
    }

    /// Releases the claim so that the next attempt can run. Best effort, since the claim expires by itself.
    pub(super) async fn release(&self, attempt: &Attempt) {
        let call = scripts::release(&attempt.record, &attempt.owner);
        log_update(&attempt.record, "the key stays claimed until the claim expires", self.redis.call(call).await);
    }
}

/// Logs a failed update of a record; the caller receives the handler's response all the same.
fn log_update(record: &Key, consequence: &str, outcome: Result<bool, RedisFault>) {
    let failed = match outcome {
        Ok(true) => return,
        Ok(false) => None,
        Err(fault) => Some(fault),
    };
    let Some(repeated) = episodes::next("idempotency record") else { return };
    match failed {
        None => tracing::warn!(record = record.as_str(), consequence, repeated, "idempotency claim expired"),
        Some(fault) => {
            tracing::warn!(record = record.as_str(), consequence, %fault, repeated, "idempotency record not updated");
        }
    }
}
