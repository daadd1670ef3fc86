//! Wire types of the batch.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::super::model::{CacheKey, Millis, Tags};
use super::super::value::ContentType;
use crate::http::reply::ItemError;

/// Standard base64 with padding; bits behind the last byte are ignored, as most encoders' readers do.
pub(super) const BASE64: GeneralPurpose =
    GeneralPurpose::new(&STANDARD, GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true));

/// Reads, deletions and writes that travel together, in this order.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"get": ["session:7"], "set": [{"key": "session:8", "value": {"user": 8}, "ttl_ms": 60_000}],
                          "delete": ["session:9"]}))]
#[schema(as = CacheBatch)]
pub(in super::super) struct BatchRequest {
    /// Answered as they were before the batch.
    #[serde(default)]
    #[schema(max_items = 1_000)]
    pub get: Vec<CacheKey>,
    /// Applied in order, after the deletions.
    #[serde(default)]
    #[schema(max_items = 1_000)]
    pub set: Vec<SetItem>,
    #[serde(default)]
    #[schema(max_items = 1_000)]
    pub delete: Vec<CacheKey>,
}

/// One value to be stored.
#[derive(Debug, Deserialize)]
#[serde(try_from = "SetForm")]
pub(in super::super) struct SetItem {
    pub key: CacheKey,
    pub content_type: ContentType,
    pub body: Vec<u8>,
    pub ttl: Option<Millis>,
    pub tags: Tags,
}

/// As it is written: with `value` or `value_base64`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SetForm {
    key: CacheKey,
    #[serde(default, deserialize_with = "given")]
    value: Option<Box<RawValue>>,
    #[serde(default)]
    value_base64: Option<String>,
    #[serde(default)]
    content_type: Option<String>,
    #[serde(default)]
    ttl_ms: Option<Millis>,
    #[serde(default)]
    tags: Tags,
}

/// A `null` that was written is a value, not an absent one.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::<RawValue>::deserialize(deserializer).map(Some)
}

impl TryFrom<SetForm> for SetItem {
    type Error = String;

    fn try_from(form: SetForm) -> Result<Self, String> {
        let (default_type, body) = match (form.value, form.value_base64) {
            (Some(json), None) => (ContentType::Json, Box::<str>::from(json).into_string().into_bytes()),
            (None, Some(text)) => {
                let bytes = BASE64.decode(text).map_err(|error| format!("value_base64 is no base64: {error}"))?;
                (ContentType::binary(), bytes)
            }
            _ => return Err("needs either value or value_base64".to_owned()),
        };
        let content_type = match form.content_type {
            None => default_type,
            Some(text) => ContentType::parse(text.as_bytes()).map_err(|rule| format!("content_type {rule}"))?,
        };
        Ok(Self { key: form.key, content_type, body, ttl: form.ttl_ms, tags: form.tags })
    }
}

/// One value to be stored: JSON, or any bytes in base64.
#[derive(ToSchema)]
#[schema(as = CacheSetItem)]
#[serde(untagged)]
#[expect(dead_code, reason = "described, not built")]
enum SetItemSchema {
    Json(SetJson),
    Bytes(SetBytes),
}

/// A JSON value to be stored.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "described, not built")]
#[schema(as = CacheSetJson)]
struct SetJson {
    key: CacheKey,
    /// Stored as it is written, so that no digit of a number gets lost.
    value: serde_json::Value,
    /// `application/json` unless given.
    #[schema(pattern = "^[ -~]{1,255}$")]
    content_type: Option<String>,
    ttl_ms: Option<Millis>,
    #[serde(default)]
    tags: Tags,
}

/// Bytes to be stored.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "described, not built")]
#[schema(as = CacheSetBytes)]
struct SetBytes {
    key: CacheKey,
    /// Standard base64 with padding.
    #[schema(pattern = "^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$")]
    value_base64: String,
    /// `application/octet-stream` unless given.
    #[schema(pattern = "^[ -~]{1,255}$")]
    content_type: Option<String>,
    ttl_ms: Option<Millis>,
    #[serde(default)]
    tags: Tags,
}

impl utoipa::PartialSchema for SetItem {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        SetItemSchema::schema()
    }
}

impl ToSchema for SetItem {
    fn name() -> std::borrow::Cow<'static, str> {
        SetItemSchema::name()
    }

    fn schemas(schemas: &mut Vec<(String, utoipa::openapi::RefOr<utoipa::openapi::schema::Schema>)>) {
        SetItemSchema::schemas(schemas);
    }
}

/// One result per item, in the order of the items.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CacheBatchReply)]
pub(in super::super) struct BatchReply {
    pub get: Vec<GetResult>,
    pub set: Vec<SetResult>,
    pub delete: Vec<DeleteResult>,
}

/// What a single GET would have answered.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CacheGetResult)]
pub(in super::super) struct GetResult {
    pub key: CacheKey,
    /// 200, 404, or the status of `error`.
    pub status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// A value whose Content-Type is JSON, as it was stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>)]
    pub value: Option<Box<RawValue>>,
    /// Any other value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value_base64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    /// Milliseconds left; absent when the value does not expire.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ItemError>,
}

/// What a single PUT would have answered.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CacheSetResult)]
pub(in super::super) struct SetResult {
    pub key: CacheKey,
    /// 201, 204, or the status of `error`.
    pub status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    /// Milliseconds left; absent when the value does not expire.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ItemError>,
}

/// What a single DELETE would have answered.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CacheDeleteResult)]
pub(in super::super) struct DeleteResult {
    pub key: CacheKey,
    /// 204, or the status of `error`.
    pub status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ItemError>,
}
