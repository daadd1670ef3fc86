//! The index of keys. Lists read it, so no request scans Redis.
//!
//! A write stores the value first and adds its entry afterwards. The entry of an expired value is removed by the list
//! or the sweep that finds it; the sweep covers the index in bounded steps.

use std::fmt::Write;
use std::time::Duration;

use redis::{Cmd, Value};

use super::error::CacheError;
use super::model::{CacheKey, KEY_LIMIT, KeyInfo};
use super::service::{CacheService, command, ttl_ms};
use crate::http::reply::Page;
use crate::lifecycle::Tasks;
use crate::redis::{Effect, FaultKind, RedisFault};

/// The most steps that a list takes for one page when it finds mostly expired keys.
const STEPS: u32 = 8;

/// The keys that one step of the sweep checks: a fraction of a millisecond for Redis.
const SWEEP_STEP: usize = 500;

/// The pause between two steps of the sweep: an index of a million keys is covered in about half an hour, and the load
/// on Redis is not noticeable.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
/// The pause after a look at an index that has no keys.
const IDLE_INTERVAL: Duration = Duration::from_secs(10);

/// The name of the sweep in `/health/ready`.
const SWEEP: &str = "cache.sweep";

impl CacheService {
    /// The command that adds a key.
    pub(super) fn index_entry(&self, key: &CacheKey) -> Cmd {
        self.index_entries(std::slice::from_ref(key))
    }

    /// The command that adds several keys.
    pub(super) fn index_entries(&self, keys: &[CacheKey]) -> Cmd {
        let mut enter = command("ZADD", self.keys.index().as_str());
        for key in keys {
            enter.arg(0).arg(key.as_str());
        }
        enter
    }

    /// Lists the keys that start with `prefix`, in byte order, after the key `after`.
    ///
    /// A page may be shorter than `limit` and still have a next page. Cost: O(log n + limit).
    ///
    /// # Errors
    /// [`CacheError::Redis`].
    pub(super) async fn list(
        &self,
        prefix: &str,
        mut after: Option<Vec<u8>>,
        limit: usize,
    ) -> Result<Page<KeyInfo>, CacheError> {
        let mut items = Vec::new();
        for _ in 0..STEPS {
            let wanted = limit - items.len();
            let candidates = self.candidates(prefix, after.as_deref(), wanted).await?;
            let at_end = candidates.len() < wanted;
            if let Some(last) = candidates.last() {
                after = Some(last.as_str().into());
            }
            let (present, expired) = self.inspect(candidates).await?;
            items.extend(present);
            self.remove_entries(&expired).await?;
            if at_end {
                return Ok(Page { items, next_cursor: None });
            }
            if items.len() >= limit {
                break;
            }
        }
        Ok(Page { items, next_cursor: after.as_deref().map(to_cursor) })
    }

    /// Removes expired keys from one section of the index. Returns where the next step starts, and after which pause.
    ///
    /// # Errors
    /// [`RedisFault`]; the step can be repeated.
    async fn sweep(&self, after: Option<&CacheKey>) -> Result<(Option<CacheKey>, Duration), RedisFault> {
        let candidates = self.candidates("", after.map(|key| key.as_str().as_bytes()), SWEEP_STEP).await?;
        if after.is_none() && candidates.is_empty() {
            return Ok((None, IDLE_INTERVAL));
        }
        let next = if candidates.len() < SWEEP_STEP { None } else { candidates.last().cloned() };
        let expired = self.expired(candidates).await?;
        self.remove_entries(&expired).await?;
        // Like Redis's own active expiry: where many keys have expired, there are probably more.
        let hurry = next.is_some() && expired.len() > SWEEP_STEP / 4;
        Ok((next, if hurry { Duration::ZERO } else { SWEEP_INTERVAL }))
    }

    async fn candidates(&self, prefix: &str, after: Option<&[u8]>, count: usize) -> Result<Vec<CacheKey>, RedisFault> {
        let min = match after {
            Some(after) if after >= prefix.as_bytes() => [b"(", after].concat(),
            _ if prefix.is_empty() => b"-".to_vec(),
            _ => [b"[", prefix.as_bytes()].concat(),
        };
        // No key contains the byte 0xFF, which is not valid in UTF-8. So every key with the prefix sorts before this
        // bound.
        let max = if prefix.is_empty() { b"+".to_vec() } else { [b"(", prefix.as_bytes(), b"\xff"].concat() };
        let mut range = command("ZRANGEBYLEX", self.keys.index().as_str());
        range.arg(min).arg(max).arg("LIMIT").arg(0).arg(count);
        let members: Vec<Vec<u8>> = self.redis.query(&range, Effect::Read).await?;
        let key = |member| CacheKey::try_from(String::from_utf8(member).ok()?).ok();
        Ok(members.into_iter().filter_map(key).collect())
    }

