//! Rollups as they travel.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::super::aggregate::Aggregation;
use super::super::model::{Retention, Timestamp, present};
use crate::clock::UnixMillis;

/// A rollup to be.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"bucket": "1d", "agg": "sum", "tz": "Asia/Bangkok"}))]
pub(in crate::features::timeseries) struct NewRollup {
    /// The length of a bucket, as that of a range.
    #[schema(pattern = "^[1-9][0-9]{0,8}(ms|s|m|h)$|^[1-9][0-9]{0,3}(d|w|mo|y)$")]
    pub bucket: String,
    #[schema(inline, value_type = RollupAggregation)]
    pub agg: Aggregation,
    /// The zone of days, weeks, months and years; UTC when absent.
    #[serde(default, deserialize_with = "present")]
    #[schema(required = false, value_type = String, example = "Asia/Bangkok", max_length = 64)]
    pub tz: Option<String>,
    /// A time at which a bucket begins, Unix milliseconds; where people begin them when absent.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = i64, required = false, minimum = 0, maximum = 9_007_199_254_740_991_i64)]
    pub align: Option<Timestamp>,
    /// Milliseconds behind the newest sample that buckets are kept, also when their samples have expired; 0 keeps all.
    /// Absent: as long as the samples.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = u64, required = false, minimum = 0, maximum = 3_155_760_000_000_u64)]
    pub retention_ms: Option<Retention>,
}

/// What the samples of a bucket become: one of the aggregations that depend on them alone.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "the document's form of what manage.rs accepts")]
pub(in crate::features::timeseries) enum RollupAggregation {
    Avg,
    Sum,
    Min,
    Max,
    Range,
    Count,
    First,
    Last,
    StdP,
    StdS,
    VarP,
    VarS,
}

/// A rollup.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Rollup)]
pub(in crate::features::timeseries) struct RollupEntry {
    #[schema(example = "sum:1d:Asia.Bangkok")]
    pub id: String,
    #[schema(example = "1d")]
    pub bucket: String,
    #[schema(example = "sum")]
    pub agg: String,
    #[schema(required = true, example = "Asia/Bangkok")]
    pub tz: Option<String>,
    #[schema(required = true, value_type = Option<i64>)]
    pub align: Option<UnixMillis>,
    /// Null: as long as the samples.
    #[schema(required = true)]
    pub retention_ms: Option<u64>,
    /// Whether it holds all buckets that it should; until then the others are computed from their samples.
    pub complete: bool,
}
