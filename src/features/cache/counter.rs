//! Counters: integer values that are changed by addition.

use super::error::CacheError;
use super::metrics::Success;
use super::model::{CacheKey, Counter, Millis};
use super::scripts;
use super::service::{CacheService, Lookup, command, effective_ttl};
use super::write::{ATTEMPTS, not_indexed};
use crate::http::idempotent_operation::OperationId;
use crate::http::problem::Location;
use crate::redis::{Batch, Effect, FencingToken, Key, RedisFault};

/// How long the result of an operation is kept, milliseconds: a day, as long as recorded responses are by default.
const ANSWER_TTL: u64 = 86_400_000;

impl CacheService {
    /// Adds to a counter. The call that creates the counter also sets its expiry, in one step.
    ///
    /// With an operation, the first result is kept for [`ANSWER_TTL`] and returned again without adding again.
    ///
    /// # Errors
    /// [`CacheError::NotANumber`] if the value is not an integer or the sum does not fit into 64 bits; else those of
    /// [`CacheService::put`].
    pub(super) async fn increment(
        &self,
        key: &CacheKey,
        by: i64,
        ttl: Option<Millis>,
        operation: Option<&OperationId>,
        token: Option<FencingToken>,
    ) -> Result<Counter, CacheError> {
        let result = self.add(key, by, ttl, operation, token).await;
        self.metrics.increment.count(result, |_| Success::Ok)
    }

    async fn add(
        &self,
        key: &CacheKey,
        by: i64,
        ttl: Option<Millis>,
        operation: Option<&OperationId>,
        token: Option<FencingToken>,
    ) -> Result<Counter, CacheError> {
        if let Some(ttl) = ttl {
            self.check_ttl(ttl, Location::Body, "/ttl_ms")?;
        }
        let entry = self.keys.entry(key);
        let fence = self.fence(&entry, token);
        let answer = entry.answer(operation);
        // What an earlier attempt did remains done, even if another client holds the lock by now.
        if operation.is_some()
            && fence.is_some()
            && let Some(counter) = self.earlier_answer(&answer).await?
        {
            return Ok(counter);
        }
        let call = scripts::Increment {
            entry: &entry,
            by,
            ttl: effective_ttl(&entry, ttl),
            answer: &answer,
            answer_ttl: operation.map_or(0, |_| ANSWER_TTL),
            fence: fence.as_ref(),
        };
        for _ in 0..ATTEMPTS {
            let mut batch = Batch::new();
            batch.call(&call);
            batch.last(self.index_entry(key));
            let mut answers = self.redis.run(batch).await?;
            match answers.call::<scripts::Increment>()? {
                scripts::IncrementReply::Done(counter) => {
                    answers.last().map_err(not_indexed)?;
                    return Ok(counter);
                }
                scripts::IncrementReply::NotANumber => return Err(CacheError::NotANumber),
                scripts::IncrementReply::CheckTags => match self.look(&entry, None).await? {
                    Lookup::Absent => {}
                    Lookup::Invalid { digest } => self.drop_invalid(&entry, &digest).await?,
                    // A value with tags has an envelope, so it is not a number.
                    Lookup::Valid(_) => return Err(CacheError::NotANumber),
                },
            }
        }
        Err(CacheError::Contended)
    }

    /// The result of an operation's first attempt, if there was one.
    async fn earlier_answer(&self, answer: &Key) -> Result<Option<Counter>, RedisFault> {
        let text: Option<String> = self.redis.query(&command("GET", answer.as_str()), Effect::Read).await?;
        Ok(text.as_deref().and_then(scripts::counter))
    }
}
