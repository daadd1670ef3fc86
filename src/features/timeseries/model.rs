//! The bodies and answers of the routes for series and samples.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, Serialize, de};
use utoipa::ToSchema;
use utoipa::openapi::schema::{ObjectBuilder, Schema, SchemaType, Type};

use super::series::{Definition, Description, DuplicatePolicy, Labels, MAX_RETENTION_MS, MAX_TIMESTAMP, SeriesKey};
use crate::clock::UnixMillis;
use crate::http::batch_item::BatchItem;
use crate::http::{integer, times};
use crate::redis::Backend;

/// A timestamp in a body: from 0 to 2^53 - 1 Unix milliseconds, as an integer or as RFC 3339 text.
/// A larger number, usually nanoseconds, becomes the largest: a sample with it is refused as too far ahead of the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Timestamp(pub UnixMillis);

impl Timestamp {
    /// # Errors
    /// The rule, if the number is out of range.
    pub(super) fn new(ms: i64) -> Result<Self, String> {
        if (0..=MAX_TIMESTAMP).contains(&ms) {
            return Ok(Self(ms));
        }
        Err(format!("must be a timestamp from 0 to {MAX_TIMESTAMP} Unix milliseconds, got {ms}"))
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        times::millis_or_rfc3339(deserializer)
            .and_then(|ms| Self::new(ms.min(MAX_TIMESTAMP)).map_err(de::Error::custom))
    }
}

/// A retention in a body: milliseconds; 0 keeps all samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Retention(pub u64);

impl<'de> Deserialize<'de> for Retention {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let ms = integer::unsigned(deserializer)?;
        if ms > MAX_RETENTION_MS {
            return Err(de::Error::custom(format!("must be at most {MAX_RETENTION_MS} ms (100 years), got {ms}")));
        }
        Ok(Self(ms))
    }
}

fn labels_schema() -> Schema {
    let name = ObjectBuilder::new()
        .schema_type(Type::String)
        .pattern(Some(Labels::NAME_PATTERN))
        .max_length(Some(Labels::MAX_NAME));
    let value = ObjectBuilder::new()
        .schema_type(Type::String)
        .pattern(Some(Labels::VALUE_PATTERN))
        .max_length(Some(Labels::MAX_VALUE));
    ObjectBuilder::new()
        .schema_type(SchemaType::Type(Type::Object))
        .property_names(Some(name))
        .additional_properties(Some(value))
        .max_properties(Some(Labels::MAX_COUNT))
        .description(Some("Names and values by which the series can be found."))
        .into()
}

/// The definition of a new series. Absent fields have the values of its family or of the configuration.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SeriesCreation, example = json!({"retention_ms": 7_776_000_000_u64, "duplicate_policy": "last",
                                              "labels": {"zone": "1"}}))]
pub(super) struct Creation {
    /// Milliseconds before the newest sample, or before the clock if that is earlier, for which samples are kept; 0 keeps all.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = u64, required = false, minimum = 0, maximum = 3_155_760_000_000_u64, example = 7_776_000_000_u64)]
    pub retention_ms: Option<Retention>,
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = DuplicatePolicy, required = false)]
    pub duplicate_policy: Option<DuplicatePolicy>,
    #[serde(default, deserialize_with = "present")]
    #[schema(schema_with = labels_schema, required = false)]
    pub labels: Option<Labels>,
}

/// Changes of a definition. Absent fields do not change.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SeriesAlteration, example = json!({"labels": {"zone": "2"}}))]
pub(super) struct Alteration {
    /// Milliseconds before the newest sample, or before the clock if that is earlier, for which samples are kept; 0 keeps all.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = u64, required = false, minimum = 0, maximum = 3_155_760_000_000_u64, example = 7_776_000_000_u64)]
    pub retention_ms: Option<Retention>,
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = DuplicatePolicy, required = false)]
    pub duplicate_policy: Option<DuplicatePolicy>,
    #[serde(default, deserialize_with = "present")]
    #[schema(schema_with = labels_schema, required = false)]
    pub labels: Option<Labels>,
}

/// A field that may be absent but not null.
pub(super) fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// A series.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Series)]
pub(super) struct SeriesView {
    #[schema(value_type = String)]
    pub key: SeriesKey,
    /// Milliseconds before the newest sample, or before the clock if that is earlier, for which samples are kept; 0 keeps all.
    pub retention_ms: u64,
    pub duplicate_policy: DuplicatePolicy,
    #[schema(schema_with = labels_schema)]
    pub labels: Labels,
    /// Unix milliseconds.
    #[schema(value_type = i64)]
    pub created: UnixMillis,
    /// Samples within retention.
    pub count: u64,
    /// The oldest timestamp within retention; null if the series has no samples.
    #[schema(value_type = Option<i64>, required = true)]
    pub first_timestamp: Option<UnixMillis>,
    #[schema(value_type = Option<i64>, required = true)]
    pub last_timestamp: Option<UnixMillis>,
    /// The number of chunks that hold the samples.
    pub chunks: u64,
    /// The size of samples and chunks, without the overhead of Redis.
    pub bytes: u64,
    /// The storage backend: `native` or `module`.
    #[schema(example = "native")]
    pub backend: &'static str,
}

