//! What travels: bodies and answers.

use serde::{Deserialize, Deserializer, Serialize, de};
use utoipa::ToSchema;
use utoipa::openapi::schema::{ObjectBuilder, Schema, SchemaType, Type};

use super::description::Description;
use super::refusal::RefusalReason;
use super::series::{Definition, DuplicatePolicy, Labels, MAX_RETENTION_MS, MAX_TIMESTAMP, SeriesKey};
use crate::clock::UnixMillis;
use crate::http::integer;
use crate::redis::Backend;

/// A timestamp of a body: an integer from 0 to 2^53 - 1, Unix milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Timestamp(pub UnixMillis);

impl Timestamp {
    /// # Errors
    /// The rule, when the number is out of range.
    pub(super) fn new(ms: i64) -> Result<Self, String> {
        if (0..=MAX_TIMESTAMP).contains(&ms) {
            return Ok(Self(ms));
        }
        Err(format!("a timestamp is an integer from 0 to {MAX_TIMESTAMP}, Unix milliseconds"))
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        integer::signed(deserializer).and_then(|ms| Self::new(ms).map_err(de::Error::custom))
    }
}

/// A retention of a body: milliseconds, 0 for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Retention(pub u64);

impl<'de> Deserialize<'de> for Retention {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let ms = integer::unsigned(deserializer)?;
        if ms > MAX_RETENTION_MS {
            return Err(de::Error::custom(format!("a retention is at most {MAX_RETENTION_MS} ms, 100 years")));
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

/// The definition of a new series; what is absent comes from its family or the configuration.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SeriesCreation, example = json!({"retention_ms": 7_776_000_000_u64, "duplicate_policy": "last",
                                              "labels": {"zone": "1"}}))]
pub(super) struct Creation {
    /// Milliseconds behind the newest sample that are kept; 0 keeps everything.
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

/// Changes of a definition; what is absent stays.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SeriesAlteration, example = json!({"labels": {"zone": "2"}}))]
pub(super) struct Alteration {
    /// Milliseconds behind the newest sample that are kept; 0 keeps everything.
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
    /// Milliseconds behind the newest sample that are kept; 0 keeps everything.
    pub retention_ms: u64,
    pub duplicate_policy: DuplicatePolicy,
    #[schema(schema_with = labels_schema)]
    pub labels: Labels,
    /// Unix milliseconds.
    #[schema(value_type = i64)]
    pub created: UnixMillis,
    /// Samples within retention.
    pub count: u64,
    /// The oldest sample within retention; null when there is none.
    #[schema(value_type = Option<i64>)]
    pub first_timestamp: Option<UnixMillis>,
    #[schema(value_type = Option<i64>)]
    pub last_timestamp: Option<UnixMillis>,
    /// Stretches of samples that are kept as one piece.
    pub chunks: u64,
    /// Of samples and chunks, without Redis's own overhead.
    pub bytes: u64,
    /// What keeps the series.
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
}

/// A sample of a body.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewSample)]
pub(super) struct NewSample {
    /// Unix milliseconds; the service's time when absent.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = i64, required = false, minimum = 0, maximum = 9_007_199_254_740_991_i64, example = 1_767_225_600_000_i64)]
    pub timestamp: Option<Timestamp>,
    #[schema(example = 0.392)]
    pub value: f64,
}

/// Samples of one series.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewSamples, example = json!({"samples": [{"timestamp": 1_767_225_600_000_u64, "value": 0.392}]}))]
pub(super) struct NewSamples {
    #[schema(min_items = 1, max_items = 10_000)]
    pub samples: Vec<NewSample>,
    /// What happens to samples whose timestamps the series has, instead of its own policy.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = DuplicatePolicy, required = false)]
    pub on_duplicate: Option<DuplicatePolicy>,
}

/// A sample of a body for many series.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewSeriesSample)]
pub(super) struct NewSeriesSample {
    #[schema(example = "energy:consumption:MTR-001")]
    pub series: String,
    /// Unix milliseconds; the service's time when absent.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = i64, required = false, minimum = 0, maximum = 9_007_199_254_740_991_i64, example = 1_767_225_600_000_i64)]
    pub timestamp: Option<Timestamp>,
    #[schema(example = 0.392)]
    pub value: f64,
}

/// Samples of many series.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewSeriesSamples,
         example = json!({"samples": [{"series": "energy:consumption:MTR-001", "timestamp": 1_767_225_600_000_u64, "value": 0.392}]}))]
