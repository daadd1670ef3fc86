//! What is said of a host's samples by the hour and by the day: from rollups, and for what is not rolled up from samples.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use serde::{Deserialize, Deserializer, Serialize, de};
use utoipa::ToSchema;

use crate::clock::UnixMillis;
use crate::features::hosts::access_scope::AccessScope;
use crate::features::hosts::error::HostsError;
use crate::features::hosts::fields::FIELDS;
use crate::features::hosts::ingest::memory::Host;
use crate::features::hosts::model::HostId;
use crate::features::hosts::service::{HostService, signed};
use crate::features::hosts::store::chunk::{DAY, HOUR};
use crate::features::hosts::store::history::{Order, distinct};
use crate::features::hosts::store::rollup::{Collector, Rollup, Summary};
use crate::http::times::QueryTime;
use crate::redis::{Effect, RedisFault};

/// Buckets of one answer: three months of hours.
const MAX_BUCKETS: i64 = 2_232;

/// How long a bucket is, in UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[schema(as = HostSummaryBucketLength)]
pub(in crate::features::hosts) enum Bucket {
    #[default]
    #[serde(rename = "1h")]
    Hour,
    #[serde(rename = "1d")]
    Day,
}

impl Bucket {
    /// Milliseconds.
    pub(in crate::features::hosts) const fn length(self) -> i64 {
        match self {
            Self::Hour => HOUR,
            Self::Day => DAY,
        }
    }

    /// The first millisecond of the bucket.
    const fn start_of(self, timestamp: UnixMillis) -> UnixMillis {
        timestamp - timestamp.rem_euclid(self.length())
    }

    /// The window when its beginning is not given, milliseconds.
    const fn default_span(self) -> i64 {
        match self {
            Self::Hour => DAY,
            Self::Day => 30 * DAY,
        }
    }
}

/// Fields by name: `cpu.usage`, or `cpu` for all below it.
#[derive(Clone, Debug)]
pub(in crate::features::hosts) struct FieldList(BTreeSet<usize>);

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
            let meant = (0..).zip(FIELDS).filter(|(_, field)| is_meant(field.name)).map(|(at, _)| at);
            let meant: Vec<usize> = meant.collect();
            if meant.is_empty() {
                return Err(de::Error::custom(format!(
                    "`{name}` is no field: write `cpu`, `memory.used` and the like"
                )));
            }
            places.extend(meant);
        }
        Ok(Self(places))
    }
}

/// What is asked for.
#[derive(Clone, Debug)]
pub(in crate::features::hosts) struct SummaryRequest {
    pub bucket: Bucket,
    pub start: Option<QueryTime>,
    pub end: Option<QueryTime>,
    pub fields: FieldList,
}

/// The samples of one hour or one day.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = HostSummaryBucket)]
pub(in crate::features::hosts) struct SummaryBucket {
    /// Its first millisecond, Unix.
    #[schema(example = 1_767_225_600_000_u64)]
    pub start: UnixMillis,
    /// How many samples it has.
    #[schema(example = 720)]
    pub count: u32,
    /// By field.
    #[schema(value_type = BTreeMap<String, Summary>)]
    pub fields: BTreeMap<&'static str, Summary>,
}

/// A host's samples by the hour or by the day.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = HostSummary)]
pub(in crate::features::hosts) struct SummaryAnswer {
    #[schema(value_type = String, example = "web-1")]
    pub host: HostId,
    pub bucket: Bucket,
    /// Oldest first; those without samples are left out.
    pub buckets: Vec<SummaryBucket>,
}

impl HostService {
    /// The buckets that the window touches, each of all its samples.
    ///
    /// # Errors
    /// [`HostsError::Query`] for a window that is none or has too many buckets, [`HostsError::NotFound`],
    /// [`HostsError::Redis`].
    pub(in crate::features::hosts) async fn summary(
        &self,
        scope: &AccessScope,
        id: &HostId,
        request: SummaryRequest,
    ) -> Result<SummaryAnswer, HostsError> {
        let SummaryRequest { bucket, start, end, fields } = request;
        let now = self.clock.now();
        let to = end.map_or(now + signed(self.config.max_ahead.as_millis()), |end| end.resolve(now));
        let from = start.map_or((to.min(now) - bucket.default_span()).max(0), |start| start.resolve(now));
        let refuse = |name, rule: String| Err(HostsError::Query { name, rule });
        if from > to {
            return refuse("startTime", "must not be after endTime".to_owned());
        }
        let (first, last) = (bucket.start_of(from), bucket.start_of(to));
        let count = (last - first) / bucket.length() + 1;
        if count > MAX_BUCKETS {
            return refuse("startTime", format!("makes {count} buckets; at most {MAX_BUCKETS} are answered"));
        }
        let host = self.host_of_reader(scope, id).await?;
        let rollups = self.rollups(host.as_deref(), id, bucket, &[first..=last]).await?;
        let named = |rollup: &Rollup| {
            let field = |(at, name): (usize, &'static str)| Some((name, *rollup.field(at)?));
            let wanted = (0..).zip(FIELDS).filter(|(at, _)| fields.0.contains(at));
            wanted.map(|(at, meant)| (at, meant.name)).filter_map(field).collect()
        };
        let shape = |rollup: &Rollup| SummaryBucket { start: rollup.start, count: rollup.count, fields: named(rollup) };
        Ok(SummaryAnswer { host: id.clone(), bucket, buckets: rollups.values().map(shape).collect() })
    }

    /// The rollups of buckets that begin in one of the windows, by their start; what is not rolled up is reckoned from samples.
    ///
    /// # Errors
    /// [`HostsError::Redis`], [`HostsError::Unreadable`].
    pub(in crate::features::hosts) async fn rollups(
        &self,
        host: Option<&Host>,
        id: &HostId,
        bucket: Bucket,
        windows: &[RangeInclusive<UnixMillis>],
    ) -> Result<BTreeMap<UnixMillis, Rollup>, HostsError> {
        let keys = self.keys.history(id);
        // In the order in which samples travel: whatever moves on meanwhile is met again further down.
        let waiting = host.map(Host::waiting).unwrap_or_default();
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
                let unreadable = |cause| HostsError::Unreadable { id: id.clone(), cause };
                let rollup = Rollup::decode(&bytes).map_err(unreadable)?;
                rollups.insert(rollup.start, rollup);
            }
        }
        for start in open.into_iter().filter(|start| windows.iter().any(|window| window.contains(start))) {
            let Some(reckoned) = self.reckon(host, id, bucket, start).await? else { continue };
            // Of a bucket whose samples are trimmed, the rollup knows more.
            if rollups.get(&start).is_none_or(|kept| kept.count <= reckoned.count) {
                rollups.insert(start, reckoned);
            }
        }
        Ok(rollups)
    }

    /// What samples in memory and in Redis say of a bucket.
    async fn reckon(
        &self,
        host: Option<&Host>,
        id: &HostId,
        bucket: Bucket,
        start: UnixMillis,
    ) -> Result<Option<Rollup>, HostsError> {
        let mut collector = Collector::new();
        for hour in 0..bucket.length() / HOUR {
            let begin = start + hour * HOUR;
            let window = begin..=begin + HOUR - 1;
            let in_memory = host.map(|host| host.window(*window.start(), *window.end())).unwrap_or_default();
            let mut samples = self.history.read(id, window, Order::Ascending, usize::MAX).await?;
            samples.extend(in_memory.iter().map(|sample| **sample));
            distinct(&mut samples);
            collector.add(samples.iter());
        }
        Ok(collector.finish(start).await)
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
