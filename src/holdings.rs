//! To which capability a key belongs, and what becomes of it in a backup.

mod owners;

use std::collections::BTreeSet;

pub use owners::Owners;

/// What kind of data a key holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Data whose loss a caller notices.
    Durable,
    /// Copies of what another system knows.
    Cache,
    /// What must not come back after a restore: leases, queues, windows of limits, kept answers.
    Transient,
    /// Indexes and sums of durable data.
    Derived,
    /// What the service writes by itself, even without a caller.
    Marker,
}

/// A group of keys with a beginning in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holding {
    /// The capability.
    pub name: &'static str,
    pub class: Class,
    /// Whether every key of the group expires by itself.
    pub expires: bool,
}

impl Holding {
    /// A group that may stay for good.
    const fn kept(name: &'static str, class: Class) -> Self {
        Self { name, class, expires: false }
    }

    /// A group whose keys all expire.
    const fn expiring(name: &'static str, class: Class) -> Self {
        Self { name, class, expires: true }
    }
}

/// The holding of keys that no capability owns: platform names of cached values and documents, and other programs' keys.
pub const OTHER: Holding = Holding::kept("other", Class::Durable);

use Class::{Cache, Derived, Durable, Marker, Transient};

/// Beginnings of names without the configured prefix. The first match counts.
const BEGINNINGS: &[(&str, Holding)] = &[
    ("alerts:{turn}", Holding::kept("alerts", Marker)),
    ("alerts:", Holding::kept("alerts", Durable)),
    ("audit:{log}:turn", Holding::kept("audit", Marker)),
    ("audit:", Holding::kept("audit", Durable)),
    ("backup:", Holding::kept("backup", Marker)),
    ("cache:{index}", Holding::kept("cache", Derived)),
    ("cache:answer:", Holding::kept("cache", Transient)),
    ("cache:lease:", Holding::kept("cache", Transient)),
    // A value may be stored until it is replaced.
    ("cache:", Holding::kept("cache", Cache)),
    ("custody:{erasures}:turn", Holding::kept("subjects", Marker)),
    // Receipts of erasures are kept for good.
    ("custody:", Holding::kept("subjects", Durable)),
    ("idempotency:", Holding::expiring("idempotency", Transient)),
    ("inspect:", Holding::kept("inspect", Marker)),
    ("json:{backend}", Holding::kept("json", Marker)),
    ("json:answer:", Holding::kept("json", Transient)),
    ("json:", Holding::kept("json", Durable)),
    ("user_activity:", Holding::kept("json", Durable)),
    ("user_preferences:", Holding::kept("json", Durable)),
    ("trading_config:", Holding::kept("json", Durable)),
    ("market_config:", Holding::kept("json", Durable)),
    ("blockchain_config:", Holding::kept("json", Durable)),
    ("form_data:", Holding::kept("json", Durable)),
    // The highest fencing token is kept for good.
    ("lock:fence:", Holding::kept("locks", Durable)),
    ("lock-turnstile:", Holding::expiring("locks", Transient)),
    ("lock:", Holding::expiring("locks", Transient)),
    ("locks:node", Holding::kept("locks", Marker)),
    ("locks:", Holding::kept("locks", Transient)),
    ("metrics:last_cleanup", Holding::kept("hosts", Marker)),
    ("metrics:", Holding::kept("hosts", Durable)),
    ("market:current_epoch", Holding::expiring("epoch", Durable)),
    ("market:epoch_log", Holding::expiring("epoch", Durable)),
    ("market:fence", Holding::expiring("epoch", Durable)),
    ("market:fold_turn", Holding::kept("trades", Marker)),
    ("market:symbols", Holding::kept("trades", Derived)),
    ("candles:", Holding::kept("trades", Durable)),
    ("streams:", Holding::expiring("streams", Durable)),
    ("tape:", Holding::kept("trades", Durable)),
    // What is not removed as too old must not expire.
    ("trades_window:", Holding::kept("archive", Durable)),
    ("orderbooks:follower", Holding::kept("orderbook", Marker)),
    ("orderbook", Holding::kept("orderbook", Durable)),
    ("pubsub:presence:", Holding::expiring("pubsub", Transient)),
    ("pubsub:probe:", Holding::expiring("pubsub", Transient)),
    ("pubsub:seen:", Holding::expiring("pubsub", Transient)),
    ("pubsub:", Holding::expiring("pubsub", Durable)),
    ("rate_limit:list:", Holding::kept("ratelimit", Transient)),
    ("rate_limit:exceptions", Holding::kept("ratelimit", Durable)),
    ("rate_limit:", Holding::expiring("ratelimit", Transient)),
    ("replication:", Holding::expiring("replication", Transient)),
    ("energy:", Holding::kept("timeseries", Durable)),
    ("influx:", Holding::kept("timeseries", Durable)),
    ("market:price:", Holding::kept("timeseries", Durable)),
    ("market:volume:", Holding::kept("timeseries", Durable)),
    ("settlement:", Holding::kept("timeseries", Durable)),
    ("timeseries:{backend}", Holding::kept("timeseries", Marker)),
    ("timeseries:", Holding::kept("timeseries", Derived)),
    ("trading:", Holding::kept("timeseries", Durable)),
    ("ts:", Holding::kept("timeseries", Durable)),
    ("warming:seen:", Holding::expiring("warming", Transient)),
    ("warming:turn:", Holding::kept("warming", Transient)),
    ("warming:validators:", Holding::expiring("warming", Cache)),
    ("warming:", Holding::kept("warming", Durable)),
];

