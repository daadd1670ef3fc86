//! Wire types of locks.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};

use crate::clock::UnixMillis;
use crate::http::auth::api_key::hex;
use crate::http::integer;

/// What a lock protects: 1 to 512 bytes of UTF-8 without control characters.
///
/// The longest length that the document can state counts characters, of which some have several bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize, ToSchema)]
#[serde(try_from = "String")]
#[schema(value_type = String, min_length = 1, max_length = 512, pattern = r"^[^\x00-\x1F\x7F-\x9F]+$",
         example = "settlement:42")]
pub(super) struct Resource(String);

/// The most bytes of a resource, as of every key that callers choose.
const MAX_RESOURCE_BYTES: usize = 512;
/// The most characters of an owner.
const MAX_OWNER: usize = 128;
/// Last parts of routes below `/locks/`.
const RESERVED: &[&str] = &["stats", "acquire-all"];

impl Resource {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Resource {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        check_text(&text)?;
        if text.len() > MAX_RESOURCE_BYTES {
            return Err(format!("must have at most {MAX_RESOURCE_BYTES} bytes"));
        }
        if RESERVED.contains(&text.as_str()) {
            return Err(format!("`{text}` is the name of a route"));
        }
        Ok(Self(text))
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn check_text(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err("must not be empty".to_owned());
    }
    if text.chars().any(char::is_control) {
        return Err("must have no control characters".to_owned());
    }
    Ok(())
}

const TOKEN_BYTES: usize = 16;

/// The secret of one grant: 32 hexadecimal digits, lower case.
#[derive(Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String")]
pub(super) struct Token(String);

impl Token {
    /// 128 bits from the system's randomness.
    ///
    /// # Errors
    /// When the system has none.
    pub(super) fn random() -> Result<Self, getrandom::Error> {
        let mut random = [0; TOKEN_BYTES];
        getrandom::fill(&mut random)?;
        Ok(Self(hex(&random)))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Token {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() != 2 * TOKEN_BYTES || !text.bytes().all(is_digit) {
            return Err("must be 32 hexadecimal digits, lower case, as the grant had them".to_owned());
        }
        Ok(Self(text))
    }
}

/// Whoever knows a token can release its lock, so it stays out of logs.
impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A holder's name for people and listings: 1 to 128 characters, none of them a control character.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Owner(String);

impl Owner {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Owner {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        check_text(&text)?;
        if text.chars().count() > MAX_OWNER {
            return Err(format!("must have at most {MAX_OWNER} characters"));
        }
        Ok(Self(text))
    }
}

/// What a holder wants others to see.
pub(super) type Metadata = Map<String, Value>;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Path)]
pub(super) struct ResourcePath {
    /// What the lock protects: 1 to 512 bytes of UTF-8 without control characters; `/` is sent as `%2F`.
    #[param(value_type = String, min_length = 1, max_length = 512, pattern = "^[^\\x00-\\x1F\\x7F-\\x9F]+$",
            example = "settlement:42")]
    pub resource: Resource,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "ttl_ms": 30_000, "wait_ms": 0, "owner": "settlement-worker-3" }))]
pub(super) struct AcquireRequest {
    /// The lease, milliseconds. Only named locks (`locks.named`) have a default, and some of them a longer maximum than
    /// the 60,000 of all others.
    #[serde(default, deserialize_with = "integer::unsigned_if_given")]
    #[schema(minimum = 100, maximum = 120_000, example = 30_000)]
    pub ttl_ms: Option<u64>,
    /// How long to wait in line while others hold the lock, milliseconds; 0 does not wait.
    #[serde(default, deserialize_with = "integer::unsigned_if_given")]
    #[schema(minimum = 0, maximum = 30_000, example = 0)]
    pub wait_ms: Option<u64>,
    /// A name for people and listings.
    #[schema(value_type = Option<String>, min_length = 1, max_length = 128, pattern = "^[^\\x00-\\x1F\\x7F-\\x9F]+$",
             example = "settlement-worker-3")]
    pub owner: Option<Owner>,
    /// Shown to whoever looks at the lock; at most `locks.metadata_limit` bytes of JSON.
    #[schema(value_type = Option<Object>)]
    pub metadata: Option<Metadata>,
}

/// The most resources that one call may take.
pub(super) const MAX_TOGETHER: usize = 16;

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "resources": ["settlement:1", "settlement:2"], "ttl_ms": 30_000 }))]
pub(super) struct AcquireAllRequest {
    /// All different.
    #[schema(min_items = 1, max_items = 16, example = json!(["settlement:1", "settlement:2"]))]
    pub resources: Vec<Resource>,
    /// Each lease, milliseconds; at most the least of the locks' maxima.
    #[serde(deserialize_with = "integer::unsigned")]
    #[schema(minimum = 100, maximum = 120_000, example = 30_000)]
    pub ttl_ms: u64,
    /// A name for people and listings.
    #[schema(value_type = Option<String>, min_length = 1, max_length = 128,
             pattern = "^[^\\x00-\\x1F\\x7F-\\x9F]+$", example = "settlement-worker-3")]
    pub owner: Option<Owner>,
    /// Shown to whoever looks at the locks; at most `locks.metadata_limit` bytes of JSON.
    #[schema(value_type = Option<Object>)]
    pub metadata: Option<Metadata>,
}

