//! The bodies and answers of the routes for rollups.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};

use super::super::aggregate::Aggregation;
use super::super::model::{Retention, Timestamp, present};
use crate::clock::UnixMillis;

/// A rollup to add.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"bucket": "1d", "agg": "sum", "tz": "Asia/Bangkok"}))]
#[schema(as = SeriesRollupInput)]
pub struct NewRollup {
    /// The length of a bucket, as in `GET /timeseries/{key}/range`.
    #[schema(pattern = "^[1-9][0-9]{0,8}(ms|s|m|h)$|^[1-9][0-9]{0,3}(d|w|mo|y)$")]
    pub bucket: String,
    #[schema(schema_with = aggregation_schema)]
    pub agg: Aggregation,
    /// The time zone of days, weeks, months and years; UTC if absent.
    #[serde(default, deserialize_with = "present")]
    #[schema(required = false, value_type = String, example = "Asia/Bangkok", max_length = 64)]
    pub tz: Option<String>,
    /// A time at which a bucket begins, Unix milliseconds. If absent, buckets begin where the calendar does.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = i64, required = false, minimum = 0, maximum = 9_007_199_254_740_991_i64)]
    pub align: Option<Timestamp>,
    /// Milliseconds before the newest sample for which buckets are kept, even if their samples have expired; 0 keeps all. If
    /// absent, buckets are kept as long as the samples.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = u64, required = false, minimum = 0, maximum = 3_155_760_000_000_u64)]
    pub retention_ms: Option<Retention>,
}

/// The aggregations that `manage.rs` accepts.
fn aggregation_schema() -> Schema {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .title(Some("SeriesRollupAggregation"))
        .description(Some("The aggregation of the samples of a bucket: one that depends on these samples only."))
        .enum_values(Some([
            "avg", "sum", "min", "max", "range", "count", "first", "last", "std_p", "std_s", "var_p", "var_s",
        ]))
        .into()
}

/// A rollup.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SeriesRollup)]
pub struct RollupEntry {
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
    /// Null if buckets are kept as long as the samples.
    #[schema(required = true)]
    pub retention_ms: Option<u64>,
    /// Whether all buckets are filled; until then queries compute the others from their samples.
    pub complete: bool,
}