/// The kinds of companion keys, `<kind>:{<key>}`: the configured prefix is in the braces, not in front.
const COMPANIONS: &[&str] = &[
    "cache:answer:",
    "cache:fence:",
    "cache:lease:",
    "cache:stale:",
    "json:answer:",
    "json:fence:",
    "json:text:",
    "json:version:",
    "lock:ahead:",
    "lock:fence:",
    "lock:holder:",
    "lock:queue:",
    "lock:turn:",
    "market:epoch_log:",
    "market:fence:",
    "metrics:daily:",
    "metrics:days:",
    "metrics:hourly:",
    "metrics:hours:",
    "pubsub:fence:",
    "pubsub:latest:",
    "pubsub:log:",
    "pubsub:meta:",
    "pubsub:presence:",
    "pubsub:presence:info:",
    "pubsub:presence:subjects:",
    "pubsub:revoked:",
    "pubsub:seen:",
    "rate_limit:reserved:",
    "replication:",
    "streams:dead:",
    "streams:due:",
    "streams:fence:",
    "streams:groups:",
    "streams:held:",
    "streams:ids:",
    "streams:info:",
    "streams:log:",
    "streams:meta:",
    "streams:owners:",
    "timeseries:labels:",
    "timeseries:postings:",
    "ts:chunks:",
    "ts:definition:",
    "ts:fence:",
    "ts:head:",
    "ts:moved:",
    "ts:moved:chunks:",
    "ts:moved:head:",
    "ts:moved:rollups:",
    "ts:rollups:",
];

/// The companions of keys that may have a hash tag of their own, so that no brace follows.
const OF_ANY_KEY: &[&str] = &["rate_limit:reserved:", "replication:"];

/// Where the configured prefix is in a key, in bytes.
pub fn prefix_position(key: &str) -> usize {
    COMPANIONS
        .iter()
        .find_map(|kind| {
            let rest = key.strip_prefix(kind)?;
            match rest.find('{') {
                // The name of an operation is in front of the brace.
                Some(at) if at == 0 || kind.ends_with(":answer:") => Some(kind.len() + at + 1),
                _ => OF_ANY_KEY.contains(kind).then_some(kind.len()),
            }
        })
        .unwrap_or(0)
}

/// The name of a complete key without the configured prefix; `None` if the key belongs to another deployment.
pub fn own_name(prefix: &str, key: &str) -> Option<String> {
    let (kind, own) = key.split_at_checked(prefix_position(key))?;
    Some(format!("{kind}{}", own.strip_prefix(prefix)?))
}

