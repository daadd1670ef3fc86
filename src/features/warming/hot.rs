//! Which keys of a task the clients of all replicas use most.

use std::collections::{BTreeMap, HashMap};
use std::sync::PoisonError;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::error::WarmingError;
use super::model::HotKey;
use super::plan::Task;
use super::service::{LastPublished, WarmingService};
use crate::clock::UnixMillis;
use crate::redis::{Effect, RedisFault};

/// The most keys of a task that a replica publishes.
pub(super) const MOST: usize = 200;
/// How long what a replica published counts, milliseconds.
const LIFE: i64 = 60_000;
/// How often a replica publishes.
const INTERVAL: Duration = Duration::from_secs(5);

/// What a replica publishes.
#[derive(Debug, Serialize, Deserialize)]
struct Published {
    at: UnixMillis,
    keys: Vec<HotKey>,
}

impl WarmingService {
    /// Publishes the most used keys of a task, at most every [`INTERVAL`]. Returns whether clients of this replica use any.
    ///
    /// # Errors
    /// [`RedisFault`].
    pub(super) async fn publish_uses(&self, task: &Task) -> Result<bool, RedisFault> {
        let now = self.clock.elapsed();
        let Some(cache) = self.cached.get() else { return Ok(false) };
        let uses = {
            let mut published = self.published.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(last) = published.get(&task.name).filter(|last| now < last.at + INTERVAL) {
                return Ok(last.has_uses);
            }
            let uses = cache.uses(MOST, &|key| task.template.read(key).is_some());
            published.insert(task.name.clone(), LastPublished { at: now, has_uses: !uses.is_empty() });
            uses
        };
        if uses.is_empty() {
            return Ok(false);
        }
        let keys = uses.into_iter().map(|uses| HotKey { key: uses.key, uses: uses.uses, error: uses.error }).collect();
        let published = Published { at: self.clock.now(), keys };
        let key = self.store.keys.seen(&task.name);
        let text = serde_json::to_string(&published).unwrap_or_default();
        let store = redis::cmd("HSET").arg(&key).arg(&self.replica).arg(text).take();
        let expire = redis::cmd("PEXPIRE").arg(&key).arg(LIFE).take();
        for answer in self.cache_redis.query_all(&[store, expire], Effect::Write).await? {
            answer?;
        }
        Ok(true)
    }

    /// The keys of a task that clients use most, the most used first.
    ///
    /// # Errors
    /// [`WarmingError::Redis`].
    pub(super) async fn hot_keys(&self, task: &Task, limit: usize) -> Result<Vec<HotKey>, WarmingError> {
        self.publish_uses(task).await?;
        let command = redis::cmd("HGETALL").arg(self.store.keys.seen(&task.name)).take();
        let fields: HashMap<String, String> = self.cache_redis.query(&command, Effect::Read).await?;
        let now = self.clock.now();
        let mut all: BTreeMap<String, HotKey> = BTreeMap::new();
        let published = fields.values().filter_map(|text| serde_json::from_str::<Published>(text).ok());
        for hot in published.filter(|published| now - published.at < LIFE).flat_map(|published| published.keys) {
            all.entry(hot.key.clone())
                .and_modify(|sum| {
                    sum.uses += hot.uses;
                    sum.error += hot.error;
                })
                .or_insert(hot);
        }
        let mut keys: Vec<HotKey> = all.into_values().collect();
        keys.sort_by(|a, b| b.uses.cmp(&a.uses).then_with(|| a.key.cmp(&b.key)));
        keys.truncate(limit);
        Ok(keys)
    }
}