impl SeriesView {
    pub(super) fn new(key: SeriesKey, backend: Backend, description: Description) -> Self {
        let Description { definition: Definition { retention_ms, duplicate_policy, labels }, .. } = description;
        Self {
            key,
            retention_ms,
            duplicate_policy,
            labels,
            created: description.created,
            count: description.count,
            first_timestamp: description.ends.map(|(first, _)| first),
            last_timestamp: description.ends.map(|(_, last)| last),
            chunks: description.chunks,
            bytes: description.bytes,
            backend: backend.name(),
        }
    }
}

/// A series in a list.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SeriesEntry {
    #[schema(value_type = String)]
    pub key: SeriesKey,
    pub retention_ms: u64,
    pub duplicate_policy: DuplicatePolicy,
    #[schema(schema_with = labels_schema)]
    pub labels: Labels,
    /// Whether the series has rollups; it is not part of the response.
    #[serde(skip)]
    #[schema(ignore)]
    pub has_rollups: bool,
}

/// A sample to append.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SeriesSampleInput)]
pub(super) struct NewSample {
    /// Unix milliseconds, or text in RFC 3339; the current time of the service if absent.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = i64, required = false, minimum = 0, maximum = 9_007_199_254_740_991_i64)]
    pub timestamp: Option<Timestamp>,
    #[serde(deserialize_with = "integer::float")]
    #[schema(example = 0.392)]
    pub value: f64,
}

/// Samples of one series.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SeriesSamplesInput, example = json!({"samples": [{"value": 0.392}]}))]
pub(super) struct NewSamples {
    #[schema(value_type = Vec<NewSample>, min_items = 1, max_items = 10_000)]
    pub samples: Vec<BatchItem<NewSample>>,
    /// The policy for timestamps that the series already has, instead of its own policy.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = DuplicatePolicy, required = false)]
    pub on_duplicate: Option<DuplicatePolicy>,
}

/// A sample to append, with its series.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ManySeriesSampleInput)]
pub(super) struct NewSeriesSample {
    #[schema(example = "energy:consumption:MTR-001")]
    pub series: String,
    /// Unix milliseconds, or text in RFC 3339; the current time of the service if absent.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = i64, required = false, minimum = 0, maximum = 9_007_199_254_740_991_i64)]
    pub timestamp: Option<Timestamp>,
    #[serde(deserialize_with = "integer::float")]
    #[schema(example = 0.392)]
    pub value: f64,
}

/// Samples of several series.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ManySeriesSamplesInput,
         example = json!({"samples": [{"series": "energy:consumption:MTR-002", "value": 0.392}]}))]
pub(super) struct NewSeriesSamples {
    #[schema(value_type = Vec<NewSeriesSample>)]
    pub samples: Vec<BatchItem<NewSeriesSample>>,
}

/// One JSON object per line, like the items of `samples` in the JSON body.
#[derive(ToSchema)]
#[schema(value_type = String,
         example = "{\"series\":\"energy:consumption:MTR-002\",\"value\":0.392}\n{\"series\":\"energy:consumption:MTR-003\",\"value\":0.578}\n")]
#[expect(dead_code, reason = "described here, read line by line by ingest/row.rs")]
#[schema(as = SeriesNdjsonSamples)]
pub(super) struct NdjsonSamples(String);

/// A header line that names the columns, then one comma-separated line per sample.
#[derive(ToSchema)]
#[schema(value_type = String, example = "series,value\nenergy:consumption:MTR-002,0.392\n",
         pattern = "^(series,timestamp,value|series,value,timestamp|timestamp,series,value|timestamp,value,series|value,series,timestamp|value,timestamp,series|series,value|value,series)(\r?\n|$)")]
#[expect(dead_code, reason = "described here, read line by line by ingest/row.rs")]
#[schema(as = SeriesCsvSamples)]
pub(super) struct CsvSamples(String);

/// One line per point: `measurement,tag=value field=number,field=number timestamp`. Tags and timestamp are optional.
#[derive(ToSchema)]
#[schema(value_type = String, example = "power,meter=MTR-001,zone=1 import=0.392,export=0\n")]
#[expect(dead_code, reason = "described here, read line by line by ingest/influx.rs")]
#[schema(as = InfluxLines)]
pub(super) struct LineProtocol(String);

