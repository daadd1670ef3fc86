//! The names of all labels, and the values of a label.

use super::super::model::SeriesEntry;
use super::super::scripts;
use super::super::series::{Labels, SeriesKey};
use super::SeriesIndex;
use crate::lifecycle::large_work::Slice;
use crate::redis::{Effect, RedisFault};

/// How many names or values one call reads: about a millisecond of Redis's main thread.
const PAGE: usize = 500;

/// How many names or values of a list are looked up in a series. The rest of a longer list is what the index has, which may
/// include labels of series that expired a short time ago: looking up all of them would take Redis too long.
const EXACT: usize = 2_000;

impl SeriesIndex {
    /// Lists the first `limit` names of labels that series have, in byte order.
    ///
    /// # Errors
    /// [`RedisFault`].
    pub async fn label_names(&self, limit: usize) -> Result<Vec<String>, RedisFault> {
        self.parts("", limit, |_| true, |labels, name| labels.get(name).is_some()).await
    }

    /// Lists the first `limit` values that series have for a label and that `is_wanted`, in byte order.
    ///
    /// # Errors
    /// [`RedisFault`].
    pub async fn label_values(
        &self,
        label: &str,
        limit: usize,
        is_wanted: impl Fn(&str) -> bool,
    ) -> Result<Vec<String>, RedisFault> {
        self.parts(&format!("{label}\0"), limit, is_wanted, |labels, value| labels.get(label) == Some(value)).await
    }

    /// Lists the first `limit` keys that `is_wanted`, in byte order. Some of the series may have ended.
    ///
    /// # Errors
    /// [`RedisFault`].
    pub async fn matching_keys(
        &self,
        is_wanted: impl Fn(&str) -> bool,
        limit: usize,
    ) -> Result<Vec<SeriesKey>, RedisFault> {
        let (mut keys, mut low) = (Vec::new(), "-".to_owned());
        loop {
            let names = self.names_from(&low).await?;
            let Some(last) = names.last() else { return Ok(keys) };
            low = format!("({last}");
            let is_last = names.len() < PAGE;
            let mut slice = Slice::begin();
            for name in &names {
                keys.extend(is_wanted(name).then(|| SeriesKey::new(name).ok()).flatten());
                slice.pause_if_over().await;
            }
            if is_last || keys.len() >= limit {
                keys.truncate(limit);
                return Ok(keys);
            }
        }
    }

    /// A page of the names of series from a bound on.
    async fn names_from(&self, low: &str) -> Result<Vec<String>, RedisFault> {
        let mut page = redis::cmd("ZRANGEBYLEX");
        page.arg(&self.keys.names).arg(low).arg("+").arg("LIMIT").arg(0).arg(PAGE);
        self.redis.query(&page, Effect::Read).await
    }

    /// Lists the keys of the first `limit` series without a label, in byte order.
    ///
    /// # Errors
    /// [`RedisFault`].
    pub async fn keys_without(&self, label: &str, limit: usize) -> Result<Vec<String>, RedisFault> {
        let (mut keys, mut low) = (Vec::new(), "-".to_owned());
        loop {
            let names = self.names_from(&low).await?;
            let Some(last) = names.last() else { return Ok(keys) };
            low = format!("({last}");
            let is_last = names.len() < PAGE;
            let mut read = redis::cmd("HMGET");
            read.arg(&self.keys.labels).arg(&names);
            let labels: Vec<Option<String>> = self.redis.query(&read, Effect::Read).await?;
            let lacks = |labels: Option<String>| {
                let labels = labels.and_then(|labels| serde_json::from_str::<Labels>(&labels).ok());
                labels.is_none_or(|labels| labels.get(label).is_none())
            };
            let lacking = names.into_iter().zip(labels).filter_map(|(name, labels)| lacks(labels).then_some(name));
            let (found, missing) =
                self.look_up(lacking.filter_map(|name| SeriesKey::new(&name).ok()).collect()).await?;
            self.remove_missing(missing).await?;
            let unlabelled = found.into_iter().filter(|entry| entry.labels.get(label).is_none());
            keys.extend(unlabelled.map(|entry| entry.key.to_string()).take(limit - keys.len()));
            if is_last || keys.len() >= limit {
                return Ok(keys);
            }
        }
    }

    /// Lists parts of postings after a prefix that are wanted and that a series still has, according to `has`.
    async fn parts(
        &self,
        prefix: &str,
        limit: usize,
        is_wanted: impl Fn(&str) -> bool,
        has: impl Fn(&Labels, &str) -> bool,
    ) -> Result<Vec<String>, RedisFault> {
        let (mut parts, mut after) = (Vec::new(), String::new());
        loop {
            let page = self.redis.call(scripts::label_parts(&self.keys, prefix, &after, PAGE)).await?;
            let is_last = page.len() < PAGE;
            if let Some((last, _)) = page.last() {
                after.clone_from(last);
            }
            let (mut wanted, mut slice) = (Vec::new(), Slice::begin());
            for (part, series) in page {
                if is_wanted(&part) {
                    wanted.push((part, series));
                }
                slice.pause_if_over().await;
            }
            let page = wanted;
            // Beyond `EXACT`, nothing is looked up.
            let examined = if parts.len() < EXACT { page.as_slice() } else { &[] };
            let series = examined.iter().filter_map(|(_, series)| SeriesKey::new(series).ok()).collect();
            let (mut entries, missing) = self.look_up(series).await?;
            self.remove_missing(missing).await?;
            entries.sort_unstable_by(|one, other| one.key.cmp(&other.key));
            for (part, series) in page {
                let at = entries.binary_search_by(|entry| entry.key.as_str().cmp(&series));
                let entry = at.ok().and_then(|at| entries.get(at));
                let is_current = entry.is_some_and(|entry| has(&entry.labels, &part)) || parts.len() >= EXACT;
                if is_current || self.is_used(&format!("{prefix}{part}\0"), |labels| has(labels, &part)).await? {
                    parts.push(part);
                }
                if parts.len() >= limit {
                    return Ok(parts);
                }
            }
            if is_last {
                return Ok(parts);
            }
        }
    }

    /// Whether an existing series has one of the postings with a prefix. Removes the postings of series that do not.
    async fn is_used(&self, prefix: &str, has: impl Fn(&Labels) -> bool) -> Result<bool, RedisFault> {
        let high = [b"(", prefix.as_bytes(), b"\xff"].concat();
        let mut low = format!("[{prefix}");
        loop {
            let mut read = redis::cmd("ZRANGEBYLEX");
            read.arg(&self.keys.postings).arg(&low).arg(&high).arg("LIMIT").arg(0).arg(PAGE);
            let members: Vec<String> = self.redis.query(&read, Effect::Read).await?;
            let Some(last) = members.last() else { return Ok(false) };
            low = format!("({last}");
            let series = members.iter().filter_map(|member| SeriesKey::new(member.rsplit('\0').next()?).ok());
            let (found, missing) = self.look_up(series.collect()).await?;
            self.remove_missing(missing).await?;
            let (current, outdated): (Vec<SeriesEntry>, Vec<SeriesEntry>) =
                found.into_iter().partition(|entry| has(&entry.labels));
            self.register(outdated.into_iter().map(|entry| entry.key).collect()).await?;
            if !current.is_empty() {
                return Ok(true);
            }
        }
    }
}
