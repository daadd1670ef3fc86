//! Wire types of exports and erasures.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::sweep::Found;
use crate::clock::UnixMillis;
use crate::features::audit::api::Signed;

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct SubjectPath {
    /// The id of the person in the platform.
    #[param(pattern = "^[^:/ %]{3,128}$", example = "person-0b5e")]
    pub id: String,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct ErasurePath {
    /// The id of the erasure.
    #[param(pattern = "^[0-9a-f]{32}$", example = "0123456789abcdef0123456789abcdef")]
    pub id: String,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SubjectExport, example = json!({ "aliases": ["wallet-9f3c"] }))]
pub(super) struct ExportRequest {
    /// Other ids of the person: wallets, meters, serial numbers.
    #[serde(default)]
    #[schema(max_items = 100)]
    pub aliases: Vec<String>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SubjectErasure,
    example = json!({ "aliases": ["wallet-9f3c"], "reason": "request of 2026-11-02", "dry_run": true }))]
pub(super) struct EraseRequest {
    /// Other ids of the person: wallets, meters, serial numbers.
    #[serde(default)]
    #[schema(max_items = 100)]
    pub aliases: Vec<String>,
    /// Why the person is erased; the receipt has it, so it must not name the person.
    #[schema(min_length = 1, max_length = 200, example = "request of 2026-11-02")]
    pub reason: String,
    /// Counts what would be erased and changes nothing.
    #[serde(default)]
    pub dry_run: bool,
}

/// How far an erasure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = ErasureStatus)]
pub(super) enum Status {
    Running,
    /// A lock of the person is held; it ends within two minutes.
    Waiting,
    /// A walk over all names and values found nothing more.
    Complete,
}

/// What was erased, and what was not.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = ErasureReceipt)]
pub(super) struct Receipt {
    pub id: String,
    /// The pseudonym of the person's id under the key of the audit log.
    pub subject: String,
    /// How many other ids the request named.
    pub aliases: usize,
    pub reason: String,
    pub dry_run: bool,
    pub status: Status,
    /// Unix milliseconds.
    pub requested: UnixMillis,
    /// When it was verified that nothing is left, Unix milliseconds.
    #[schema(required = true)]
    pub completed: Option<UnixMillis>,
    /// By capability.
    #[schema(value_type = std::collections::BTreeMap<String, super::sweep::Counts>)]
    pub capabilities: Found,
    /// What disappears later, or is elsewhere.
    pub remains: Vec<String>,
}

/// A receipt; signed when it is complete, over its compact JSON in the order of its members.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(super) struct Erasure {
    pub receipt: Receipt,
    #[schema(required = true)]
    pub signed: Option<Signed>,
}

/// A line of an export.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ExportLine {
    /// The capability; `end` in the last line.
    #[schema(example = "json")]
    pub capability: String,
    pub key: String,
    /// The type of the key in Redis.
    #[serde(rename = "type")]
    pub kind: String,
    /// The content, or the members that contain an id. Bytes that are no text are in base64, as `{"base64": ".."}`.
    pub value: serde_json::Value,
}
