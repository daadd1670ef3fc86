//! The index of keys. Lists read it, so no request scans Redis.
//!
//! A write stores the value first and adds its entry afterwards. The entry of an expired value is removed by the list
//! or the sweep that finds it; the sweep covers the index in bounded steps.

use std::fmt;

use redis::{Cmd, Value};

use super::error::CacheError;
use super::model::{CacheKey, KEY_LIMIT, KeyInfo};
use super::service::{CacheService, command};
use crate::http::reply::Page;
use crate::redis::{Effect, RedisFault};

/// The most steps that a list takes for one page when it finds mostly expired keys.
const STEPS: u32 = 8;

/// The keys that one step of the sweep checks: a fraction of a millisecond for Redis.
const SWEEP_STEP: usize = 500;

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

    /// Lists the keys that start with `prefix`, in byte order, after the position `after`.
    ///
    /// A page may be shorter than `limit` and still have a next page. Cost: O(log n + limit).
    ///
    /// # Errors
    /// [`CacheError::Redis`].
    pub(super) async fn list(
        &self,
        prefix: &str,
        after: Option<Position>,
        limit: usize,
    ) -> Result<Page<KeyInfo>, CacheError> {
        let mut items = Vec::new();
        let mut after = after;
        for _ in 0..STEPS {
            let wanted = limit - items.len();
            let candidates = self.candidates(prefix, after.as_ref(), wanted).await?;
            let at_end = candidates.len() < wanted;
            if let Some(last) = candidates.last() {
                after = Some(Position::after(last));
            }
            let mut expired = Vec::new();
            for (key, found) in self.inspect(candidates).await? {
                match found {
                    Found::Alive(info) => items.push(KeyInfo { key, ttl_ms: info.0, size: info.1 }),
                    Found::Expired => expired.push(key),
                    Found::Foreign => {}
                }
            }
            self.remove_entries(&expired).await?;
            if at_end {
                return Ok(Page { items, next_cursor: None });
            }
            if items.len() >= limit {
                break;
            }
        }
        Ok(Page { items, next_cursor: after.as_ref().map(Position::to_string) })
    }

    /// Removes expired keys from one section of the index. Returns where the next step starts and whether it should
    /// follow immediately.
    ///
    /// # Errors
    /// [`RedisFault`]; the step can be repeated.
    pub(super) async fn sweep(&self, after: Option<Position>) -> Result<(Option<Position>, bool), RedisFault> {
        let candidates = self.candidates("", after.as_ref(), SWEEP_STEP).await?;
        let next = if candidates.len() < SWEEP_STEP { None } else { candidates.last().map(Position::after) };
        let expired = self.expired(candidates).await?;
        self.remove_entries(&expired).await?;
        // Like Redis's own active expiry: where many keys have expired, there are probably more.
        let hurry = next.is_some() && expired.len() > SWEEP_STEP / 4;
        Ok((next, hurry))
    }

    async fn candidates(
        &self,
        prefix: &str,
        after: Option<&Position>,
        count: usize,
    ) -> Result<Vec<CacheKey>, RedisFault> {
        let min = match after {
            Some(Position(after)) if after.as_slice() >= prefix.as_bytes() => [b"(", after.as_slice()].concat(),
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

    async fn inspect(&self, candidates: Vec<CacheKey>) -> Result<Vec<(CacheKey, Found)>, RedisFault> {
        let questions: Vec<Cmd> = candidates
            .iter()
            .flat_map(|key| {
                let entry = self.keys.entry(key);
                [command("PTTL", entry.value.as_str()), command("STRLEN", entry.value.as_str())]
            })
            .collect();
        let mut answers = self.redis.query_all(&questions, Effect::Read).await?.into_iter();
        let mut found = Vec::with_capacity(candidates.len());
        for key in candidates {
            let (Some(ttl), Some(size)) = (answers.next(), answers.next()) else { break };
            found.push((key, Found::of(ttl?, size)?));
        }
        Ok(found)
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

enum Found {
    /// Milliseconds left (`None`: no expiry) and size in bytes.
    Alive((Option<u64>, u64)),
    Expired,
    /// Not a string, so not written by the cache.
    Foreign,
}

impl Found {
    fn of(ttl: Value, size: Result<Value, RedisFault>) -> Result<Self, RedisFault> {
        match (ttl, size) {
            (_, Err(fault)) if fault.kind == crate::redis::FaultKind::WrongType => Ok(Self::Foreign),
            (_, Err(fault)) => Err(fault),
            (Value::Int(-2), _) => Ok(Self::Expired),
            (Value::Int(ttl), Ok(Value::Int(size))) => {
                Ok(Self::Alive((u64::try_from(ttl).ok(), u64::try_from(size).unwrap_or_default())))
            }
            _ => Ok(Self::Foreign),
        }
    }
}

/// A position in the index: after these bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Position(Vec<u8>);

impl Position {
    fn after(key: &CacheKey) -> Self {
        Self(key.as_str().as_bytes().to_vec())
    }

    /// Parses a cursor: an even number of lower-case hexadecimal digits. The position may lie between keys.
    pub(super) fn parse(cursor: &str) -> Option<Self> {
        if cursor.is_empty() || cursor.len() > 2 * KEY_LIMIT || !cursor.len().is_multiple_of(2) {
            return None;
        }
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Some(byte - b'0'),
            b'a'..=b'f' => Some(byte - b'a' + 10),
            _ => None,
        };
        let digits: Vec<u8> = cursor.bytes().map(digit).collect::<Option<_>>()?;
        Some(Self(digits.chunks_exact(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect()))
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_leads_back_to_its_place() {
        for text in ["a", "user:profile:é"] {
            let entry = Position::after(&CacheKey::try_from(text.to_owned()).expect("a key"));
            assert_eq!(Position::parse(&entry.to_string()), Some(entry));
        }
        for bad in ["", "6", "zz", "AA", "+6", "é1", &"00".repeat(KEY_LIMIT + 1)] {
            assert_eq!(Position::parse(bad), None, "{bad}");
        }
    }
}
