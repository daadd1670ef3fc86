//! Summaries of a host's samples by hour and by day, from rollups where they are up to date and from samples otherwise.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use serde::{Deserialize, Deserializer, Serialize, de};
use utoipa::ToSchema;

use super::super::error::HostsError;
use super::super::fields::FIELDS;
use super::super::ingest::memory::Host;
use super::super::model::HostId;
use super::super::service::{Found, HostService};
use super::super::store::chunk::{DAY, HOUR};
use super::super::store::rollup::{Rollup, Summary};
use super::super::tenancy::AccessScope;
use super::range::invalid_start;
use crate::clock::UnixMillis;
use crate::http::times::QueryTime;
use crate::redis::{Effect, RedisFault};

/// Buckets of one response: three months of hours.
const MAX_BUCKETS: i64 = 2_232;

/// The length of a bucket; hours and days are those of UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[schema(as = HostSummaryBucketLength)]
pub(in super::super) enum Bucket {
    #[default]
    #[serde(rename = "1h")]
    Hour,
    #[serde(rename = "1d")]
    Day,
}

impl Bucket {
    /// Milliseconds.
    const fn length(self) -> i64 {
        match self {
            Self::Hour => HOUR,
            Self::Day => DAY,
        }
    }

    /// The first millisecond of the bucket.
    const fn start_of(self, timestamp: UnixMillis) -> UnixMillis {
        timestamp - timestamp.rem_euclid(self.length())
    }

    /// The length of the window if no start is given, milliseconds.
    const fn default_span(self) -> i64 {
        match self {
            Self::Hour => DAY,
            Self::Day => 30 * DAY,
        }
    }
}

/// Indexes of fields, parsed from names: `cpu.usage`, or `cpu` for all fields below it.
#[derive(Clone, Debug)]
pub(in super::super) struct FieldList(BTreeSet<usize>);

impl Default for FieldList {
    fn default() -> Self {
        Self((0..FIELDS.len()).collect())
    }
}

impl<'de> Deserialize<'de> for FieldList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut places = BTreeSet::new();
        for name in String::deserialize(deserializer)?.split(',') {
            let is_meant =
                |field: &str| field.strip_prefix(name).is_some_and(|rest| matches!(rest.as_bytes(), [] | [b'.', ..]));
            let mut meant = (0..).zip(FIELDS).filter(|(_, field)| is_meant(field.name)).map(|(at, _)| at).peekable();
            if meant.peek().is_none() {
                let rule = format!("must be names of fields, such as `cpu` or `memory.used`, got `{name}`");
                return Err(de::Error::custom(rule));
            }
            places.extend(meant);
        }
        Ok(Self(places))
    }
}

/// The samples of one hour or one day.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = HostSummaryBucket)]
pub(in super::super) struct SummaryBucket {
    /// Its first millisecond, Unix.
    pub start: UnixMillis,
    /// The number of samples.
    #[schema(example = 720)]
    pub count: u32,
    /// The summary of each field.
    #[schema(value_type = BTreeMap<String, Summary>)]
    pub fields: BTreeMap<&'static str, Summary>,
}

/// Summaries of a host's samples by hour or by day.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = HostSummary)]
pub(in super::super) struct SummaryAnswer {
    #[schema(value_type = String, example = "web-1")]
    pub host: HostId,
    pub bucket: Bucket,
    /// Oldest first; buckets without samples are left out.
    pub buckets: Vec<SummaryBucket>,
}

