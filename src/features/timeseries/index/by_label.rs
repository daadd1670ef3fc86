//! Finding series by their labels.

use std::collections::BTreeSet;

use redis::Cmd;

use super::super::model::SeriesEntry;
use super::super::query::LabelFilter;
use super::super::series::SeriesKey;
use super::SeriesIndex;
use crate::http::reply::Page;
use crate::redis::{Effect, RedisFault};

/// The most series that one page examines, so that a condition that few of them meet does not keep Redis busy.
const MAX_EXAMINED: usize = 10_000;

impl SeriesIndex {
    /// Reads a page of the series with the given labels whose keys start with `prefix`, in byte order.
    ///
    /// A page may be short even if another page follows.
    ///
    /// # Errors
    /// [`RedisFault`].
    pub async fn page_by_label(
        &self,
        filter: &LabelFilter,
        prefix: &str,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<SeriesEntry>, RedisFault> {
        let Some((label, values)) = self.rarest(filter).await? else {
            return Ok(Page { items: Vec::new(), next_cursor: None });
        };
        let mut items = Vec::new();
        let mut next_cursor = cursor.map(str::to_owned);
        let mut examined = 0;
        loop {
            let wanted = limit - items.len();
            let mut names = self.names(label, values, prefix, next_cursor.as_deref(), wanted + 1).await?;
            let is_last = names.len() <= wanted;
            names.truncate(wanted);
            examined += names.len();
            next_cursor = names.last().cloned();
            let series = names.iter().filter_map(|name| SeriesKey::new(name).ok()).collect();
            let (found, missing) = self.look_up(series).await?;
            self.remove_missing(missing).await?;
            let (matching, others): (Vec<_>, Vec<_>) =
                found.into_iter().partition(|entry| filter.matches(&entry.labels));
            items.extend(matching);
            self.register_again(label, values, others).await?;
            if is_last {
                return Ok(Page { items, next_cursor: None });
            }
            if items.len() >= limit || examined >= MAX_EXAMINED {
                return Ok(Page { items, next_cursor });
            }
        }
    }

    /// The condition that the fewest series meet; `None` if no series meets one of them.
    async fn rarest<'a>(&self, filter: &'a LabelFilter) -> Result<Option<(&'a str, &'a [String])>, RedisFault> {
        let mut rarest = None;
        for (label, values) in filter.named() {
            let total = self.count(label, values).await?;
            if total == 0 {
                return Ok(None);
            }
            if rarest.is_none_or(|(least, _)| total < least) {
                rarest = Some((total, (label, values)));
            }
        }
        Ok(rarest.map(|(_, condition)| condition))
    }

    /// How many series the index has under these values of a label.
    ///
    /// # Errors
    /// [`RedisFault`].
    pub async fn count(&self, label: &str, values: &[String]) -> Result<u64, RedisFault> {
        let count = |value: &String| {
            let (low, high) = bounds(label, value, "", None);
            redis::cmd("ZLEXCOUNT").arg(&self.keys.postings).arg(low).arg(high).to_owned()
        };
        let commands: Vec<Cmd> = values.iter().map(count).collect();
        let mut total = 0_u64;
        if !commands.is_empty() {
            for count in self.redis.query_all(&commands, Effect::Read).await? {
                let count: u64 =
                    redis::from_redis_value(count?).map_err(|error| RedisFault::bad_reply(error, Effect::Read))?;
                total = total.saturating_add(count);
            }
        }
        Ok(total)
    }

    /// The first names after the cursor whose label has one of the values, in byte order.
    async fn names(
        &self,
        label: &str,
        values: &[String],
        prefix: &str,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>, RedisFault> {
        let range = |value: &String| {
            let (low, high) = bounds(label, value, prefix, cursor);
            let mut command = redis::cmd("ZRANGEBYLEX");
            command.arg(&self.keys.postings).arg(low).arg(high).arg("LIMIT").arg(0).arg(limit);
            command
        };
        let commands: Vec<Cmd> = values.iter().map(range).collect();
        // A set, since the filter may repeat a value.
        let mut names = BTreeSet::new();
        for found in self.redis.query_all(&commands, Effect::Read).await? {
            let members: Vec<String> =
                redis::from_redis_value(found?).map_err(|error| RedisFault::bad_reply(error, Effect::Read))?;
            names.extend(members.iter().filter_map(|member| member.rsplit('\0').next().map(str::to_owned)));
        }
        Ok(names.into_iter().take(limit).collect())
    }

    /// Registers the series that the index has under a value that they no longer have.
    async fn register_again(
        &self,
        label: &str,
        values: &[String],
        entries: Vec<SeriesEntry>,
    ) -> Result<(), RedisFault> {
        let outdated = entries.into_iter().filter(|entry| {
            let value = entry.labels.get(label);
            value.is_none_or(|value| values.iter().all(|known| known != value))
        });
        self.register(outdated.map(|entry| entry.key).collect()).await
    }
}

/// The bounds of the postings of a label's value, after a cursor.
fn bounds(label: &str, value: &str, prefix: &str, cursor: Option<&str>) -> (Vec<u8>, Vec<u8>) {
    let posting = |open: &str, series: &str, end: &[u8]| {
        [open.as_bytes(), label.as_bytes(), b"\0", value.as_bytes(), b"\0", series.as_bytes(), end].concat()
    };
    let low = match cursor {
        Some(cursor) if cursor >= prefix => posting("(", cursor, b""),
        _ => posting("[", prefix, b""),
    };
    // UTF-8 never has this byte, so the bound is after every name with the prefix.
    (low, posting("(", prefix, b"\xff"))
}