    /// Returns the keys that have a value, and those whose value has expired.
    async fn inspect(&self, candidates: Vec<CacheKey>) -> Result<(Vec<KeyInfo>, Vec<CacheKey>), RedisFault> {
        let questions: Vec<Cmd> = candidates
            .iter()
            .flat_map(|key| {
                let entry = self.keys.entry(key);
                [command("PTTL", entry.value.as_str()), command("STRLEN", entry.value.as_str())]
            })
            .collect();
        let mut answers = self.redis.query_all(&questions, Effect::Read).await?.into_iter();
        let (mut present, mut expired) = (Vec::with_capacity(candidates.len()), Vec::new());
        for key in candidates {
            let (Some(ttl), Some(size)) = (answers.next(), answers.next()) else { break };
            match (ttl?, size) {
                // Not a string, so not written by the cache.
                (_, Err(fault)) if fault.kind == FaultKind::WrongType => {}
                (_, Err(fault)) => return Err(fault),
                (Value::Int(-2), _) => expired.push(key),
                (ttl @ Value::Int(_), Ok(Value::Int(size))) => {
                    let size = u64::try_from(size).unwrap_or_default();
                    present.push(KeyInfo { key, ttl_ms: ttl_ms(&ttl), size });
                }
                _ => {}
            }
        }
        Ok((present, expired))
    }

    async fn expired(&self, candidates: Vec<CacheKey>) -> Result<Vec<CacheKey>, RedisFault> {
        let questions: Vec<Cmd> =
            candidates.iter().map(|key| command("EXISTS", self.keys.entry(key).value.as_str())).collect();
        let answers = self.redis.query_all(&questions, Effect::Read).await?;
        let mut expired = Vec::new();
        for (key, answer) in candidates.into_iter().zip(answers) {
            if answer? == Value::Int(0) {
                expired.push(key);
            }
        }
        Ok(expired)
    }

    /// Removes the entries of expired keys, then restores those whose values were written in the meantime.
    ///
    /// A writer stores the value before it adds the entry. An entry can be lost here only if it was added before the
    /// removal; then the value was stored before the removal too, and the second check finds it.
    async fn remove_entries(&self, expired: &[CacheKey]) -> Result<(), RedisFault> {
        if expired.is_empty() {
            return Ok(());
        }
        let mut remove = command("ZREM", self.keys.index().as_str());
        for key in expired {
            remove.arg(key.as_str());
        }
        self.redis.query::<u64>(&remove, Effect::Write).await.map_err(RedisFault::not_applied)?;
        let gone = self.expired(expired.to_vec()).await?;
        let back: Vec<CacheKey> = expired.iter().filter(|key| !gone.contains(key)).cloned().collect();
        if !back.is_empty() {
            self.redis.query::<u64>(&self.index_entries(&back), Effect::Write).await?;
        }
        Ok(())
    }
}

/// Starts the sweep with the service: one step per [`SWEEP_INTERVAL`], over and over.
///
/// Every replica sweeps. Steps are idempotent, and a failed step is repeated.
pub(super) fn plan_sweep(cache: &CacheService, tasks: &Tasks) {
    let (cache, board) = (cache.clone(), tasks.clone());
    tasks.plan(SWEEP, move |stop| async move {
        let mut after: Option<CacheKey> = None;
        let mut pause = SWEEP_INTERVAL;
        loop {
            if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                return;
            }
            let step = cache.sweep(after.as_ref()).await;
            board.report(SWEEP, step.as_ref().map(|_| ()).map_err(ToString::to_string));
            (after, pause) = step.unwrap_or((after, SWEEP_INTERVAL));
        }
    });
}

/// The cursor of the page that follows `key`: hexadecimal digits.
pub(super) fn to_cursor(key: &[u8]) -> String {
    key.iter().fold(String::new(), |mut cursor, byte| {
        // Writing to a string does not fail.
        let _ = write!(cursor, "{byte:02x}");
        cursor
    })
}

/// Parses a cursor: an even number of lower-case hexadecimal digits. The position may lie between keys.
pub(super) fn parse_cursor(cursor: &str) -> Option<Vec<u8>> {
    let digits = |at| u8::from_str_radix(cursor.get(at..at + 2)?, 16).ok();
    let key: Vec<u8> = (0..cursor.len()).step_by(2).map(digits).collect::<Option<_>>()?;
    // Other spellings of the digits were not written by `to_cursor`.
    Some(key).filter(|key| (1..=KEY_LIMIT).contains(&key.len()) && to_cursor(key) == cursor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_restores_its_position() {
        for key in ["a", "user:profile:é"] {
            assert_eq!(parse_cursor(&to_cursor(key.as_bytes())), Some(key.into()));
        }
        for bad in ["", "6", "zz", "AA", "+6", "é1", &"00".repeat(KEY_LIMIT + 1)] {
            assert_eq!(parse_cursor(bad), None, "{bad}");
        }
    }
}