/// Why a sample was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
#[schema(as = SeriesRefusalCode)]
pub(super) enum RefusalCode {
    /// The sample is older than the retention, counted back from the newest sample or from the clock, if that is earlier.
    SampleTooOld,
    /// The sample is further ahead of the clock than `max_ahead` allows.
    SampleTooNew,
    /// The timestamp is before 2000, which the family of the series does not allow.
    WrongTimeUnit,
    /// The policy is `block`, and the series has another value at this timestamp.
    DuplicateSample,
    /// The policy is `sum`, and the sum of both values is not a finite number.
    SumOutOfRange,
    /// The series does not exist, and a sample does not create it.
    SeriesNotFound,
    /// The key holds something other than a time series.
    WrongType,
    /// The series has seen a newer fencing token.
    StaleFence,
    /// The scope of the credential does not include the series.
    Forbidden,
    /// The item or line is not a valid sample.
    InvalidSample,
    /// The field of the line has text. The other fields of the line are not affected.
    TextField,
}

impl RefusalCode {
    pub(super) const SAME_TIME: &str = "the request has another sample of the series without a timestamp, which this one would replace; send timestamps";

    /// The code in responses.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::SampleTooOld => "sample-too-old",
            Self::SampleTooNew => "sample-too-new",
            Self::WrongTimeUnit => "wrong-time-unit",
            Self::DuplicateSample => "duplicate-sample",
            Self::SumOutOfRange => "sum-out-of-range",
            Self::SeriesNotFound => "series-not-found",
            Self::WrongType => "wrong-type",
            Self::StaleFence => "stale-fence",
            Self::Forbidden => "forbidden",
            Self::InvalidSample => "invalid-sample",
            Self::TextField => "text-field",
        }
    }

    pub(super) const fn detail(self) -> &'static str {
        match self {
            Self::SampleTooOld => {
                "the sample is older than the retention, counted back from the newest sample or from the clock, if that is earlier"
            }
            Self::SampleTooNew => {
                "the timestamp is further ahead of the clock than `max_ahead` allows; its unit must be milliseconds, not microseconds or nanoseconds"
            }
            Self::WrongTimeUnit => {
                "the timestamp is before 2000, which the family does not allow; its unit must be milliseconds, not seconds"
            }
            Self::DuplicateSample => "the series has another value at this timestamp",
            Self::SumOutOfRange => "the sum with the existing value at this timestamp is out of range",
            Self::SeriesNotFound => "the series does not exist, and a sample does not create it",
            Self::WrongType => "the key holds something other than a time series",
            Self::StaleFence => "the series has seen a newer fencing token: another client has held the lock since",
            Self::Forbidden => "the scope of the credential does not include the series",
            Self::InvalidSample => "the sample is not valid",
            Self::TextField => "the field has text; only numbers and booleans are stored",
        }
    }
}

/// A refused sample of one series.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SeriesSampleRefusal)]
pub(super) struct SampleRefusal {
    /// Its position in `samples`, from 0.
    pub index: usize,
    /// Absent if the sample is not valid.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<i64>)]
    pub timestamp: Option<UnixMillis>,
    pub code: RefusalCode,
    #[schema(value_type = String)]
    pub detail: Cow<'static, str>,
}

/// The result of appending samples to one series.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SeriesSamplesAnswer)]
pub(super) struct SamplesAnswer {
    /// Samples that were stored, or for which the duplicate policy of the series kept the existing value. Later samples of the
    /// same request may have moved some of them past the retention.
    pub accepted: usize,
    /// The accepted samples that changed the series; the others already existed.
    pub stored: usize,
    pub refused: Vec<SampleRefusal>,
}

/// A refused line of a stream.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SeriesStreamRefusal)]
pub(super) struct StreamRefusal {
    /// The line of the body, from 1; for a JSON body the position in `samples`, from 1.
    pub line: u64,
    /// Absent if the line is not valid.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    pub series: Option<SeriesKey>,
    pub code: RefusalCode,
    pub detail: String,
}

/// The result of appending a stream of samples.
#[derive(Debug, Default, Serialize, ToSchema)]
#[schema(as = SeriesStreamAnswer)]
pub(super) struct StreamAnswer {
    /// Samples that were stored, or for which the duplicate policies of their series kept the existing value. Later samples of
    /// the same load may have moved some of them past the retention.
    pub accepted: u64,
    /// The accepted samples that changed their series; the others already existed.
    pub stored: u64,
    pub refused_total: u64,
    /// The first refused samples, at most 1,000.
    pub refused: Vec<StreamRefusal>,
    /// How many of the refused samples are text fields of line protocol.
    #[serde(skip)]
    pub text_fields: u64,
}

impl StreamAnswer {
    /// The most refused samples that a response lists.
    pub(super) const MAX_REFUSALS: usize = 1_000;
}

/// A stored sample.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[schema(as = SeriesSample)]
pub(super) struct SampleView {
    /// Unix milliseconds.
    #[schema(value_type = i64)]
    pub timestamp: UnixMillis,
    pub value: f64,
}

/// The result of deleting samples.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SeriesDeletedSamples)]
pub(super) struct DeletedSamples {
    pub deleted: u64,
}
