//! To which capability a key belongs.

use std::collections::BTreeSet;

/// A group of keys with a beginning in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Holding {
    pub name: &'static str,
    /// Whether every key of the group expires by itself.
    pub expires: bool,
}

/// The holding of keys that no capability owns: platform names of cached values and documents, and other programs' keys.
pub(super) const OTHER: Holding = Holding { name: "other", expires: false };

/// Beginnings of names without the configured prefix. The first match counts.
const BEGINNINGS: &[(&str, &str, bool)] = &[
    ("alerts:", "alerts", false),
    ("audit:", "audit", false),
    ("cache:{index}", "cache", false),
    // A value may be stored until it is replaced.
    ("cache:", "cache", false),
    // Receipts of erasures are kept for good.
    ("custody:", "subjects", false),
    ("idempotency:", "idempotency", true),
    ("inspect:", "inspect", false),
    ("json:", "json", false),
    ("user_activity:", "json", false),
    ("user_preferences:", "json", false),
    ("trading_config:", "json", false),
    ("market_config:", "json", false),
    ("blockchain_config:", "json", false),
    ("form_data:", "json", false),
    // The highest fencing token is kept for good.
    ("lock:fence:", "locks", false),
    ("lock:", "locks", true),
    ("locks:", "locks", false),
    ("metrics:", "hosts", false),
    ("market:current_epoch", "epoch", true),
    ("market:epoch_log", "epoch", true),
    ("market:fence", "epoch", true),
    ("market:fold_turn", "trades", false),
    ("market:symbols", "trades", false),
    ("candles:", "trades", false),
    ("streams:", "streams", true),
    ("tape:", "trades", false),
    // What is not removed as too old must not expire.
    ("trades_window:", "archive", false),
    ("orderbook", "orderbook", false),
    ("pubsub:", "pubsub", true),
    ("rate_limit:list:", "ratelimit", false),
    ("rate_limit:exceptions", "ratelimit", false),
    ("rate_limit:", "ratelimit", true),
    ("replication:", "replication", true),
    ("energy:", "timeseries", false),
    ("market:price:", "timeseries", false),
    ("settlement:", "timeseries", false),
    ("timeseries:", "timeseries", false),
    ("trading:", "timeseries", false),
    ("ts:", "timeseries", false),
    ("warming:", "warming", false),
];

/// The holding of a key; `name` has no configured prefix.
pub(super) fn holding(name: &str) -> Holding {
    let found = BEGINNINGS.iter().find(|(beginning, ..)| name.starts_with(beginning));
    found.map_or(OTHER, |(_, name, expires)| Holding { name, expires: *expires })
}

/// The names of all holdings.
pub(super) fn names() -> BTreeSet<&'static str> {
    BEGINNINGS.iter().map(|(_, name, _)| *name).chain([OTHER.name]).collect()
}

/// The beginning of a name, up to its first colon: says whose it may be, and nothing about its owner.
pub(super) fn beginning(name: &str) -> String {
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
        let listed: Vec<&str> = names().into_iter().collect();
        let pattern = format!("^({})$", listed.join("|"));
        assert!(include_str!("model.rs").contains(&pattern), "the document of the API names {pattern}");
        assert!(holding("lock:a").expires && !holding("lock:fence:{lock:a}").expires);
        assert_eq!((beginning("session:7"), beginning("secret")), ("session:*".to_owned(), "*".to_owned()));
    }
}