/// The holding of a complete key of a deployment; `None` if the key belongs to another one, or has no holding and there
/// is no prefix that says whose it is.
fn holding_of(prefix: &str, key: &str) -> Option<Holding> {
    let found = holding(&own_name(prefix, key)?);
    (found != OTHER || !prefix.is_empty()).then_some(found)
}

/// Whether a key holds an integer that must never decrease: a fencing token, a version or a generation.
pub fn never_decreases(name: &str) -> bool {
    ["json:version:", "cache:tag:", "cache:tag-fence:"].iter().any(|kind| name.starts_with(kind))
        || name.split('{').next().is_some_and(|kind| kind.ends_with(":fence:"))
        || name.contains("}:fence")
}

/// The holding of a key; `name` has no configured prefix.
pub fn holding(name: &str) -> Holding {
    BEGINNINGS.iter().find(|(beginning, _)| name.starts_with(beginning)).map_or(OTHER, |(_, found)| *found)
}

/// The names of all holdings.
pub fn names() -> BTreeSet<&'static str> {
    BEGINNINGS.iter().map(|(_, found)| found.name).chain([OTHER.name]).collect()
}

/// The beginnings of all keys of the service.
#[cfg(test)]
pub fn beginnings() -> impl Iterator<Item = &'static str> {
    BEGINNINGS.iter().map(|(beginning, _)| *beginning).chain(COMPANIONS.iter().copied())
}

/// The beginning of a name, up to its first colon: says whose it may be, and nothing about its owner.
pub fn beginning(name: &str) -> String {
    let end = name.find(':').unwrap_or(0);
    name.get(..end)
        .filter(|start| !start.is_empty() && start.len() <= 40)
        .map_or("*".to_owned(), |start| format!("{start}:*"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_belongs_to_the_capability_that_wrote_it() {
        for (name, holding_name) in [
            ("lock:a", "locks"),
            ("rate_limit:api:x", "ratelimit"),
            ("orderbook:{E}:orders", "orderbook"),
            ("market:price:E", "timeseries"),
            ("streams:meta:{orders}", "streams"),
            ("trades_window:{E}:minutes", "archive"),
            ("session:7", "other"),
        ] {
            assert_eq!(holding(name).name, holding_name, "{name}");
        }
        assert!(holding("lock:a").expires && !holding("lock:fence:{lock:a}").expires);
        assert_eq!((beginning("session:7"), beginning("secret")), ("session:*".to_owned(), "*".to_owned()));
    }

    #[test]
    fn no_row_hides_a_later_one() {
        for (at, (earlier, _)) in BEGINNINGS.iter().enumerate() {
            let hidden = BEGINNINGS[at + 1..].iter().find(|(later, _)| later.starts_with(earlier));
            assert_eq!(hidden, None, "behind {earlier}");
        }
    }

    #[test]
    fn a_prefix_separates_deployments_also_in_companions() {
        let of = |key| holding_of("test:", key).map(|found| found.name);
        assert_eq!(of("test:lock:a"), Some("locks"));
        assert_eq!(of("lock:fence:{test:lock:a}"), Some("locks"));
        assert_eq!(of("json:answer:PUT 12:{test:json:a}"), Some("json"));
        assert_eq!(of("replication:test:orderbook:{E}:orders"), Some("replication"));
        assert_eq!(of("lock:fence:{lock:a}"), None);
        assert_eq!(of("orderbook:{test:E}:orders"), None);
        assert_eq!(of("test:session:7"), Some("other"));
        assert_eq!(holding_of("", "session:7"), None);
        assert_eq!(holding_of("", "ts:head:a").map(|found| found.name), Some("timeseries"));
        assert_eq!((prefix_position("ts:head:a"), prefix_position("ts:head:{ts:a}")), (0, 9));
    }

    #[test]
    fn fences_versions_and_generations_never_decrease() {
        for name in ["lock:fence:{lock:a}", "json:version:{json:a}", "tape:{E}:fence", "cache:tag:{t}"] {
            assert!(never_decreases(name), "{name}");
        }
        for name in ["lock:a", "json:fence", "json:doc:fence:x", "cache:tag-raised:{t}"] {
            assert!(!never_decreases(name), "{name}");
        }
    }
}