/// Leases that the caller holds together.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct LockGrants {
    /// In the order of their names; each is extended and released by itself.
    pub locks: Vec<LockGrant>,
    /// The shortest of their validities, milliseconds.
    pub validity_ms: u64,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ExtendRequest {
    /// The token of the grant.
    #[schema(value_type = String, pattern = "^[0-9a-f]{32}$", example = "0123456789abcdef0123456789abcdef")]
    pub token: Token,
    /// The lease from now on, milliseconds; a lease that lasts longer already stays as it is. Only named locks have a
    /// default.
    #[serde(default, deserialize_with = "integer::unsigned_if_given")]
    #[schema(minimum = 100, maximum = 120_000, example = 30_000)]
    pub ttl_ms: Option<u64>,
}

/// How far a grant can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Guarantee {
    /// A lease on one Redis: it holds while that Redis keeps its data and its clock does not jump. The fencing token
    /// covers the rest.
    SingleNodeLease,
    /// A majority of independent Redis masters agreed (Redlock): it holds while at most a minority of them fail, hang,
    /// lose their data or have a clock that jumps.
    Majority,
}

/// How many lock nodes agreed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct Votes {
    #[schema(minimum = 0)]
    pub granted: usize,
    #[schema(minimum = 1)]
    pub total: usize,
}

/// A lease that the caller holds.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct LockGrant {
    #[schema(value_type = String)]
    pub resource: Resource,
    /// Proves ownership to PATCH and DELETE; keep it secret.
    #[schema(value_type = String, example = "0123456789abcdef0123456789abcdef")]
    pub token: Token,
    /// Larger than any before for this resource: hand it to whatever the lock protects, which refuses smaller ones.
    #[schema(minimum = 1)]
    pub fencing_token: u64,
    /// The lease as Redis keeps it, milliseconds.
    pub ttl_ms: u64,
    /// What the holder may rely on, milliseconds: the lease less the round trip and less 1 % + 2 ms for the drift of
    /// clocks. It runs from the moment the service wrote the answer; the answer's way to the caller counts too.
    pub validity_ms: u64,
    /// The same as a moment of the service's clock, Unix milliseconds.
    pub expires_at: UnixMillis,
    pub guarantee: Guarantee,
    pub nodes: Votes,
}

/// A lock as anybody may see it; never its token.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct LockState {
    #[schema(value_type = String)]
    pub resource: Resource,
    pub held: bool,
    /// The holder's name, if it gave one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub metadata: Option<Metadata>,
    /// Unix milliseconds; absent when others than this service took the lease.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acquired_at: Option<UnixMillis>,
    /// How long the lease lasts yet, milliseconds; absent when it is free, or has no end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remaining_ms: Option<u64>,
    /// The highest fencing token handed out, while one is remembered; not in the list of locks on several nodes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fencing_token: Option<u64>,
    /// How many callers wait in line.
    pub waiters: u64,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ReleaseQuery {
    /// Frees the lock whoever holds it, and raises its fence; needs the scope `admin` and is logged.
    #[serde(default)]
    #[param(required = false, example = true)]
    pub force: bool,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct HoldQuery {
    /// The lease, milliseconds; it is extended after every third of it. Named locks have a default.
    #[param(required = false, nullable = false, minimum = 100, maximum = 120_000, example = 5_000)]
    pub ttl_ms: Option<u64>,
    /// How long to wait in line, milliseconds.
    #[param(required = false, nullable = false, minimum = 0, maximum = 30_000, example = 0)]
    pub wait_ms: Option<u64>,
    /// A name for people and listings.
    #[param(value_type = Option<String>, required = false, nullable = false, min_length = 1, max_length = 128,
            pattern = "^[^\\x00-\\x1F\\x7F-\\x9F]+$", example = "settlement-worker-3")]
    pub owner: Option<Owner>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListQuery {
    /// The most entries of the page.
    #[serde(default = "default_limit")]
    #[param(required = false, minimum = 1, maximum = 500, default = 100, example = 100)]
    pub limit: usize,
    /// `next_cursor` of the page before.
    #[param(required = false, nullable = false, pattern = "^[0-9]{1,16}-[0-9]{1,6}$")]
    pub cursor: Option<String>,
}

const fn default_limit() -> usize {
    100
}

/// The most entries of a page.
pub(super) const MAX_PAGE: usize = 500;

/// What happened to locks at this replica since it started, and how many are held now.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct LockStats {
    /// When this replica started to count, Unix milliseconds.
    pub since: UnixMillis,
    /// Calls to acquire that have ended, one for each lock that they were about.
    pub attempts: u64,
    /// Attempts that got the lock; also those that were told too late to rely on it, and gave it back.
    pub grants: u64,
    /// Attempts that found the lock held or waited for, whatever became of them.
    pub contended: u64,
    /// Attempts that failed because Redis, or a majority of lock nodes, did not answer.
    pub failed: u64,
    /// Attempts that stood in line.
    pub waits: u64,
    /// All their waiting together, milliseconds.
    pub waited_ms: u64,
    pub extensions: u64,
    pub releases: u64,
    /// Leases that this replica saw end without being released.
    pub expired: u64,
    /// Extensions and releases that came after the end of their lease.
    pub lost: u64,
    pub forced: u64,
    /// Callers waiting at this replica now.
    pub waiting: u64,
    /// Locks held now, at all replicas together.
    pub held: u64,
}

/// Whole milliseconds, rounded down.
pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
