//! Wire types of the audit log. The text of an entry in Redis is its JSON.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};

use super::key_ring::Signed;
use crate::clock::UnixMillis;
use crate::http::times::QueryTime;

/// What an entry tells about an action.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = AuditPhase)]
pub(super) enum Phase {
    /// A caller wants it; it has not happened yet.
    Intent,
    /// It was answered.
    Outcome,
    /// The service itself did it.
    #[default]
    Event,
    /// It happened `count` times within a minute: reads by administrators, and requests that were denied.
    Count,
}

/// An entry of the audit log.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = AuditEntry)]
pub(super) struct Entry {
    /// Its number; they are consecutive.
    pub seq: u64,
    /// When it was recorded, Unix milliseconds on Redis's clock.
    pub time: UnixMillis,
    /// The operation, or the name of an event such as `service.start`.
    #[schema(example = "DELETE /ratelimit/{limiter}")]
    pub action: String,
    pub phase: Phase,
    /// The credential; `service` for events, `unknown` without a valid one.
    #[schema(example = "key:operations")]
    pub actor: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organisation: Option<String>,
    /// The parameters of the path. Those that may name a person are pseudonyms: `hmac:` and 64 hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "limiter=api")]
    pub target: Option<String>,
    /// `done`, the code of a problem, or `unknown` if the request ended without an answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "done")]
    pub outcome: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// The address of the connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "10.0.3.7")]
    pub address: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub details: Map<String, Value>,
}

/// An entry as Redis and exported files hold it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoredEntry {
    pub seq: u64,
    /// The JSON text whose hash is `hash`.
    pub entry: String,
    pub previous: String,
    pub hash: String,
    /// The fingerprint of the key of the hash.
    pub key: String,
}

impl StoredEntry {
    /// The entry before this one, as far as this one tells.
    pub(super) fn before(&self) -> Self {
        let (entry, previous) = (String::new(), String::new());
        Self { seq: self.seq.saturating_sub(1), entry, previous, hash: self.previous.clone(), key: String::new() }
    }
}

/// An entry, and the hash that links it to the one before.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AuditItem)]
pub(super) struct Item {
    /// Null if the text in Redis is not an entry.
    #[schema(required = true)]
    pub entry: Option<Entry>,
    pub seq: u64,
    pub hash: String,
    /// The fingerprint of the key of the hash.
    pub key: String,
}

impl From<StoredEntry> for Item {
    fn from(stored: StoredEntry) -> Self {
        let StoredEntry { seq, entry, hash, key, .. } = stored;
        Self { entry: serde_json::from_str(&entry).ok(), seq, hash, key }
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct EntriesQuery {
    /// Only entries from this time: Unix milliseconds, RFC 3339, a date, or relative such as `-24h`.
    #[param(inline, example = "-24h")]
    pub from: Option<QueryTime>,
    /// Only entries before this time.
    #[param(inline, example = "now")]
    pub to: Option<QueryTime>,
    /// Only entries of this credential.
    pub actor: Option<String>,
    /// Only entries of this action.
    pub action: Option<String>,
    /// Only entries whose target has this value in plain text or as a pseudonym.
    pub target: Option<String>,
    /// The most entries.
    #[serde(default = "hundred")]
    #[param(required = false, minimum = 1, maximum = 1_000, default = 100)]
    pub limit: usize,
    /// `next_cursor` of the previous page.
    #[param(value_type = Option<u64>, minimum = 1)]
    pub cursor: Option<u64>,
}

const fn hundred() -> usize {
    100
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct VerifyQuery {
    /// The first entry to verify: `next` of the previous page. Without it, the first entry of the log.
    #[param(value_type = Option<u64>, minimum = 1)]
    pub from: Option<u64>,
}

/// How the log is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = AuditBreakKind)]
pub(super) enum BreakKind {
    /// An entry is missing.
    Gap,
    /// An entry does not follow the one before it.
    Link,
    /// An entry was altered, or was not written by the service.
    Hash,
    /// The log does not have what a signed checkpoint says.
    Checkpoint,
    /// An entry is newer than the clock.
    Future,
}

impl BreakKind {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Gap => "gap",
            Self::Link => "link",
            Self::Hash => "hash",
            Self::Checkpoint => "checkpoint",
            Self::Future => "future",
        }
    }
}

/// The first place at which the log is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = AuditBreak)]
pub(super) struct Break {
    /// The entry that is wrong or missing.
    pub seq: u64,
    pub kind: BreakKind,
}

/// What the log had at a time, signed. Kept outside of Redis, it shows later whether the log was rewritten.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(super) struct AuditCheckpoint {
    /// The stream in Redis.
    #[schema(example = "audit:{log}")]
    pub origin: String,
    pub seq: u64,
    pub hash: String,
    /// Unix milliseconds.
    pub time: UnixMillis,
    #[serde(flatten)]
    pub signed: Signed,
}

impl AuditCheckpoint {
    /// The text that is signed.
    pub(super) fn text(origin: &str, seq: u64, hash: &str, time: UnixMillis) -> String {
        format!("gridtokenx audit checkpoint\n{origin}\n{seq}\n{hash}\n{time}\n")
    }
}

/// What a verification has found.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AuditVerification {
    /// How many entries were verified.
    pub checked: u64,
    /// The first entry of the next page; null after the last.
    #[schema(required = true)]
    pub next: Option<u64>,
    /// Null if the entries of this page are whole.
    #[schema(required = true)]
    pub first_break: Option<Break>,
    /// Breaks that an operator has acknowledged with `audit reanchor`. The entries from there to the acknowledgement prove
    /// nothing.
    pub acknowledged: Vec<Break>,
    /// The end of the log, signed.
    pub checkpoint: AuditCheckpoint,
}
