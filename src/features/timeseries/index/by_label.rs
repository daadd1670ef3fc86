//! Series by their labels.

use std::collections::BTreeSet;

use redis::Cmd;

use super::super::model::SeriesEntry;
use super::super::query::LabelFilter;
use super::super::series::SeriesKey;
use super::SeriesIndex;
use crate::http::reply::Page;
use crate::redis::{Effect, RedisFault};

/// Series that are looked at for one page at most, so that a condition that few of them meet does not keep Redis busy.
const MOST_LOOKED_AT: usize = 10_000;

impl SeriesIndex {
    /// A page of series with the given labels whose keys start with `prefix`, in byte order.
    ///
    /// A page may be short although another one follows.
    ///
    /// # Errors
    /// [`RedisFault`].
    pub(in crate::features::timeseries) async fn page_by_label(
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
        let mut looked_at = 0;
        loop {
            let wanted = limit - items.len();
            let mut names = self.names(label, values, prefix, next_cursor.as_deref(), wanted + 1).await?;
            let is_last = names.len() <= wanted;
            names.truncate(wanted);
            looked_at += names.len();
            next_cursor = names.last().cloned();
            let series = names.iter().filter_map(|name| SeriesKey::new(name).ok()).collect();
            let (found, gone) = self.look_up(series).await?;
            self.drop_gone(gone).await?;
            let (meant, others): (Vec<_>, Vec<_>) = found.into_iter().partition(|entry| filter.matches(&entry.labels));
            items.extend(meant);
            self.mend(label, values, others).await?;
            if is_last {
                return Ok(Page { items, next_cursor: None });
            }
            if items.len() >= limit || looked_at >= MOST_LOOKED_AT {
                return Ok(Page { items, next_cursor });
            }
        }
    }

    /// The condition that fewest series meet; `None`: one of them is met by none.
    async fn rarest<'a>(&self, filter: &'a LabelFilter) -> Result<Option<(&'a str, &'a [String])>, RedisFault> {
        let mut rarest = None;
        for (label, values) in filter.named() {
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
            if total == 0 {
                return Ok(None);
            }
            if rarest.is_none_or(|(least, _)| total < least) {
                rarest = Some((total, (label, values)));
            }
        }
        Ok(rarest.map(|(_, condition)| condition))
    }

    /// The first names behind the cursor with one of the values, in byte order.
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
        // A value that is named twice has its series once.
        let mut names = BTreeSet::new();
        for found in self.redis.query_all(&commands, Effect::Read).await? {
            let members: Vec<String> =
                redis::from_redis_value(found?).map_err(|error| RedisFault::bad_reply(error, Effect::Read))?;
            names.extend(members.iter().filter_map(|member| member.rsplit('\0').next().map(str::to_owned)));
        }
        Ok(names.into_iter().take(limit).collect())
    }

    /// Puts series under their labels that were found under another one.
    async fn mend(&self, label: &str, values: &[String], entries: Vec<SeriesEntry>) -> Result<(), RedisFault> {
        let astray = entries.into_iter().filter(|entry| {
            let value = entry.labels.get(label);
            value.is_none_or(|value| values.iter().all(|known| known != value))
        });
        self.register(astray.map(|entry| entry.key).collect()).await
    }
}

/// The postings of a label's value, from a cursor on.
fn bounds(label: &str, value: &str, prefix: &str, cursor: Option<&str>) -> (Vec<u8>, Vec<u8>) {
    let posting = |open: &str, series: &str, end: &[u8]| {
        [open.as_bytes(), label.as_bytes(), b"\0", value.as_bytes(), b"\0", series.as_bytes(), end].concat()
    };
    let low = match cursor {
        Some(cursor) if cursor >= prefix => posting("(", cursor, b""),
        _ => posting("[", prefix, b""),
    };
    // No UTF-8 text has this byte, so it is behind every name with the prefix.
    (low, posting("(", prefix, b"\xff"))
}
