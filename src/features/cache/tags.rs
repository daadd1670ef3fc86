//! Invalidates many values at once, in constant time.
//!
//! A tag has a generation. A value contains the generations that its tags had before it was written. Raising a tag's
//! generation invalidates all its values, however many there are. A tag that is lost (evicted or expired) has the same
//! effect: the error is always a miss, never an outdated value.

use redis::Value;

use super::error::CacheError;
use super::keys::EntryKeys;
use super::lease::LONGEST_LEASE;
use super::model::{Millis, Tag, Tags};
use super::scripts;
use super::service::{CacheService, command};
use crate::redis::{Effect, FencingToken, RedisFault};

/// How much longer a tag is kept than its values, milliseconds: it is written before them.
const MARGIN: u64 = 60_000;
/// How long the time of an invalidation is kept, milliseconds: a minute longer than the longest lease, so that the holder
/// of a lease cannot store a value that it read before the invalidation.
const RAISED_RETENTION: u64 = LONGEST_LEASE + 60_000;

impl CacheService {
    /// Invalidates every value with `tag`; O(1). A guarded call passes the tag's own fence, not those of its values.
    ///
    /// # Errors
    /// [`CacheError::Redis`], whose outcome says whether the values may be invalid.
    pub(super) async fn invalidate(&self, tag: &Tag, token: Option<FencingToken>) -> Result<(), CacheError> {
        let fence = token.map(|token| self.redis.fence(self.keys.tag_fence(tag), token));
        Ok(self.redis.call(scripts::raise_tag(&self.keys.tag(tag), RAISED_RETENTION, fence.as_ref())).await?)
    }

    /// Forgets the tokens that a tag has seen; `by` is the client's name.
    ///
    /// # Errors
    /// [`CacheError::Redis`].
    pub(super) async fn reset_tag_fence(&self, tag: &Tag, by: &str) -> Result<(), CacheError> {
        Ok(self.redis.reset_fence(&self.keys.tag_fence(tag), by).await?)
    }

    /// Returns the tags with their generations. They must be read before the value is written: an invalidation in
    /// between then affects the new value too.
    ///
    /// Each tag is kept for a TTL of its own, milliseconds, see [`CacheService::tag_ttl`]. Also returns the microseconds since
    /// the last invalidation of any of them, if that is known.
    ///
    /// # Errors
    /// [`CacheError::LeaseLost`] if a tag was invalidated after `since`, when the lease of the value was granted by the same
    /// clock.
    pub(super) async fn open_tags(
        &self,
        tags: impl IntoIterator<Item = (&Tag, u64)>,
        since: Option<u64>,
    ) -> Result<(Vec<(Tag, u64)>, Option<u64>), CacheError> {
        let (tags, calls): (Vec<&Tag>, Vec<_>) =
            tags.into_iter().map(|(tag, ttl)| (tag, scripts::open_tag(&self.keys.tag(tag), ttl, since))).unzip();
        // Nothing that a client can see is changed before the value itself is written.
        let answers = self.redis.call_all(calls).await.map_err(RedisFault::not_applied)?;
        let (mut opened, mut newest) = (Vec::with_capacity(tags.len()), None);
        for (tag, answer) in tags.into_iter().zip(answers) {
            let (generation, age) = answer.map_err(RedisFault::not_applied)?;
            opened.push((tag.clone(), generation.ok_or(CacheError::LeaseLost)?));
            newest = newest.into_iter().chain(age).min();
        }
        Ok((opened, newest))
    }

    /// Whether all tags of a value still have the generations under which it was written. A read that extends the
    /// value's TTL extends those of its tags.
    pub(super) async fn are_current(&self, tags: &[(Tag, u64)], touch: Option<Millis>) -> Result<bool, RedisFault> {
        let keys: Vec<_> = tags.iter().map(|(tag, _)| self.keys.tag(tag).generation).collect();
        let mut commands: Vec<_> = keys.iter().map(|key| command("GET", key.as_str())).collect();
        let mut effect = Effect::Read;
        if let Some(touch) = touch {
            commands.extend(keys.iter().map(|key| self.extension(key.as_str(), touch)));
            effect = Effect::Write;
        }
        let answers = self.redis.query_all(&commands, effect).await?;
        for ((_, written), answer) in tags.iter().zip(answers) {
            let current = match answer? {
                Value::BulkString(text) => std::str::from_utf8(&text).ok().and_then(|text| text.parse().ok()),
                _ => None,
            };
            if current != Some(*written) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Makes tags outlive a value whose TTL was set.
    pub(super) async fn extend_tags(&self, tags: &[(Tag, u64)], ttl: Millis) -> Result<(), RedisFault> {
        let commands: Vec<_> =
            tags.iter().map(|(tag, _)| self.extension(self.keys.tag(tag).generation.as_str(), ttl)).collect();
        // A client cannot see that a tag is kept longer.
        for answer in self.redis.query_all(&commands, Effect::Write).await.map_err(RedisFault::not_applied)? {
            answer?;
        }
        Ok(())
    }

    /// The TTL that `keep_ttl` will give a value with tags, milliseconds.
    pub(super) async fn kept_ttl(
        &self,
        entry: &EntryKeys,
        tags: &Tags,
        otherwise: Option<u64>,
    ) -> Result<Option<u64>, RedisFault> {
        if tags.is_empty() {
            return Ok(otherwise);
        }
        let left: i64 = self.redis.query(&command("PTTL", entry.value.as_str()), Effect::Read).await?;
        // -2: the key does not exist; -1: it does not expire.
        Ok(if left == -2 { otherwise } else { u64::try_from(left).ok() })
    }

    fn extension(&self, tag: &str, ttl: Millis) -> redis::Cmd {
        let mut extend = command("PEXPIRE", tag);
        extend.arg(self.tag_ttl(Some(ttl.get()))).arg("GT");
        extend
    }

    /// How long a tag is kept for a value with this TTL, milliseconds; without expiry it is kept for `cache.max_ttl`.
    pub(super) fn tag_ttl(&self, ttl: Option<u64>) -> u64 {
        ttl.unwrap_or_else(|| self.config.max_ttl.as_millis()).saturating_add(MARGIN)
    }
}
