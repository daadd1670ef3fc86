//! Wire types of locks.

use std::fmt;
use std::time::Duration;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::clock::UnixMillis;
use crate::http::integer;
use crate::http::portable_json::ObjectText;
use crate::random;

/// The name of what a lock protects: 1 to 512 bytes of UTF-8 without control characters.
///
/// The API document can only state the limit in characters, some of which have several bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize, ToSchema)]
#[serde(try_from = "String")]
#[schema(value_type = String, min_length = 1, max_length = 512, pattern = r"^[^\x00-\x1F\x7F-\x9F]+$",
         example = "settlement:42")]
#[schema(as = LockResource)]
pub(super) struct Resource(String);

/// The longest resource in bytes; the limit of every key that clients choose.
const MAX_RESOURCE_BYTES: usize = 512;
/// The longest owner in characters.
const MAX_OWNER: usize = 128;
/// Resources that would collide with routes below `/locks/`.
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
            return Err(format!("must have at most {MAX_RESOURCE_BYTES} bytes, got {}", text.len()));
        }
        if RESERVED.contains(&text.as_str()) {
            return Err(format!("must not be `{text}`, the name of a route"));
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
        return Err("must not contain control characters".to_owned());
    }
    Ok(())
}

const TOKEN_DIGITS: usize = 32;

/// The secret of one grant: 32 lower-case hexadecimal digits.
#[derive(Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String")]
pub(super) struct Token(String);

impl Token {
    /// # Errors
    /// If the operating system has no randomness.
    pub(super) fn random() -> Result<Self, getrandom::Error> {
        random::token().map(Self)
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Token {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() != TOKEN_DIGITS || !text.bytes().all(is_digit) {
            return Err("must be the grant's token: 32 hexadecimal digits in lower case".to_owned());
        }
        Ok(Self(text))
    }
}

/// A token is enough to release its lock, so it stays out of logs.
impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Reads a holder's display name, if it is given: 1 to 128 characters without control characters.
fn owner_if_given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let owner = Option::<String>::deserialize(deserializer)?;
    if let Some(owner) = &owner {
        check_text(owner).map_err(D::Error::custom)?;
        let length = owner.chars().count();
        if length > MAX_OWNER {
            return Err(D::Error::custom(format!("must have at most {MAX_OWNER} characters, got {length}")));
        }
    }
    Ok(owner)
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Path)]
pub(super) struct ResourcePath {
    /// The name of what the lock protects: 1 to 512 bytes of UTF-8 without control characters. Send `/` as `%2F`.
    #[param(value_type = String, min_length = 1, max_length = 512, pattern = "^[^\\x00-\\x1F\\x7F-\\x9F]+$",
            example = "settlement:42")]
    pub resource: Resource,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "ttl_ms": 30_000, "wait_ms": 0, "owner": "settlement-worker-3" }))]
#[schema(as = LockAcquireRequest)]
pub(super) struct AcquireRequest {
    /// The length of the lease in milliseconds. Only named locks (`locks.named`) have a default; some of them also have
    /// a higher maximum than the usual 60,000.
    #[serde(default, deserialize_with = "integer::unsigned_if_given")]
    #[schema(minimum = 100, maximum = 120_000, example = 30_000)]
    pub ttl_ms: Option<u64>,
    /// How long to wait in the queue while another client holds the lock, in milliseconds; 0 does not wait.
    #[serde(default, deserialize_with = "integer::unsigned_if_given")]
    #[schema(minimum = 0, maximum = 30_000, example = 0)]
    pub wait_ms: Option<u64>,
    /// The holder's display name.
    #[serde(default, deserialize_with = "owner_if_given")]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 128, pattern = "^[^\\x00-\\x1F\\x7F-\\x9F]+$",
             example = "settlement-worker-3")]
    pub owner: Option<String>,
    /// Shown to every client that inspects the lock; at most 1,024 bytes of JSON.
    #[schema(value_type = Option<Object>)]
    pub metadata: Option<ObjectText>,
}

/// The most locks that one call may acquire.
pub(super) const MAX_TOGETHER: usize = 16;

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "resources": ["settlement:1", "settlement:2"], "ttl_ms": 60_000 }))]
#[schema(as = LockAcquireAllRequest)]
pub(super) struct AcquireAllRequest {
    /// Must all be different.
    #[schema(min_items = 1, max_items = 16, example = json!(["settlement:1", "settlement:2"]))]
    pub resources: Vec<Resource>,
    /// The length of each lease in milliseconds; at most the lowest maximum of these locks.
    #[serde(deserialize_with = "integer::unsigned")]
    #[schema(minimum = 100, maximum = 120_000, example = 30_000)]
    pub ttl_ms: u64,
    /// The holder's display name.
    #[serde(default, deserialize_with = "owner_if_given")]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 128,
             pattern = "^[^\\x00-\\x1F\\x7F-\\x9F]+$", example = "settlement-worker-3")]
    pub owner: Option<String>,
    /// Shown to every client that inspects the locks; at most 1,024 bytes of JSON.
    #[schema(value_type = Option<Object>)]
    pub metadata: Option<ObjectText>,
}

/// Several leases that were acquired together.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
pub(super) struct LockGrants {
    /// Sorted by name. Each lock is extended and released individually.
    pub locks: Vec<LockGrant>,
    /// The lowest `validity_ms` of these locks.
    pub validity_ms: u64,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = LockExtendRequest)]
pub(super) struct ExtendRequest {
    /// The grant's token.
    #[schema(value_type = String, pattern = "^[0-9a-f]{32}$", example = "0123456789abcdef0123456789abcdef")]
    pub token: Token,
    /// The new length of the lease in milliseconds, counted from this call. A lease that already lasts longer is left unchanged. Only
    /// named locks have a default.
    #[serde(default, deserialize_with = "integer::unsigned_if_given")]
    #[schema(minimum = 100, maximum = 120_000, example = 30_000)]
    pub ttl_ms: Option<u64>,
}