pub(super) struct NewSeriesSamples {
    pub samples: Vec<NewSeriesSample>,
}

/// One JSON object a line, as in `samples` of the JSON body.
#[derive(ToSchema)]
#[schema(value_type = String,
         example = "{\"series\":\"energy:consumption:MTR-001\",\"timestamp\":1767225600000,\"value\":0.392}\n")]
#[expect(dead_code, reason = "described here, read line by line by ingest/row.rs")]
pub(super) struct NdjsonSamples(String);

/// Comma-separated lines behind a header line that names the columns.
#[derive(ToSchema)]
#[schema(value_type = String, example = "series,timestamp,value\nenergy:consumption:MTR-001,1767225600000,0.392\n",
         pattern = "^(series,timestamp,value|series,value,timestamp|timestamp,series,value|timestamp,value,series|value,series,timestamp|value,timestamp,series|series,value|value,series)(\r?\n|$)")]
#[expect(dead_code, reason = "described here, read line by line by ingest/row.rs")]
pub(super) struct CsvSamples(String);

/// Lines `measurement,tag=value field=number,field=number timestamp`; tags and timestamp may be absent.
#[derive(ToSchema)]
#[schema(value_type = String, example = "power,meter=MTR-001,zone=1 import=0.392,export=0 1767225600000000000\n")]
#[expect(dead_code, reason = "described here, read line by line by ingest/influx.rs")]
pub(super) struct LineProtocol(String);

/// Why a sample was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum RefusalCode {
    /// Older than retention, counted back from the newest sample.
    SampleTooOld,
    /// The timestamp has another value, under the policy `block`.
    DuplicateSample,
    /// The sum of both values is no finite number, under the policy `sum`.
    SumOutOfRange,
    /// There is no such series, and no family that would create it.
    SeriesNotFound,
    /// The key belongs to something that is no series.
    WrongType,
    /// The series has seen a newer fencing token.
    StaleFence,
    /// The line cannot be read.
    InvalidSample,
}

impl RefusalCode {
    pub(super) const fn detail(self) -> &'static str {
        match self {
            Self::SampleTooOld => "older than the retention, counted back from the newest sample",
            Self::DuplicateSample => "the series has another value at this timestamp",
            Self::SumOutOfRange => "the sum with the value at this timestamp is out of range",
            Self::SeriesNotFound => "there is no such series, and no family that would create it",
            Self::WrongType => "the key holds something that is no series",
            Self::StaleFence => "the series has seen a newer fencing token: the lock has had another holder since",
            Self::InvalidSample => "the sample cannot be read",
        }
    }
}

impl From<RefusalReason> for RefusalCode {
    fn from(reason: RefusalReason) -> Self {
        match reason {
            RefusalReason::TooOld => Self::SampleTooOld,
            RefusalReason::Duplicate => Self::DuplicateSample,
            RefusalReason::SumOutOfRange => Self::SumOutOfRange,
        }
    }
}

/// A refused sample of one series.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SampleRefusal {
    /// Its position in `samples`, from 0.
    pub index: usize,
    #[schema(value_type = i64)]
    pub timestamp: UnixMillis,
    pub code: RefusalCode,
    pub detail: &'static str,
}

/// What became of the samples of one series.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SamplesAnswer {
    /// Samples that the series holds now, or that its duplicate policy settled.
    pub accepted: usize,
    /// Those of them that changed the series; the others were there already.
    pub stored: usize,
    pub refused: Vec<SampleRefusal>,
}

/// A refused sample of a stream.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct StreamRefusal {
    /// The line of the body, from 1; with a JSON body the position in `samples`, from 1.
    pub line: u64,
    /// Absent when the line cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    pub series: Option<SeriesKey>,
    pub code: RefusalCode,
    pub detail: String,
}

/// What became of the samples of a stream.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(super) struct StreamAnswer {
    /// Samples that their series hold now, or that their duplicate policies settled.
    pub accepted: u64,
    /// Those of them that changed their series; the others were there already.
    pub stored: u64,
    pub refused_total: u64,
    /// The first refused samples, at most `timeseries.max_refused`.
    pub refused: Vec<StreamRefusal>,
}

/// A sample of an answer.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[schema(as = Sample)]
pub(super) struct SampleView {
    /// Unix milliseconds.
    #[schema(value_type = i64)]
    pub timestamp: UnixMillis,
    pub value: f64,
}

/// How many samples a deletion removed.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DeletedSamples {
    pub deleted: u64,
}
