//! Counters: values that are whole numbers, changed by adding to them.

use super::error::CacheError;
use super::metrics::Success;
use super::model::{CacheKey, Counter, Millis};
use super::scripts;
use super::service::{CacheService, Look, command, life};
use super::write::{ATTEMPTS, unlisted};
use crate::http::idempotent_operation::OperationId;
use crate::http::problem::Location;
use crate::redis::{Batch, Effect, FencingToken, Key, RedisFault};

impl CacheService {
    /// Adds to a counter; the call that creates it sets its expiry in the same step.
    ///
    /// With an operation, its first answer is kept for `cache.answer_ttl` and given again without adding again.
    ///
    /// # Errors
    /// [`CacheError::NotANumber`] when there is something else, or no room in 64 bits; else as [`CacheService::put`].
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
        let place = self.keys.place(key);
        let fence = self.fence(&place, token);
        let answer = place.answer(operation);
        // What was done stays done, whoever has the lock by now.
        if operation.is_some()
            && fence.is_some()
            && let Some(counter) = self.earlier_answer(&answer).await?
        {
            return Ok(counter);
        }
        let call = scripts::Increment {
            place: &place,
            by,
            ttl: life(&place, ttl),
            answer: &answer,
            answer_ttl: operation.map_or(0, |_| self.config.answer_ttl.as_millis()),
            fence: fence.as_ref(),
        };
        for _ in 0..ATTEMPTS {
            let mut batch = Batch::new();
            batch.call(&call);
            batch.last(self.index_entry(key));
            let mut answers = self.redis.run(batch).await?;
            match answers.call::<scripts::Increment>()? {
                scripts::IncrementReply::Done(counter) => {
                    answers.last().map_err(unlisted)?;
                    return Ok(counter);
                }
                scripts::IncrementReply::NotANumber => return Err(CacheError::NotANumber),
                scripts::IncrementReply::LookFirst => match self.look(&place, None).await? {
                    Look::Absent => {}
                    Look::Invalid { digest } => self.drop_invalid(&place, &digest).await?,
                    // Whatever has tags has an envelope, and is no number.
                    Look::Valid(_) => return Err(CacheError::NotANumber),
                },
            }
        }
        Err(CacheError::Contended)
    }

    /// What the first attempt of an operation was answered, if there was one.
    async fn earlier_answer(&self, answer: &Key) -> Result<Option<Counter>, RedisFault> {
        let text: Option<String> = self.redis.query(&command("GET", answer.as_str()), Effect::Read).await?;
        Ok(text.as_deref().and_then(scripts::counter))
    }
}
