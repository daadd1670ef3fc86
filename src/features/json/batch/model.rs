//! Wire types of `POST /json/batch`.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::super::document::Node;
use super::super::model::{DocumentKey, Millis};
use super::super::path::Path;
use crate::http::reply::ItemError;

/// Reads, deletions and writes of many documents, which run in this order.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = JsonBatch,
    example = json!({"get": [{"key": "profile:7", "paths": ["$.name"]}],
                     "set": [{"key": "profile:8", "value": {"name": "Ada"}, "ttl_ms": 60_000}],
                     "delete": [{"key": "profile:9"}]}))]
pub(in super::super) struct BatchRequest {
    /// Reads of the documents as they are before the batch.
    #[serde(default)]
    #[schema(max_items = 100)]
    pub get: Vec<GetItem>,
    /// Writes, which run in order after the deletions.
    #[serde(default)]
    #[schema(max_items = 100)]
    pub set: Vec<SetItem>,
    #[serde(default)]
    #[schema(max_items = 100)]
    pub delete: Vec<DeleteItem>,
}

/// A read, as in a single GET.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = JsonGetItem)]
pub(in super::super) struct GetItem {
    pub key: DocumentKey,
    #[serde(default)]
    #[schema(value_type = Vec<String>, max_items = 16)]
    pub paths: Vec<Path>,
}

/// A write, as in a single PUT.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = JsonSetItem)]
pub(in super::super) struct SetItem {
    pub key: DocumentKey,
    /// A JSON path; without it, the whole document.
    #[schema(value_type = Option<String>, max_length = 1_024)]
    pub path: Option<Path>,
    /// Any JSON value; its numbers keep their digits.
    #[schema(value_type = serde_json::Value)]
    pub value: Node,
    /// The document's new TTL, milliseconds; without it, the document keeps its TTL.
    pub ttl_ms: Option<Millis>,
}

/// A deletion, as in a single DELETE.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = JsonDeleteItem)]
pub(in super::super) struct DeleteItem {
    pub key: DocumentKey,
    /// A JSON path; without it, the whole document.
    #[schema(value_type = Option<String>, max_length = 1_024)]
    pub path: Option<Path>,
}

/// One result per item, in the order of the items.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = JsonBatchReply)]
pub(in super::super) struct BatchReply {
    pub get: Vec<GetResult>,
    pub set: Vec<SetResult>,
    pub delete: Vec<DeleteResult>,
}

/// The result of a read.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = JsonGetResult)]
pub(in super::super) struct GetResult {
    pub key: DocumentKey,
    /// 200, or the status of `error`.
    pub status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>)]
    pub value: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    /// Milliseconds until the document expires; absent if it does not expire.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ItemError>,
}

/// The result of a write.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = JsonSetResult)]
pub(in super::super) struct SetResult {
    pub key: DocumentKey,
    /// 201, 204, or the status of `error`.
    pub status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    /// Milliseconds until the document expires; absent if it does not expire.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ItemError>,
}

/// The result of a deletion.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = JsonDeleteResult)]
pub(in super::super) struct DeleteResult {
    pub key: DocumentKey,
    /// 200, or the status of `error`.
    pub status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deleted: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ItemError>,
}
