//! Wire types of the batch.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::super::model::{CacheKey, Millis, Tags};
use super::super::stored_value::ContentType;
use crate::http::batch_item::BatchItem;
use crate::http::portable_json::is_portable;
use crate::http::reply::ItemError;

/// Standard base64 with padding. Surplus bits in the last character are ignored, as most decoders do.
pub(super) const BASE64: GeneralPurpose =
    GeneralPurpose::new(&STANDARD, GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true));

/// Reads, deletions and writes that are sent together and applied in this order.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"get": ["session:7"], "set": [{"key": "session:8", "value": {"user": 8}, "ttl_ms": 60_000}],
                          "delete": ["session:9"]}))]
#[schema(as = CacheBatch)]
pub(in super::super) struct BatchRequest {
    /// Read before anything is changed.
    #[serde(default)]
    #[schema(max_items = 1_000, value_type = Vec<CacheKey>)]
    pub get: Vec<BatchItem<CacheKey>>,
    /// Applied in order, after the deletions.
    #[serde(default)]
    #[schema(max_items = 1_000, value_type = Vec<SetItemSchema>)]
    pub set: Vec<BatchItem<SetItem>>,
    #[serde(default)]
    #[schema(max_items = 1_000, value_type = Vec<CacheKey>)]
    pub delete: Vec<BatchItem<CacheKey>>,
}

/// A value to store.
#[derive(Debug, Deserialize)]
#[serde(try_from = "SetForm")]
pub(in super::super) struct SetItem {
    pub key: CacheKey,
    pub content_type: ContentType,
    pub body: Vec<u8>,
    pub ttl: Option<Millis>,
    pub tags: Tags,
}

/// The wire form, with either `value` or `value_base64`.
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

/// An explicit `null` is a value; an absent field is not.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::<RawValue>::deserialize(deserializer).map(Some)
}

impl TryFrom<SetForm> for SetItem {
    type Error = String;

    fn try_from(form: SetForm) -> Result<Self, String> {
        let (default_type, body) = match (form.value, form.value_base64) {
            (Some(json), None) if !is_portable(json.get().as_bytes()) => {
                return Err(
                    "value must not repeat a name, and must have complete surrogate pairs and numbers that a double \
                            can represent: send other text as value_base64"
                        .to_owned(),
                );
            }
            (Some(json), None) => (ContentType::Json, Box::<str>::from(json).into_string().into_bytes()),
            (None, Some(text)) => {
                let bytes =
                    BASE64.decode(text).map_err(|error| format!("value_base64 is not valid base64: {error}"))?;
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

/// A value to store: either JSON in `value`, or any bytes in `value_base64`.
#[derive(ToSchema)]
#[schema(as = CacheSetItem)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "described, not built")]
struct SetItemSchema {
    key: CacheKey,
    /// A JSON value, stored exactly as written, so that no digit of a number is lost.
    #[schema(required = false)]
    value: serde_json::Value,
    /// Bytes in standard base64 with padding.
    #[schema(pattern = "^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$")]
    value_base64: Option<String>,
    /// Default: `application/json` for `value`, `application/octet-stream` for `value_base64`.
    #[schema(pattern = "^[ -~]{1,255}$")]
    content_type: Option<String>,
    ttl_ms: Option<Millis>,
    #[serde(default)]
    tags: Tags,
}

/// One result per item, in the order of the items.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CacheBatchReply)]
pub(in super::super) struct BatchReply {
    pub get: Vec<GetResult>,
    pub set: Vec<SetResult>,
    pub delete: Vec<DeleteResult>,
}

/// The result of a read.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CacheGetResult)]
pub(in super::super) struct GetResult {
    /// As the item names it.
    pub key: String,
    /// 200, 404, or the status of `error`.
    pub status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// A value whose Content-Type is JSON, exactly as it was stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>)]
    pub value: Option<Box<RawValue>>,
    /// Any other value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value_base64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    /// Milliseconds left; absent if the value does not expire.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ItemError>,
}

/// The result of a write.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CacheSetResult)]
pub(in super::super) struct SetResult {
    /// As the item names it.
    pub key: String,
    /// 201, 204, or the status of `error`.
    pub status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    /// Milliseconds left; absent if the value does not expire.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ItemError>,
}

/// The result of a deletion.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CacheDeleteResult)]
pub(in super::super) struct DeleteResult {
    /// As the item names it.
    pub key: String,
    /// 204, or the status of `error`.
    pub status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ItemError>,
}
