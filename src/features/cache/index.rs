//! The index of keys: what the list reads, so that no request scans.
//!
//! A value is written first and its entry after it. An expired value's entry is removed by whoever meets it: the list,
//! or the sweep that walks the index in bounded steps.

use std::fmt;

use redis::{Cmd, Value};

use super::error::CacheError;
use super::model::{CacheKey, KEY_LIMIT, KeyInfo};
use super::service::{CacheService, command};
use crate::http::reply::Page;
use crate::redis::{Effect, RedisFault};

/// How many steps a list takes for one page, when it meets mostly expired keys.
const STEPS: u32 = 8;

impl CacheService {
    /// The command that enters a key.
    pub(super) fn index_entry(&self, key: &CacheKey) -> Cmd {
        self.index_entries(std::slice::from_ref(key))
    }

    /// The command that enters keys.
    pub(super) fn index_entries(&self, keys: &[CacheKey]) -> Cmd {
        let mut enter = command("ZADD", self.keys.index().as_str());
        for key in keys {
            enter.arg(0).arg(key.as_str());
        }
        enter
    }

    /// Keys in the order of their bytes, those that begin with `prefix`, after the place `after`.
    ///
    /// A page may be shorter than `limit` and still have a next one. Cost: O(log n + limit).
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
            self.forget(&expired).await?;
            if at_end {
                return Ok(Page { items, next_cursor: None });
            }
            if items.len() >= limit {
                break;
            }
        }
        Ok(Page { items, next_cursor: after.as_ref().map(Position::to_string) })
    }

    /// Removes expired keys from one stretch of the index; where the next step begins, and whether it should at once.
    ///
    /// # Errors
    /// [`RedisFault`]; the step may be repeated.
    pub(super) async fn sweep(&self, after: Option<Position>) -> Result<(Option<Position>, bool), RedisFault> {
        let candidates = self.candidates("", after.as_ref(), self.config.sweep_batch).await?;
        let next =
            if candidates.len() < self.config.sweep_batch { None } else { candidates.last().map(Position::after) };
        let expired = self.expired(candidates).await?;
        self.forget(&expired).await?;
        // As Redis's own active expiry: where much had expired there is probably more.
        let hurry = next.is_some() && expired.len() > self.config.sweep_batch / 4;
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
        // No key holds the byte 0xFF, since it is no part of UTF-8: behind it nothing begins with the prefix any more.
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
                let place = self.keys.place(key);
                [command("PTTL", place.value.as_str()), command("STRLEN", place.value.as_str())]
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
            candidates.iter().map(|key| command("EXISTS", self.keys.place(key).value.as_str())).collect();
        let answers = self.redis.query_all(&questions, Effect::Read).await?;
        let mut expired = Vec::new();
        for (key, answer) in candidates.into_iter().zip(answers) {
            if answer? == Value::Int(0) {
                expired.push(key);
            }
        }
        Ok(expired)
    }

    /// Removes the entries of expired keys, and enters those again that were written meanwhile.
    ///
    /// A writer stores first and enters after. Its entry can get lost here only if it came before the removal; then
    /// its value came before it too, and the second look sees it.
    async fn forget(&self, expired: &[CacheKey]) -> Result<(), RedisFault> {
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
    /// Milliseconds left (`None`: no expiry) and bytes.
    Alive((Option<u64>, u64)),
    Expired,
    /// Not a string: somebody else's.
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

/// A place in the index: after these bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Position(Vec<u8>);

impl Position {
    fn after(key: &CacheKey) -> Self {
        Self(key.as_str().as_bytes().to_vec())
    }

    /// Reads a cursor: every even number of lower-case hexadecimal digits is a place, if perhaps an empty one.
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
            let place = Position::after(&CacheKey::try_from(text.to_owned()).expect("a key"));
            assert_eq!(Position::parse(&place.to_string()), Some(place));
        }
        for bad in ["", "6", "zz", "AA", "+6", "é1", &"00".repeat(KEY_LIMIT + 1)] {
            assert_eq!(Position::parse(bad), None, "{bad}");
        }
    }
}