impl HostService {
    /// Summarizes every bucket that overlaps the window, always over all samples of the bucket.
    ///
    /// # Errors
    /// [`HostsError::Query`] for a window that is empty or has too many buckets, [`HostsError::NotFound`],
    /// [`HostsError::Redis`].
    pub(in super::super) async fn summary(
        &self,
        scope: &AccessScope,
        id: &HostId,
        bucket: Bucket,
        start: Option<QueryTime>,
        end: Option<QueryTime>,
        fields: &FieldList,
    ) -> Result<SummaryAnswer, HostsError> {
        let (from, to) = self.window(start, end, bucket.default_span())?;
        let (first, last) = (bucket.start_of(from), bucket.start_of(to));
        let count = (last - first) / bucket.length() + 1;
        if count > MAX_BUCKETS {
            return Err(invalid_start(format!("must select at most {MAX_BUCKETS} buckets, got {count}")));
        }
        let Found { id, host } = self.host_for_reading(scope, id).await?;
        let rollups = self.rollups(host.as_deref(), &id, bucket, &[first..=last]).await?;
        let shape = |rollup: &Rollup| {
            let fields = fields.0.iter().filter_map(|&at| Some((FIELDS.get(at)?.name, *rollup.fields.get(at)?)));
            SummaryBucket { start: rollup.start, count: rollup.count, fields: fields.collect() }
        };
        Ok(SummaryAnswer { host: id, bucket, buckets: rollups.values().map(shape).collect() })
    }

    /// The rollups of the buckets that start in one of the windows, by start. Missing and outdated ones are computed from
    /// samples.
    ///
    /// # Errors
    /// [`HostsError::Redis`], [`HostsError::Unreadable`].
    pub(in super::super) async fn rollups(
        &self,
        host: Option<&Host>,
        id: &HostId,
        bucket: Bucket,
        windows: &[RangeInclusive<UnixMillis>],
    ) -> Result<BTreeMap<UnixMillis, Rollup>, HostsError> {
        let keys = self.keys.history(id);
        // In the order in which samples move, from memory to rollups, so that none is missed.
        let waiting = host.map(|host| host.unsettled(u64::MAX)).unwrap_or_default();
        let mut open: BTreeSet<UnixMillis> = waiting.iter().map(|sample| bucket.start_of(sample.timestamp)).collect();
        open.extend(self.marks(&keys.hours).await?.keys().map(|&hour| bucket.start_of(hour)));
        let kept = match bucket {
            Bucket::Hour => &keys.hourly,
            Bucket::Day => {
                open.extend(self.marks(&keys.days).await?.keys());
                &keys.daily
            }
        };
        let command = |window: &RangeInclusive<UnixMillis>| {
            let mut read = redis::cmd("ZRANGEBYSCORE");
            read.arg(kept).arg(*window.start()).arg(*window.end());
            read
        };
        let commands: Vec<_> = windows.iter().map(command).collect();
        let mut rollups = BTreeMap::new();
        for answer in self.redis.query_all(&commands, Effect::Read).await? {
            let bad_reply = |error| RedisFault::bad_reply(error, Effect::Read);
            for bytes in redis::from_redis_value::<Vec<Vec<u8>>>(answer?).map_err(bad_reply)? {
                let rollup = Rollup::decode(&bytes).map_err(HostsError::unreadable(id))?;
                rollups.insert(rollup.start, rollup);
            }
        }
        for start in open.into_iter().filter(|start| windows.iter().any(|window| window.contains(start))) {
            let Some(computed) = self.compute_rollup(host, id, start, bucket.length()).await? else { continue };
            // If some of the samples were trimmed, the stored rollup has more of them.
            if rollups.get(&start).is_none_or(|kept| kept.count <= computed.count) {
                rollups.insert(start, computed);
            }
        }
        Ok(rollups)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_named_alone_or_by_their_part() {
        let parse = |text: &str| {
            let deserializer = de::value::StrDeserializer::<de::value::Error>::new(text);
            FieldList::deserialize(deserializer)
                .map(|list| list.0.iter().filter_map(|&at| FIELDS.get(at)).map(|field| field.name).collect::<Vec<_>>())
        };
        assert_eq!(parse("memory.used,cpu.usage,memory.used"), Ok(vec!["cpu.usage", "memory.used"]));
        assert_eq!(parse("network").map(|fields| fields.len()), Ok(4));
        assert_eq!(parse("cpu.loadAvg").map(|fields| fields.len()), Ok(3));
        for bad in ["", "cpu,", "cp", "cpu.", "gpu", "cpu usage"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
