//! The life of a record, from claim to response.

use std::convert::Infallible;

use super::config::IdempotencyConfig;
use super::error::IdempotencyError;
use super::fingerprint::Hash;
use super::keys;
use super::recorded_response::RecordedResponse;
use super::scripts::{self, Claimed, Recording};
use crate::http::idempotent_operation::OperationId;
use crate::redis::{Key, Redis, RedisFault};

#[derive(Clone, Debug)]
pub(super) struct IdempotencyService {
    redis: Redis,
    config: IdempotencyConfig,
}

/// A record that one attempt has claimed.
#[derive(Debug)]
pub(super) struct Attempt {
    record: Key,
    owner: String,
}

/// What happens to a request with a key.
#[derive(Debug)]
pub(super) enum ClaimResult {
    /// It is new: run the handler.
    New(Attempt),
    /// It was recorded: return the recorded response if the request is the same.
    Recorded(Recording),
}

impl IdempotencyService {
    pub(super) fn new(redis: Redis, config: IdempotencyConfig) -> Self {
        Self { redis, config }
    }

    /// The largest response body that is recorded, bytes.
    pub(super) fn max_answer(&self) -> usize {
        self.config.max_answer.as_usize()
    }

    /// Claims the operation's record for `idempotency.pending_lease`, or returns its content. One EVALSHA, O(1).
    ///
    /// # Errors
    /// [`IdempotencyError::InProgress`] while another attempt runs, [`IdempotencyError::Redis`] if Redis failed.
    pub(super) async fn claim(&self, operation: &OperationId) -> Result<ClaimResult, IdempotencyError> {
        let record = keys::record(self.redis.keys(), operation);
        let owner = getrandom::u64()?;
        let attempt = Attempt { record, owner: format!("{owner:016x}") };
        let call = scripts::claim(&attempt.record, &attempt.owner, self.config.pending_lease);
        match self.redis.call(call).await? {
            Claimed::Taken => Ok(ClaimResult::New(attempt)),
            Claimed::Running { remaining } => Err(IdempotencyError::InProgress { remaining }),
            Claimed::Recorded(done) => Ok(ClaimResult::Recorded(done)),
        }
    }

    /// Renews the claim while it is polled.
    ///
    /// A failed renewal does not stop the work: the next one follows after a third of the claim, and only the owner of
    /// the record can complete it.
    pub(super) async fn renew(&self, attempt: &Attempt) -> Infallible {
        let lease = self.config.pending_lease;
        loop {
            tokio::time::sleep(lease.duration() / 3).await;
            if let Err(fault) = self.redis.call(scripts::renew(&attempt.record, &attempt.owner, lease)).await {
                tracing::debug!(%fault, "claim not renewed");
            }
        }
    }

    /// Records the response for `idempotency.retention`. Best effort, since the effect has happened.
    pub(super) async fn complete(
        &self,
        attempt: &Attempt,
        request: &Hash,
        body: Option<&Hash>,
        answer: &RecordedResponse,
    ) {
        let Attempt { record, owner } = attempt;
        let call = scripts::complete(record, owner, self.config.retention, request, body, answer);
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
    match outcome {
        Ok(true) => {}
        Ok(false) => tracing::warn!(record = record.as_str(), consequence, "idempotency claim expired"),
        Err(fault) => tracing::warn!(record = record.as_str(), consequence, %fault, "idempotency record not updated"),
    }
}