/// The failures that a grant survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = LockGuarantee)]
pub(super) enum Guarantee {
    /// A lease on one Redis. Exclusion holds while that Redis keeps its data and its clock does not jump. The fencing
    /// token covers all other failures.
    SingleNodeLease,
    /// A majority of independent Redis masters agreed (Redlock). Exclusion holds while at most a minority of them fail,
    /// hang, lose their data or have a clock that jumps.
    Majority,
}

/// How many Redis servers agreed to a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[schema(as = LockVotes)]
pub(super) struct Votes {
    #[schema(minimum = 0)]
    pub granted: usize,
    #[schema(minimum = 1)]
    pub total: usize,
}

impl Votes {
    /// The vote of the only Redis.
    pub(super) const SINGLE: Self = Self { granted: 1, total: 1 };

    pub(super) const fn guarantee(self) -> Guarantee {
        if self.total > 1 { Guarantee::Majority } else { Guarantee::SingleNodeLease }
    }
}

/// A lease that the client holds.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
pub(super) struct LockGrant {
    #[schema(value_type = String)]
    pub resource: Resource,
    /// Proves ownership in PATCH and DELETE. Keep it secret.
    #[schema(value_type = String, example = "0123456789abcdef0123456789abcdef")]
    pub token: Token,
    /// Higher than every earlier token of this resource. Send it to what the lock protects, which must refuse lower
    /// ones.
    #[schema(minimum = 1)]
    pub fencing_token: u64,
    /// The length of the lease in Redis, in milliseconds.
    pub ttl_ms: u64,
    /// How long the holder may rely on the lease, in milliseconds: the lease minus the round trip to Redis and minus 1
    /// % + 2 ms for clock drift. It counts from when the service writes the response, so subtract the network time.
    pub validity_ms: u64,
    /// When the holder must stop relying on the lease: Unix milliseconds on the service's clock.
    pub expires_at: UnixMillis,
    pub guarantee: Guarantee,
    pub nodes: Votes,
}

/// The public state of a lock. It never includes the token.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct LockState {
    #[schema(value_type = String)]
    pub resource: Resource,
    pub held: bool,
    /// The holder's display name, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub metadata: Option<ObjectText>,
    /// Unix milliseconds; absent if another program acquired the lease directly in Redis.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acquired_at: Option<UnixMillis>,
    /// The remaining time of the lease in milliseconds; absent if the lock is free or its lease never expires.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remaining_ms: Option<u64>,
    /// The highest fencing token ever granted, while Redis remembers it. Lists omit it if lock nodes keep the locks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fencing_token: Option<u64>,
    /// How many clients wait in the queue.
    pub waiters: u64,
    /// When the first of them joined the queue, Unix milliseconds; absent if none waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting_since: Option<UnixMillis>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ReleaseQuery {
    /// Frees the lock regardless of its holder and raises its fence. Requires the scope `admin`; the audit log records
    /// it.
    #[serde(default)]
    #[param(required = false, example = true)]
    pub force: bool,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct HoldQuery {
    /// The length of the lease in milliseconds. The service extends it after every third. Only named locks have a
    /// default.
    #[param(required = false, nullable = false, minimum = 100, maximum = 120_000, example = 5_000)]
    pub ttl_ms: Option<u64>,
    /// How long to wait in the queue, in milliseconds.
    #[param(required = false, nullable = false, minimum = 0, maximum = 30_000, example = 0)]
    pub wait_ms: Option<u64>,
    /// The holder's display name.
    #[serde(default, deserialize_with = "owner_if_given")]
    #[param(value_type = Option<String>, required = false, nullable = false, min_length = 1, max_length = 128,
            pattern = "^[^\\x00-\\x1F\\x7F-\\x9F]+$", example = "settlement-worker-3")]
    pub owner: Option<String>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListQuery {
    /// The maximum number of entries on the page.
    #[serde(default = "default_limit")]
    #[param(required = false, minimum = 1, maximum = 500, default = 100, example = 100)]
    pub limit: usize,
    /// The `next_cursor` of the previous page.
    #[param(required = false, nullable = false, pattern = "^[0-9]{1,16}-[0-9]{1,6}$")]
    pub cursor: Option<String>,
}

const fn default_limit() -> usize {
    100
}

/// The largest page.
pub(super) const MAX_PAGE: usize = 500;

/// Counts of lock operations at this replica since it started, and the number of locks held now.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct LockStats {
    /// When this replica started counting, Unix milliseconds.
    pub since: UnixMillis,
    /// Finished attempts to acquire a lock. A call for several locks counts once for each.
    pub attempts: u64,
    /// Attempts that acquired the lock, including those whose lease was released because the response came too late.
    pub grants: u64,
    /// Attempts that found the lock held or a queue in front of them, regardless of the outcome.
    pub contended: u64,
    /// Attempts that failed because Redis or a majority of lock nodes did not respond.
    pub failed: u64,
    /// Attempts that waited in the queue.
    pub waits: u64,
    /// The total time that attempts waited, in milliseconds.
    pub waited_ms: u64,
    pub extensions: u64,
    pub releases: u64,
    /// Leases that this replica saw expire without a release.
    pub expired: u64,
    /// Extensions and releases that came after their lease had ended.
    pub lost: u64,
    pub forced: u64,
    /// Clients that wait at this replica now.
    pub waiting: u64,
    /// Locks held now, across all replicas.
    pub held: u64,
}

/// Whole milliseconds, rounded down.
pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
