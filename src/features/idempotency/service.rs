//! Records from claim to answer.

use std::convert::Infallible;

use super::answer::Answer;
use super::config::IdempotencyConfig;
use super::error::IdempotencyError;
use super::fingerprint::Hash;
use super::keys;
use super::scripts::{Claim, Claimed, Complete, Done, Release, Renew};
use crate::http::idempotent_operation::OperationId;
use crate::redis::{Key, Redis, RedisFault};

#[derive(Clone, Debug)]
pub(super) struct IdempotencyService {
    redis: Redis,
    config: IdempotencyConfig,
}

/// A record in the hands of one attempt.
#[derive(Debug)]
pub(super) struct Attempt {
    record: Key,
    owner: String,
}

/// What becomes of a request with a key.
#[derive(Debug)]
pub(super) enum Verdict {
    /// Nobody has done it: run it.
    First(Attempt),
    /// It was done, if it is the same request.
    Repeat(Done),
}

impl IdempotencyService {
    pub(super) fn new(redis: Redis, config: IdempotencyConfig) -> Self {
        Self { redis, config }
    }

    /// The largest answer that is kept, bytes.
    pub(super) fn max_answer(&self) -> usize {
        self.config.max_answer.as_usize()
    }

    /// Takes the operation's record for `idempotency.pending_lease`, or says what is in it. One EVALSHA, O(1).
    ///
    /// # Errors
    /// [`IdempotencyError::InProgress`] while another attempt holds it, [`IdempotencyError::Redis`] if Redis failed.
    pub(super) async fn claim(&self, operation: &OperationId) -> Result<Verdict, IdempotencyError> {
        let record = keys::record(self.redis.keys(), operation);
        let owner = getrandom::u64()?;
        let attempt = Attempt { record, owner: format!("{owner:016x}") };
        let call = Claim { record: &attempt.record, owner: &attempt.owner, lease: self.config.pending_lease };
        match self.redis.call(&call).await? {
            Claimed::Taken => Ok(Verdict::First(attempt)),
            Claimed::Running { remaining } => Err(IdempotencyError::InProgress { remaining }),
            Claimed::Done(done) => Ok(Verdict::Repeat(done)),
        }
    }

    /// Renews the claim for as long as it is polled.
    ///
    /// A failure is no reason to stop the work: the next third of the lease brings another try, and only the owner
    /// of the record can complete it.
    pub(super) async fn keep(&self, attempt: &Attempt) -> Infallible {
        let lease = self.config.pending_lease;
        loop {
            tokio::time::sleep(lease.duration() / 3).await;
            if let Err(fault) = self.redis.call(&Renew { record: &attempt.record, owner: &attempt.owner, lease }).await
            {
                tracing::debug!(%fault, "a claim was not renewed");
            }
        }
    }

    /// Keeps the answer for repeats during `idempotency.retention`; best effort, since the work is done.
    pub(super) async fn complete(&self, attempt: &Attempt, request: &Hash, body: Option<&Hash>, answer: &Answer) {
        let call = Complete {
            record: &attempt.record,
            owner: &attempt.owner,
            retention: self.config.retention,
            request,
            body,
            answer,
        };
        note(&attempt.record, "its answer is not kept", self.redis.call(&call).await);
    }

    /// Lets the next attempt run; best effort, since the lease ends by itself.
    pub(super) async fn release(&self, attempt: &Attempt) {
        let call = Release { record: &attempt.record, owner: &attempt.owner };
        note(&attempt.record, "it is held until its lease ends", self.redis.call(&call).await);
    }
}

/// The caller gets the handler's answer either way; what failed beside it is ours to know.
fn note(record: &Key, consequence: &str, outcome: Result<bool, RedisFault>) {
    match outcome {
        Ok(true) => {}
        Ok(false) => tracing::warn!(record = record.as_str(), consequence, "a record's lease ran out"),
        Err(fault) => tracing::warn!(record = record.as_str(), consequence, %fault, "a record was not changed"),
    }
}
